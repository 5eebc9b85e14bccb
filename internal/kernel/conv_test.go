package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// convCase is a random problem for CausalConv1D.
type convCase struct {
	l, e, k, lds, ldd         int
	act                       ConvActivation
	src, w, bias, state, taps []float32 // w of shape (e, k), taps of shape (k, e)
}

func newConvCase(l, e, k, gap int, act ConvActivation) *convCase {
	c := &convCase{l: l, e: e, k: k, lds: e + gap, ldd: e + 2*gap, act: act}
	c.src, c.w, c.bias, c.state = random(l*c.lds, 1), random(e*k, 2), random(e, 3), random((k-1)*e, 4)
	c.taps = make([]float32, k*e)
	PackConvTaps(c.taps, c.w, e, k)
	return c
}

func (c *convCase) String() string {
	return fmt.Sprintf("l=%d e=%d k=%d distances %d and %d, activation %d, bias %v", c.l, c.e, c.k, c.lds, c.ldd, c.act, c.bias != nil)
}

// input returns what channel ch gets at position t, which may be before the first.
func (c *convCase) input(t, ch int) float32 {
	if t < 0 {
		return c.state[(t+c.k-1)*c.e+ch]
	}
	return c.src[t*c.lds+ch]
}

func (c *convCase) test(t *testing.T) {
	t.Helper()
	dst, state := random(c.l*c.ldd, 5), slices.Clone(c.state)
	old := slices.Clone(dst)
	CausalConv1D(dst, c.ldd, c.src, c.lds, c.taps, c.bias, state, c.l, c.e, c.k, c.act)
	c.check(t, dst, old, state)
}

func (c *convCase) check(t *testing.T, dst, old, state []float32) {
	t.Helper()
	for i, got := range dst {
		pos, ch := i/c.ldd, i%c.ldd
		if ch >= c.e {
			if got != old[i] {
				t.Fatalf("%v: wrote beside row %d", c, pos)
			}
			continue
		}
		var sum, size float64
		if c.bias != nil {
			sum = float64(c.bias[ch])
			size = math.Abs(sum)
		}
		for j := range c.k {
			v := float64(c.w[ch*c.k+j]) * float64(c.input(pos-c.k+1+j, ch))
			sum, size = sum+v, size+math.Abs(v)
		}
		if c.act == ConvSiLU {
			sum /= 1 + math.Exp(-sum)
		}
		if !(math.Abs(float64(got)-sum) <= 4e-7*size) {
			t.Fatalf("%v: position %d, channel %d: %v, want %v", c, pos, ch, got, sum)
		}
	}
	for i, got := range state {
		if want := c.input(c.l-c.k+1+i/c.e, i%c.e); got != want {
			t.Fatalf("%v: element %d of the state is %v, want %v", c, i, got, want)
		}
	}
}

func TestCausalConv1D(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range []int{1, 2, 3, 4, 5, 7, 8, 31, 128, 130} {
			for e := 1; e <= 67; e += 1 + e/20 {
				newConvCase(1+(e+k)%40, e, k, e%3, ConvActivation(e%2)).test(t)
			}
			newConvCase(33, 300, k, 0, ConvLinear).test(t) // more than one call for many taps
			for _, l := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 65, 129, 151} {
				c := newConvCase(l, 19, k, 1, ConvSiLU)
				c.test(t)
				c.bias, c.act = nil, ConvLinear
				c.test(t)
			}
		}
	})
}

// TestCausalConv1DSplit cuts positions in two everywhere, and writes in place.
func TestCausalConv1DSplit(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range []int{1, 2, 3, 4, 6, 40} {
			c := newConvCase(70, 37, k, 0, ConvSiLU)
			whole, state := make([]float32, len(c.src)), slices.Clone(c.state)
			CausalConv1D(whole, 37, c.src, 37, c.taps, c.bias, state, 70, 37, k, c.act)
			for cut := range c.l + 1 {
				x, s := slices.Clone(c.src), slices.Clone(c.state)
				CausalConv1D(x, 37, x, 37, c.taps, c.bias, s, cut, 37, k, c.act)
				CausalConv1D(x[cut*37:], 37, x[cut*37:], 37, c.taps, c.bias, s, c.l-cut, 37, k, c.act)
				if !slices.Equal(x, whole) || !slices.Equal(s, state) {
					t.Fatalf("%v, cut at %d: results differ", c, cut)
				}
			}
		}
	})
}

