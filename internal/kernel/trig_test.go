package kernel

import (
	"math"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

func TestTrig(t *testing.T) {
	var x []float32
	for i := range 20000 {
		x = append(x, float32(i-10000)*0.003, float32(i)*1.63)
	}
	for i := range 200 {
		x = append(x, float32(float64(i)*math.Pi/4), float32(-float64(i)*math.Pi/2), float32(math.Exp2(float64(-i))))
	}
	x = append(x, 0, float32(math.Copysign(0, -1)), 32767, -32767)
	large := []float32{1e6, -1e20, 3, math.MaxFloat32}
	special := []float32{float32(math.NaN()), 1, float32(math.Inf(1)), float32(math.Inf(-1))}
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, f := range map[string]struct {
			f    func(dst, x []float32)
			want func(float64) float64
		}{"sin": {Sin, math.Sin}, "cos": {Cos, math.Cos}} {
			for _, in := range [][]float32{x, large, special} {
				got := make([]float32, len(in))
				f.f(got, in)
				for i, v := range in {
					want := f.want(float64(v))
					if d := math.Abs(float64(got[i]) - want); !(d <= 6e-8 && d <= 2.4e-7*math.Abs(want)) && !(math.IsNaN(want) && math.IsNaN(float64(got[i]))) {
						t.Fatalf("%s(%v) = %v, want %v", name, v, got[i], want)
					}
				}
				f.f(in[:0], in[:0])
			}
		}
		// Small angles are their own sines, with their sign.
		small := []float32{1e-30, -1e-20, 0}
		got := make([]float32, 3)
		Sin(got, small)
		for i, v := range small {
			if math.Float32bits(got[i]) != math.Float32bits(v) {
				t.Errorf("sin(%v) = %v", v, got[i])
			}
		}
	})
}

func TestTrigEdges(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := range 70 {
			x := guardedFloats(t, n)
			for i := range x {
				x[i] = float32(i) * 0.7
			}
			Sin(x, x)
			for i, got := range x {
				if want := math.Sin(float64(float32(i) * 0.7)); math.Abs(float64(got)-want) > 6e-8 {
					t.Fatalf("element %d of %d is %v, want %v", i, n, got, want)
				}
			}
			Cos(x, x)
		}
	})
	x := make([]float32, 5000)
	if n := testing.AllocsPerRun(5, func() { Sin(x, x); Cos(x, x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSin(b *testing.B) {
	cputest.BenchEachTier(b, func(b *testing.B) {
		x, y := random(4096, 1), make([]float32, 4096)
		for b.Loop() {
			Sin(y, x)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(x)), "ns/elem")
	})
}
