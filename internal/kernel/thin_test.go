package kernel

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// checkThin compares with Gemm, bit for bit, and looks at what is beside the result.
func checkThin(t *testing.T, m, k, lda, ldc int) {
	t.Helper()
	a, b := guardedFloats(t, max((m-1)*lda+k, 0)), guardedFloats(t, k*ThinWidth)
	c := guardedFloats(t, max((m-1)*ldc+ThinWidth, 0))
	copy(a, random(len(a), 1))
	copy(b, random(len(b), 2))
	copy(c, random(len(c), 3))
	want := slices.Clone(c)
	panel := make([]float32, PanelLen(ThinWidth, k))
	for p := range k {
		copy(panel[p*PanelWidth:], b[p*ThinWidth:(p+1)*ThinWidth])
	}
	Gemm(want, ldc, a, lda, panel, m, ThinWidth, k, false)
	GemmThin(c, ldc, a, lda, b, m, k)
	if !slices.Equal(c, want) {
		t.Fatalf("m=%d k=%d lda=%d ldc=%d: not the bits of Gemm", m, k, lda, ldc)
	}
}

func TestGemmThin(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for m := range 27 {
			for _, k := range []int{0, 1, 2, 3, 4, 5, 7, 8, 16, 33, 64} {
				checkThin(t, m, k, k, ThinWidth)
				checkThin(t, m, k, 2*k+3, 5*ThinWidth)
			}
		}
		for _, k := range []int{wholeK, wholeK + 1, 2*blockK + 3, 3*blockK + 1} {
			checkThin(t, 13, k, k, ThinWidth)
		}
	})
}

func TestGemmThinShort(t *testing.T) {
	x := make([]float32, 80)
	for what, f := range map[string]func(){
		"c":        func() { GemmThin(x[:79], 8, x, 8, x, 10, 8) },
		"a":        func() { GemmThin(x, 8, x[:79], 8, x, 10, 8) },
		"b":        func() { GemmThin(x, 8, x, 8, x[:63], 10, 8) },
		"distance": func() { GemmThin(x, 7, x, 8, x, 10, 8) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("short %s: no panic", what)
				}
			}()
			f()
		}()
	}
}

func FuzzGemmThin(f *testing.F) {
	f.Add(uint8(13), uint16(70), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, m uint8, k uint16, gapA, gapC uint8) {
		depth := int(k) % 1200
		checkThin(t, int(m)%40, depth, depth+int(gapA), ThinWidth+int(gapC))
	})
}

func BenchmarkGemmThin(b *testing.B) {
	for _, k := range []int{16, 64, 192} {
		b.Run(fmt.Sprint("k=", k), func(b *testing.B) {
			a, x, c := random(k*k, 1), random(k*ThinWidth, 2), random(k*ThinWidth, 3)
			benchShare(b, float64(2*k*k*ThinWidth), PeakFMA, "GFLOP/s", func() { GemmThin(c, ThinWidth, a, k, x, k, k) })
		})
	}
}