// TestCausalConv1DOrder finds the taps in the order of PyTorch.
func TestCausalConv1DOrder(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		taps, x := make([]float32, 4), []float32{1, 0, 0, 0, 0}
		PackConvTaps(taps, []float32{1, 10, 100, 1000}, 1, 4)
		CausalConv1D(x, 1, x, 1, taps, nil, make([]float32, 3), 5, 1, 4, ConvLinear)
		if want := []float32{1000, 100, 10, 1, 0}; !slices.Equal(x, want) {
			t.Errorf("an impulse gives %v, want %v", x, want)
		}
	})
}

// TestCausalConv1DNaN keeps what is not a number to its channel and its positions.
func TestCausalConv1DNaN(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			const l, e, k = 9, 21, 3
			x := random(l*e, 1)
			x[4*e+18] = float32(bad)
			CausalConv1D(x, e, x, e, slices.Repeat([]float32{1}, k*e), nil, make([]float32, (k-1)*e), l, e, k, ConvLinear)
			for i, v := range x {
				hit := i%e == 18 && i/e >= 4 && i/e < 4+k
				if finite := math.Abs(float64(v)) < 100; finite == hit {
					t.Fatalf("%v at position 4 of channel 18 gives %v at position %d of channel %d", bad, v, i/e, i%e)
				}
			}
		}
	})
}

func TestCausalConv1DGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range []int{1, 2, 3, 4, 9} {
			for _, e := range []int{1, 8, 13, 16, 17, 48} {
				c := newConvCase(37, e, k, 0, ConvLinear)
				state, dst := guardedFloats(t, (k-1)*e), guardedFloats(t, c.l*e)
				copy(state, c.state)
				for _, x := range []*[]float32{&c.src, &c.taps, &c.bias} {
					g := guardedFloats(t, len(*x))
					copy(g, *x)
					*x = g
				}
				CausalConv1D(dst, e, c.src, e, c.taps, c.bias, state, c.l, e, k, c.act)
				c.check(t, dst, nil, state)
			}
		}
	})
}

func TestCausalConv1DAllocatesNothing(t *testing.T) {
	for _, k := range []int{4, 20} {
		c := newConvCase(40, 37, k, 0, ConvSiLU)
		n := testing.AllocsPerRun(10, func() {
			CausalConv1D(c.src, 37, c.src, 37, c.taps, c.bias, c.state, 40, 37, k, c.act)
		})
		if n != 0 {
			t.Errorf("k=%d: %v allocations", k, n)
		}
	}
}

func TestCausalConv1DPanics(t *testing.T) {
	x, w, state := make([]float32, 12), make([]float32, 9), make([]float32, 6)
	for i, f := range []func(){
		func() { CausalConv1D(x, 3, x[1:], 3, w, nil, state, 4, 3, 3, ConvLinear) },
		func() { CausalConv1D(x[1:], 3, x, 3, w, nil, state, 4, 3, 3, ConvLinear) },
		func() { CausalConv1D(x, 3, x, 3, w[1:], nil, state, 4, 3, 3, ConvLinear) },
		func() { CausalConv1D(x, 3, x, 3, w, w[:2], state, 4, 3, 3, ConvLinear) },
		func() { CausalConv1D(x, 3, x, 3, w, nil, state[1:], 4, 3, 3, ConvLinear) },
		func() { CausalConv1D(x, 3, x, 3, w, nil, state, 4, 3, 0, ConvLinear) },
		func() { CausalConv1D(x, 2, x, 3, w, nil, state, 4, 3, 3, ConvLinear) },
	} {
		mustPanic(t, fmt.Sprintf("case %d", i), f)
	}
}

func FuzzCausalConv1D(f *testing.F) {
	f.Add(uint(40), uint(37), uint(4), uint(1))
	f.Fuzz(func(t *testing.T, l, e, k, options uint) {
		c := newConvCase(int(l%100), int(1+e%70), int(1+k%40), int(options>>2%4), ConvActivation(options&1))
		if options&2 != 0 {
			c.bias = nil
		}
		cputest.ForEachTier(t, c.test)
	})
}

// BenchmarkCausalConv1D compares the convolution with the activation alone.
func BenchmarkCausalConv1D(b *testing.B) {
	for _, k := range []int{3, 4, 16} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			const l, e = 128, 1536
			c := newConvCase(l, e, k, e, ConvSiLU) // the left half of something twice as wide
			cputest.BenchEachTier(b, func(b *testing.B) {
				dst := make([]float32, l*e)
				activation := func() float64 {
					return e / nanoseconds(func() { SiLU(dst[:e], c.src[:e]) })
				}
				benchShare(b, l*e, activation, "elem/ns", func() {
					CausalConv1D(dst, e, c.src, c.lds, c.taps, c.bias, c.state, l, e, k, c.act)
				})
			})
		})
	}
}
