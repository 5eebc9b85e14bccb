package nn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// randomTaps returns taps that decay, as those of trained filters do.
func randomTaps(taps, dim int, seed uint64) tensor.Mat {
	h := seededSeq(seed, 1, taps, dim).Mat()
	for i := range taps {
		kernel.Scale(h.Row(i), float32(math.Exp(-3*float64(i)/float64(taps))), h.Row(i))
	}
	return h
}

func seededSeq(seed uint64, batch, length, dim int) tensor.Seq {
	return randomSeq(rand.New(rand.NewPCG(seed, 1)), batch, length, dim)
}

func cloneSeq(s tensor.Seq) tensor.Seq {
	c := tensor.NewSeq(s.Batch, s.Len, s.Dim)
	tensor.Copy(c, s)
	return c
}

// naiveLongConv is the definition of a LongConv in float64, with taps h and g, which may be
// empty. It returns the results of sequence b, and the largest magnitude.
func naiveLongConv(h, g tensor.Mat, src tensor.Seq, b int) (y []float64, size float64) {
	d := src.Dim
	y = make([]float64, src.Len*d)
	for t := range src.Len {
		for i := range src.Len {
			var taps []float32
			switch {
			case i <= t && t-i < h.Rows:
				taps = h.Row(t - i)
			case i > t && i-t < g.Rows:
				taps = g.Row(i - t)
			default:
				continue
			}
			for c, v := range src.At(b, i) {
				y[t*d+c] += float64(taps[c]) * float64(v)
				if i == t && g.Rows > 0 {
					y[t*d+c] += float64(g.Row(0)[c]) * float64(v)
				}
			}
		}
	}
	for _, v := range y {
		size = max(size, math.Abs(v))
	}
	return y, size
}

// convError returns the largest error of dst with respect to the definition, relative to
// the largest result of the sequence.
func convError(dst tensor.Seq, h, g tensor.Mat, src tensor.Seq) float64 {
	worst := 0.0
	for b := range src.Batch {
		want, size := naiveLongConv(h, g, src, b)
		for i, w := range want {
			d := math.Abs(float64(dst.Sequence(b).Data[i])-w) / max(size, 1e-30)
			if !(d <= worst) {
				worst = d
			}
		}
	}
	return worst
}

const convTol = 2e-6

// TestLongConv covers every way to compute a convolution: few and many taps, fewer, as
// many and more than positions, lengths at and around powers of two, and pieces.
func TestLongConv(t *testing.T) {
	cases := [][3]int{ // positions, taps, channels
		{1, 1, 3}, {2, 1, 3}, {1, 2, 3}, {5, 9, 17}, {9, 5, 70}, {40, 40, 5}, {41, 41, 5}, {63, 63, 16}, {64, 64, 17}, {65, 65, 3},
		{88, 200, 33}, {89, 89, 4}, {100, 300, 20}, {127, 127, 5}, {128, 50, 5}, {300, 41, 18}, {1000, 45, 5}, {777, 64, 35},
		{1026, 1026, 4}, {1100, 1100, 3}, {1024, 2000, 2}, {2100, 130, 3},
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range cases {
			n, taps, dim := k[0], k[1], k[2]
			src, h := seededSeq(1, 2, n, dim), randomTaps(taps, dim, 2)
			c := NewLongConv(h)
			dst := tensor.NewSeq(2, n, dim)
			c.Mix(dst, src)
			if e := convError(dst, h, tensor.Mat{}, src); !(e <= convTol) {
				t.Errorf("%d positions, %d taps, %d channels: error %.3g", n, taps, dim, e)
			}
			c = NewLongConv(h)
			c.CacheLimit = -1
			inPlace := cloneSeq(src)
			c.Mix(inPlace, inPlace)
			if !slices.Equal(inPlace.Data, dst.Data) {
				t.Errorf("%d positions, %d taps, %d channels: another result in place and without a cache", n, taps, dim)
			}
		}
	})
}

func TestTwoSidedConv(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range [][4]int{{1, 1, 1, 3}, {7, 7, 7, 3}, {33, 33, 20, 5}, {64, 10, 64, 17}, {100, 200, 150, 4}, {1026, 1026, 1026, 2}} {
			n, dim := k[0], k[3]
			src, h, g := seededSeq(1, 2, n, dim), randomTaps(k[1], dim, 2), randomTaps(k[2], dim, 3)
			c := NewTwoSidedConv(h, g)
			dst := tensor.NewSeq(2, n, dim)
			c.Mix(dst, src)
			if e := convError(dst, h, g, src); !(e <= convTol) {
				t.Errorf("%d positions, %d and %d taps: error %.3g", n, k[1], k[2], e)
			}
			// The adjoint is the convolution with the sides changed.
			back := tensor.NewSeq(2, n, dim)
			c.Transpose(back, src)
			if e := convError(back, g, h, src); !(e <= convTol) {
				t.Errorf("%d positions, %d and %d taps: error %.3g of the adjoint", n, k[1], k[2], e)
			}
		}
	})
	if _, err := NewTwoSidedConv(randomTaps(3, 2, 1), randomTaps(3, 2, 1)).NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a stream of a convolution with two sides: error %v", err)
	}
}

