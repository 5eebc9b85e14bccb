package kernel

import (
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// modalCase is a random problem for a ModalFilter, with decays from slow to fast.
type modalCase struct {
	n, channels, pairs, reals, gap int
	x, before, d                   []float32
	dist, res                      []complex128 // (channels, pairs)
	rdist, rres                    []float64    // (channels, reals)
	filter                         *ModalFilter
}

func newModalCase(n, channels, pairs, reals, gap int) *modalCase {
	c := &modalCase{n: n, channels: channels, pairs: pairs, reals: reals, gap: gap}
	c.filter = NewModalFilter(channels, pairs, reals)
	c.x, c.d = random(n*(channels+gap), 1), random(channels, 2)
	c.before = make([]float32, c.filter.StateLen())
	r, s, old := random(4*channels*(pairs+reals)+4, 3), random(channels*(2*pairs+reals)+2, 4), 0
	next := func() float64 { old++; return float64(r[old-1]) }
	for ch := range channels {
		c.filter.SetSkip(ch, c.d[ch])
		for k := range pairs {
			radius, turn := 1-math.Exp(-7*math.Abs(math.Sin(next()))), next()
			dist := complex(float64(float32(radius*math.Cos(turn)-1)), float64(float32(radius*math.Sin(turn))))
			res := complex(float64(float32(next())), float64(float32(next())))
			c.dist, c.res = append(c.dist, dist), append(c.res, res)
			c.filter.SetPair(ch, k, dist, res)
			re, im := c.filter.PairAt(ch, k)
			c.before[re], c.before[im] = s[2*(ch*pairs+k)], s[2*(ch*pairs+k)+1]
		}
		for k := range reals {
			dist, res := float64(float32(-math.Exp(-7*math.Abs(math.Sin(next()))))), float64(float32(next()))
			c.rdist, c.rres = append(c.rdist, dist), append(c.rres, res)
			c.filter.SetReal(ch, k, dist, res)
			c.before[c.filter.RealAt(ch, k)] = s[2*channels*pairs+ch*reals+k]
		}
	}
	return c
}

func (c *modalCase) String() string {
	return fmt.Sprintf("n=%d channels=%d pairs=%d reals=%d gap=%d", c.n, c.channels, c.pairs, c.reals, c.gap)
}

// naive returns the result and the state after it, from the definition, and the largest
// sums of absolute values among the results and the states: what errors are relative to.
func (c *modalCase) naive() (y, state []float64, size, stateSize float64) {
	y, state = make([]float64, c.n*c.channels), make([]float64, len(c.before))
	for ch := range c.channels {
		h, g := make([]complex128, c.pairs), make([]float64, c.reals)
		hSize, gSize := make([]float64, c.pairs), make([]float64, c.reals)
		for k := range h {
			re, im := c.filter.PairAt(ch, k)
			h[k] = complex(float64(c.before[re]), float64(c.before[im]))
			hSize[k] = cmplx.Abs(h[k])
		}
		for k := range g {
			g[k] = float64(c.before[c.filter.RealAt(ch, k)])
			gSize[k] = math.Abs(g[k])
		}
		for t := range c.n {
			u := float64(c.x[t*(c.channels+c.gap)+ch])
			sum := float64(c.d[ch]) * u
			absSum := math.Abs(sum)
			for k := range h {
				pole, residue := 1+c.dist[ch*c.pairs+k], c.res[ch*c.pairs+k]
				h[k] = pole*h[k] + complex(u, 0)
				sum += real(residue * h[k])
				hSize[k] = cmplx.Abs(pole)*hSize[k] + math.Abs(u)
				absSum += cmplx.Abs(residue) * hSize[k]
			}
			for k := range g {
				pole, residue := 1+c.rdist[ch*c.reals+k], c.rres[ch*c.reals+k]
				g[k] = pole*g[k] + u
				sum += residue * g[k]
				gSize[k] = math.Abs(pole)*gSize[k] + math.Abs(u)
				absSum += math.Abs(residue) * gSize[k]
			}
			y[t*c.channels+ch] = sum
			size = max(size, absSum)
		}
		for k := range h {
			re, im := c.filter.PairAt(ch, k)
			state[re], state[im] = real(h[k]), imag(h[k])
			stateSize = max(stateSize, hSize[k])
		}
		for k := range g {
			state[c.filter.RealAt(ch, k)] = g[k]
			stateSize = max(stateSize, gSize[k])
		}
	}
	return y, state, size, stateSize
}

// test compares with the definition.
func (c *modalCase) test(t *testing.T) {
	t.Helper()
	const tolerance = 1e-6
	ld, ldd := c.channels+c.gap, c.channels+2*c.gap
	dst, state := random(c.n*ldd, 5), slices.Clone(c.before)
	old := slices.Clone(dst)
	c.filter.Filter(dst, ldd, c.x, ld, c.n, state, 0, c.filter.Blocks())
	want, wantState, size, stateSize := c.naive()
	for i, got := range dst {
		row, ch := i/ldd, i%ldd
		if ch >= c.channels {
			if got != old[i] {
				t.Fatalf("%v: wrote beside row %d", c, row)
			}
			continue
		}
		if off := math.Abs(float64(got) - want[row*c.channels+ch]); !(off <= tolerance*size) {
			t.Fatalf("%v: position %d, channel %d is off by %.3g, sums are up to %.3g", c, row, ch, off, size)
		}
	}
	for i, got := range state {
		if off := math.Abs(float64(got) - wantState[i]); !(off <= tolerance*stateSize) {
			t.Fatalf("%v: state %d is off by %.3g, sums are up to %.3g", c, i, off, stateSize)
		}
	}
}

func TestModalFilter(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 63, 64, 65, 200} {
			for _, channels := range []int{1, 15, 16, 17, 35} {
				for _, p := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {2, 3}, {3, 8}, {7, 13}} {
					newModalCase(n, channels, p[0], p[1], channels%3).test(t)
				}
			}
		}
		newModalCase(3000, 16, 32, 4, 0).test(t)
	})
}

