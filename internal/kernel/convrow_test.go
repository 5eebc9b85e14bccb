package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// convRowAt returns channel c of the definition, and the sum of the magnitudes.
func convRowAt(add, x []float32, ldx int, h []float32, ldh, n, c int) (sum, size float64) {
	sum, size = float64(add[c]), math.Abs(float64(add[c]))
	for i := range n {
		v := float64(h[(n-1-i)*ldh+c]) * float64(x[i*ldx+c])
		sum, size = sum+v, size+math.Abs(v)
	}
	return sum, size
}

func checkConvRow(t *testing.T, got, add, x []float32, ldx int, h []float32, ldh, n, e int) {
	t.Helper()
	for c := range e {
		want, size := convRowAt(add, x, ldx, h, ldh, n, c)
		if d := math.Abs(float64(got[c]) - want); !(d <= 1e-6*size) {
			t.Fatalf("n=%d e=%d: channel %d is %v, want %v", n, e, c, got[c], want)
		}
	}
}

func TestConvRow(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, e := range []int{1, 7, 15, 16, 17, 31, 32, 48, 63, 64, 65, 80, 130} {
			for _, n := range []int{0, 1, 2, 3, 17, 64, 511, 512, 513, 1100} {
				ldx, ldh := e+3, e+5
				x, h, add := random(max(n, 1)*ldx, 1), random(max(n, 1)*ldh, 2), random(e+1, 3)
				dst := slices.Repeat([]float32{7}, e+1)
				ConvRow(dst, add, x, ldx, h, ldh, n, e)
				checkConvRow(t, dst, add, x, ldx, h, ldh, n, e)
				if dst[e] != 7 {
					t.Fatalf("n=%d e=%d: wrote beside the row", n, e)
				}
			}
		}
	})
}

// TestConvRowAliases proves that the result may replace the row that is added, or the
// last of those that are multiplied, and that channels do not depend on each other.
func TestConvRowAliases(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{20, 1200} {
			testConvRowAliases(t, n)
		}
	})
}

func testConvRowAliases(t *testing.T, n int) {
	const e = 85
	x, h, add := random(n*e, 1), random(n*e, 2), random(e, 3)
	want := make([]float32, e)
	ConvRow(want, add, x, e, h, e, n, e)
	got := slices.Clone(add)
	ConvRow(got, got, x, e, h, e, n, e)
	if !slices.Equal(got, want) {
		t.Error("dst is add: another result")
	}
	y := slices.Clone(x)
	ConvRow(y[(n-1)*e:], add, y, e, h, e, n, e)
	if !slices.Equal(y[(n-1)*e:], want) {
		t.Error("dst is the last row of x: another result")
	}
	part := make([]float32, 32)
	ConvRow(part, add[16:], x[16:], e, h[16:], e, n, 32)
	if !slices.Equal(part, want[16:48]) {
		t.Error("some of the channels: another result")
	}
}

func TestConvRowGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, e := range []int{1, 16, 17, 64, 100} {
			const n = 5
			x, h := guardedFloats(t, n*e), guardedFloats(t, n*e)
			dst, add := guardedFloats(t, e), guardedFloats(t, e)
			copy(x, random(n*e, 1))
			copy(h, random(n*e, 2))
			ConvRow(dst, add, x, e, h, e, n, e)
			checkConvRow(t, dst, add, x, e, h, e, n, e)
		}
	})
}

func TestConvRowSpecial(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cputest.ForEachTier(t, func(t *testing.T) {
		const e = 40
		x := slices.Repeat([]float32{1}, 2*e)
		h, add, dst := slices.Repeat([]float32{2}, 2*e), make([]float32, e), make([]float32, e)
		x[3], x[20], x[39] = inf, nan, -inf
		ConvRow(dst, add, x, e, h, e, 2, e)
		for c, v := range dst {
			switch {
			case c == 3 && v != inf, c == 39 && v != -inf, c == 20 && v == v, c != 3 && c != 39 && c != 20 && v != 4:
				t.Errorf("channel %d is %v", c, v)
			}
		}
	})
}

func TestConvRowAllocs(t *testing.T) {
	x := random(64*48, 1)
	if n := testing.AllocsPerRun(10, func() { ConvRow(x, x, x, 48, x, 48, 64, 48) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConvRowPanics(t *testing.T) {
	x, short := make([]float32, 64), make([]float32, 63)
	for i, f := range []func(){
		func() { ConvRow(x[:15], x, x, 16, x, 16, 4, 16) },
		func() { ConvRow(x, x[:15], x, 16, x, 16, 4, 16) },
		func() { ConvRow(x, x, short, 16, x, 16, 4, 16) },
		func() { ConvRow(x, x, x, 16, short, 16, 4, 16) },
		func() { ConvRow(x, x, x, -16, x, 16, 4, 16) },
	} {
		mustPanic(t, fmt.Sprintf("case %d", i), f)
	}
}

func FuzzConvRow(f *testing.F) {
	f.Add(uint(20), uint(70), uint(3))
	f.Fuzz(func(t *testing.T, n, e, gap uint) {
		rows, channels := int(n%700), int(1+e%200)
		ld := channels + int(gap%9)
		x, h, add := random((rows+1)*ld, 1), random((rows+1)*ld, 2), random(channels, 3)
		cputest.ForEachTier(t, func(t *testing.T) {
			dst := make([]float32, channels)
			ConvRow(dst, add, x, ld, h, ld, rows, channels)
			checkConvRow(t, dst, add, x, ld, h, ld, rows, channels)
		})
	})
}

// BenchmarkConvRow sums up what is left to a stream of a long convolution: on average 32
// positions of 768 channels.
func BenchmarkConvRow(b *testing.B) {
	const n, e = 32, 768
	x, h, add, dst := random(n*e, 1), random(n*e, 2), random(e, 3), make([]float32, e)
	cputest.BenchEachTier(b, func(b *testing.B) {
		benchShare(b, 2*n*e, PeakFMA, "GFLOP/s", func() { ConvRow(dst, add, x, e, h, e, n, e) })
	})
}