// TestLongConvAdjoint proves ⟨Kx, y⟩ = ⟨x, Kᵀy⟩.
func TestLongConvAdjoint(t *testing.T) {
	for _, n := range []int{1, 30, 64, 500} {
		x, y, c := seededSeq(1, 1, n, 5), seededSeq(2, 1, n, 5), NewLongConv(randomTaps(n, 5, 3))
		kx, ky := tensor.NewSeq(1, n, 5), tensor.NewSeq(1, n, 5)
		c.Mix(kx, x)
		c.Transpose(ky, y)
		var a, b, size float64
		for i := range x.Data {
			v := float64(kx.Data[i]) * float64(y.Data[i])
			a, b, size = a+v, b+float64(x.Data[i])*float64(ky.Data[i]), size+math.Abs(v)
		}
		if math.Abs(a-b) > 1e-6*size {
			t.Errorf("%d positions: %v and %v", n, a, b)
		}
	}
}

// longConvs are convolutions with random taps. Streams pass through all their stages
// when the sequence is a few hundred positions long.
func longConvs() []layer {
	var list []layer
	for _, taps := range []int{1, 3, 50, 64, 65, 66, 130, 400} {
		list = append(list, layer{fmt.Sprintf("LongConv, %d taps", taps), NewLongConv(randomTaps(taps, 18, 5))})
	}
	small := NewLongConv(randomTaps(200, 18, 5))
	small.CacheLimit = -1
	return append(list, layer{"LongConv without a cache", small}, layer{"LongConv, two sides", NewTwoSidedConv(randomTaps(20, 18, 5), randomTaps(20, 18, 6))})
}

func TestLongConvContract(t *testing.T) {
	runContract(t, longConvs(), mixtest.Options{})
	runContract(t, longConvs(), mixtest.Options{Batch: 3, Len: 150})
	if !testing.Short() {
		runContract(t, longConvs(), mixtest.Options{Batch: 1, Len: 513})
	}
}

// TestLongConvStreamLengths compares a stream, one position at a time, with the
// definition for every length up to 257 and for taps of about as many, fewer and more.
func TestLongConvStreamLengths(t *testing.T) {
	const n, dim = 257, 3
	src := seededSeq(1, 1, n, dim)
	for _, taps := range []int{1, 2, 60, 63, 64, 65, 66, 67, 100, 127, 128, 129, 130, 131, 256, 257, 300} {
		h := randomTaps(taps, dim, 2)
		want, size := naiveLongConv(h, tensor.Mat{}, src, 0)
		s := NewLongConv(h).StreamUpTo(1, 0)
		for t0 := range n {
			y := tensor.NewSeq(1, 1, dim)
			s.Mix(y, src.Slice(t0, t0+1))
			for c, v := range y.Data {
				if d := math.Abs(float64(v) - want[t0*dim+c]); !(d <= convTol*size) {
					t.Fatalf("%d taps: position %d is off by %.3g of the largest", taps, t0, d/size)
				}
			}
		}
	}
}

// TestLongConvStreamPrompts continues one position at a time after prompts of all kinds
// of lengths.
func TestLongConvStreamPrompts(t *testing.T) {
	const n, dim = 300, 20
	src := seededSeq(1, 2, n, dim)
	for _, taps := range []int{70, 128, 300} {
		h := randomTaps(taps, dim, 2)
		want := tensor.NewSeq(2, n, dim)
		NewLongConv(h).Mix(want, src)
		for prompt := 0; prompt < n; prompt += 1 + prompt/7 {
			s := NewLongConv(h).StreamUpTo(2, n)
			got := tensor.NewSeq(2, n, dim)
			s.Mix(got.Slice(0, prompt), src.Slice(0, prompt))
			for i := prompt; i < n; i++ {
				s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
			}
			if e := convError(got, h, tensor.Mat{}, src); !(e <= convTol) {
				t.Errorf("%d taps, prompt of %d: error %.3g", taps, prompt, e)
			}
		}
	}
}

// TestLongConvTail feeds zeros after the sequence: what comes out is the rest of the
// linear convolution.
func TestLongConvTail(t *testing.T) {
	for _, n := range []int{1, 17, 64, 100, 256} {
		src, h := seededSeq(1, 1, 2*n, 4), randomTaps(n, 4, 2)
		clear(src.Slice(n, 2*n).Data)
		s := NewLongConv(h).StreamUpTo(1, 2*n)
		got := tensor.NewSeq(1, 2*n, 4)
		s.Mix(got.Slice(0, n), src.Slice(0, n))
		s.Mix(got.Slice(n, 2*n), src.Slice(n, 2*n))
		if e := convError(got, h, tensor.Mat{}, src); !(e <= convTol) {
			t.Errorf("%d positions: error %.3g", n, e)
		}
	}
}