// A sequence may be cut anywhere, and blocks run in any order: the same bits.
func TestModalFilterCuts(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newModalCase(150, 37, 5, 9, 0)
		f, whole, state := c.filter, make([]float32, len(c.x)), slices.Clone(c.before)
		f.Filter(whole, 37, c.x, 37, c.n, state, 0, f.Blocks())
		for cut := range c.n + 1 {
			x, s := slices.Clone(c.x), slices.Clone(c.before)
			for b := f.Blocks() - 1; b >= 0; b-- {
				f.Filter(x, 37, x, 37, cut, s, b, b+1)
				f.Filter(x[cut*37:], 37, x[cut*37:], 37, c.n-cut, s, b, b+1)
			}
			if !slices.Equal(x, whole) || !slices.Equal(s, state) {
				t.Fatalf("%v, cut at %d: results differ", c, cut)
			}
		}
	})
}

// The poles of StripedHyena's published test: residues and poles of two states.
func TestModalFilterStripedHyena(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		f := NewModalFilter(1, 2, 0)
		f.SetPair(0, 0, cmplx.Rect(.8, .5)-1, .3-.7i)
		f.SetPair(0, 1, cmplx.Rect(.6, -1.1)-1, -.2+.4i)
		y, state := []float32{1, 0, 0, 0, 0, 0}, make([]float32, f.StateLen())
		f.Filter(y, 1, y, 1, len(y), state, 0, 1)
		for i, want := range []float64{.1, .638556348, .639512607, .397397335, .168212651, .025553166} {
			if math.Abs(float64(y[i])-want) > 2e-7 {
				t.Errorf("response at %d is %v, want %v", i, y[i], want)
			}
		}
	})
}

// What has decayed never stays a denormal number.
func TestModalFilterSilence(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newModalCase(1, 16, 3, 5, 0)
		zero, y := make([]float32, 20000*16), make([]float32, 20000*16)
		state := slices.Clone(c.before)
		for i := range state {
			state[i] *= 1e-30
		}
		c.filter.Filter(y, 16, zero, 16, 20000, state, 0, 1)
		for i, h := range state {
			if v := math.Abs(float64(h)); v > 1e-33 || v != 0 && v < 0x1p-126 {
				t.Fatalf("state %d is %v after a silence", i, h)
			}
		}
	})
}