// TestLongConvVeryLong convolves with a filter of few taps that are not zero, far apart,
// whole and in pieces.
func TestLongConvVeryLong(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a second and half a gigabyte")
	}
	const n, dim = 1_000_002, 1
	src, h := seededSeq(1, 1, n, dim), tensor.NewSeq(1, n, dim).Mat()
	lags := map[int]float64{0: 0.5, 1: -1, 77: 0.25, 4095: 1, 131072: -0.75, 999_999: 2, 1_000_001: -1}
	for lag, v := range lags {
		h.Row(lag)[0] = float32(v)
	}
	check := func(name string, got tensor.Seq) {
		worst := 0.0
		for at := 0; at < got.Len; at += 1 + at%97 {
			want := 0.0
			for lag, v := range lags {
				if lag <= at {
					want += v * float64(src.Data[at-lag])
				}
			}
			worst = max(worst, math.Abs(want-float64(got.Data[at])))
		}
		if !(worst <= 2e-5) { // the largest results are about 10
			t.Errorf("%s: error %.3g", name, worst)
		}
	}
	c := NewLongConv(h)
	c.CacheLimit = -1
	dst := tensor.NewSeq(1, n, dim)
	c.Mix(dst, src)
	check("whole", dst)
	s := c.StreamUpTo(1, n)
	for at, piece := 0, 1; at < 300_000; piece = piece*3%100_003 + 1 {
		end := min(at+piece, n)
		s.Mix(dst.Slice(at, end), src.Slice(at, end))
		at = end
	}
	check("in pieces", dst.Slice(0, s.Len()))
}

// TestLongConvStreamInputs reads inputs back, before and after their rows are used again.
func TestLongConvStreamInputs(t *testing.T) {
	const taps, dim = 100, 3
	src := seededSeq(1, 2, 700, dim)
	s := NewLongConv(randomTaps(taps, dim, 2)).StreamUpTo(2, 0)
	dst := tensor.NewSeq(2, 700, dim)
	for n, piece := 0, 1; n+piece <= 700; piece = piece*3%101 + 1 {
		s.Mix(dst.Slice(n, n+piece), src.Slice(n, n+piece))
		n += piece
		got := s.Inputs(taps - 1)
		for i := range taps - 1 {
			for b := range 2 {
				want := []float32{0, 0, 0}
				if t0 := n - (taps - 1) + i; t0 >= 0 {
					want = src.At(b, t0)
				}
				if !slices.Equal(got.At(b, i), want) {
					t.Fatalf("after %d positions: input %d of sequence %d is %v, want %v", n, i, b, got.At(b, i), want)
				}
			}
		}
	}
}

// TestLongConvLimit holds a stream to its number of positions.
func TestLongConvLimit(t *testing.T) {
	s := NewLongConv(randomTaps(200, 2, 1)).StreamUpTo(1, 150)
	x := tensor.NewSeq(1, 150, 2)
	s.Mix(x, x)
	if len(s.room) != 2*150 {
		t.Errorf("room for %d numbers, want %d", len(s.room), 2*150)
	}
	defer func() {
		var shape *tensor.ShapeError
		if err, ok := recover().(error); !ok || !errors.As(err, &shape) {
			t.Error("a position too many: want a panic with a *tensor.ShapeError")
		}
	}()
	s.Mix(x.Slice(0, 1), x.Slice(0, 1))
}

// TestLongConvCache keeps spectra within the limit.
func TestLongConvCache(t *testing.T) {
	c := NewLongConv(randomTaps(1000, 20, 1))
	c.CacheLimit = 2 * 32 * 4 * 600
	for _, n := range []int{64, 128, 256, 512, 1000} {
		src := seededSeq(1, 1, n, 20)
		dst := tensor.NewSeq(1, n, 20)
		c.Mix(dst, src)
		if e := convError(dst, c.fwd, tensor.Mat{}, src); !(e <= convTol) {
			t.Errorf("%d positions: error %.3g", n, e)
		}
		if c.cached > c.CacheLimit {
			t.Errorf("%d bytes of spectra, limit %d", c.cached, c.CacheLimit)
		}
	}
	if c.cached != 2*32*4*(64+128+256) {
		t.Errorf("%d bytes of spectra, want those of three lengths", c.cached)
	}
}

func FuzzLongConvState(f *testing.F) {
	c := NewLongConv(randomTaps(70, 3, 1))
	s := c.StreamUpTo(2, 0)
	x := seededSeq(1, 2, 70, 3)
	s.Mix(tensor.NewSeq(2, 70, 3), x)
	saved, _ := s.AppendBinary(nil)
	f.Add(saved)
	f.Add(saved[:len(saved)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		before, _ := s.AppendBinary(nil)
		if err := s.UnmarshalBinary(data); err != nil {
			if after, _ := s.AppendBinary(nil); string(after) != string(before) {
				t.Fatal("an error, but the state changed")
			}
		}
	})
}