func TestModalFilterSpecialValues(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newModalCase(70, 20, 2, 2, 0)
		c.x[33*20+3], c.x[50*20+17] = float32(math.NaN()), float32(math.Inf(1))
		y := make([]float32, len(c.x))
		c.filter.Filter(y, 20, c.x, 20, c.n, slices.Clone(c.before), 0, 2)
		for i, v := range y {
			row, ch := i/20, i%20
			bad := ch == 3 && row >= 33 || ch == 17 && row >= 50
			if finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0); finite == bad {
				t.Fatalf("position %d, channel %d is %v", row, ch, v)
			}
		}
	})
}

func TestModalFilterGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, channels := range []int{5, 16, 21} {
			c := newModalCase(67, channels, 3, 2, 0)
			x, y := guardedFloats(t, len(c.x)), guardedFloats(t, len(c.x))
			poles, state := guardedFloats(t, len(c.filter.poles)), guardedFloats(t, len(c.before))
			copy(x, c.x)
			copy(poles, c.filter.poles)
			copy(state, c.before)
			c.filter.poles = poles
			c.filter.Filter(y, channels, x, channels, c.n, state, 0, c.filter.Blocks())
		}
	})
}

func TestModalFilterAllocatesNothing(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newModalCase(70, 20, 2, 2, 0)
		if n := testing.AllocsPerRun(10, func() { c.filter.Filter(c.x, 20, c.x, 20, c.n, c.before, 0, 2) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestModalFilterPanics(t *testing.T) {
	f := NewModalFilter(20, 1, 1)
	x, s := make([]float32, 60), make([]float32, f.StateLen())
	mustPanic(t, "channels", func() { NewModalFilter(-1, 1, 1) })
	mustPanic(t, "result", func() { f.Filter(x[:59], 20, x, 20, 3, s, 0, 2) })
	mustPanic(t, "input", func() { f.Filter(x, 20, x[:59], 20, 3, s, 0, 2) })
	mustPanic(t, "state", func() { f.Filter(x, 20, x, 20, 3, s[1:], 0, 2) })
	mustPanic(t, "blocks", func() { f.Filter(x, 20, x, 20, 3, s, 0, 3) })
	mustPanic(t, "positions", func() { f.Filter(x, 20, x, 20, -1, s, 0, 2) })
}

func FuzzModalFilter(f *testing.F) {
	f.Add(uint(70), uint(17), uint(3), uint(5), uint(1))
	f.Fuzz(func(t *testing.T, n, channels, pairs, reals, gap uint) {
		c := newModalCase(int(n%300), int(1+channels%40), int(pairs%12), int(reals%12), int(gap%4))
		cputest.ForEachTier(t, func(t *testing.T) { c.test(t) })
	})
}

// BenchmarkModalFilter filters 768 channels of 1024 positions, in the caches. The
// share is that of the multiplications and additions in the multiply-add peak.
func BenchmarkModalFilter(b *testing.B) {
	for _, p := range [][2]int{{2, 0}, {8, 0}, {32, 0}, {0, 16}, {22, 20}} {
		b.Run(fmt.Sprintf("pairs=%d,reals=%d", p[0], p[1]), func(b *testing.B) {
			const n, channels = 1024, 768
			c := newModalCase(n, channels, p[0], p[1], 0)
			y, state := make([]float32, len(c.x)), slices.Clone(c.before)
			cputest.BenchEachTier(b, func(b *testing.B) {
				flops := n * channels * float64(13*p[0]+5*p[1]+1)
				benchShare(b, flops, PeakFMA, "GFLOP/s", func() {
					c.filter.Filter(y, channels, c.x, channels, n, state, 0, c.filter.Blocks())
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(n*channels), "ns/element")
			})
		})
	}
}
