package tensor

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
)

// TestCompact makes tensors of all formats compact and back. Those that cannot be are packed.
func TestCompact(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, shape := range [][]int{{1, 4}, {33, 32}, {65, 100}, {100, 65}, {3, 5, 36}, {40}, {0, 4}, {300, 1028}} {
			for _, d := range formats {
				t.Run(fmt.Sprint(shape, d), func(t *testing.T) { testCompact(t, randomValues(r, New(shape...).Len()), d, shape) })
			}
		}
	})
}

func testCompact(t *testing.T, values []float32, d DType, shape []int) {
	a := FromFloat32s(slices.Clone(values), shape...)
	a.Convert(d)
	stored, plain := slices.Clone(a.Float32s()), a.Bytes()
	compact := (d == Float32 || d == BFloat16) && a.Dim(-1)%4 == 0 && kernel.CompactKernels()
	check := func(what string) {
		t.Helper()
		if !a.Packed() || a.Compacted() != compact {
			t.Fatalf("%s: it is %v", what, a)
		}
		if i := firstDifference(a.Float32s(), stored); i >= 0 {
			t.Fatalf("%s: element %d changed", what, i)
		}
	}
	a.Compact()
	check("made compact")
	checkRows(t, a, stored)
	a.Pack()
	a.Compact()
	check("made compact again")
	if most := float64(plain) * 0.95; compact && a.Dim(0) > 100 && float64(a.Bytes()) > most {
		t.Errorf("%v takes %d bytes, %d before", a, a.Bytes(), plain)
	}
	a.SetFloat32s(stored)
	check("set")
	a.Convert(Float32)
	a.Convert(d)
	if d == BFloat16 || d == Float32 {
		check("converted and back")
	}
	a.Unpack()
	if a.Packed() || a.Compacted() || firstDifference(a.Float32s(), stored) >= 0 {
		t.Errorf("unpacked, it is %v with other elements", a)
	}
	a.Pack()
	a.Compact()
	check("made compact when packed")

	b := NewWeight(a.Len()/max(a.Dim(-1), 1), a.Dim(-1))
	b.RenewCompact(d)
	if slices.ContainsFunc(b.Float32s(), func(v float32) bool { return v != 0 }) {
		t.Fatal("renewed, it is not zero")
	}
	rows := b.Dim(0)
	for from := 0; from < rows; from += PanelRows {
		to, k := min(from+PanelRows, rows), b.Dim(1)
		b.SetRows(from, FromFloat32s(stored[from*k:to*k], to-from, k))
	}
	if b.Bytes() != a.Bytes() || firstDifference(b.Float32s(), a.Float32s()) >= 0 {
		t.Error("set piece by piece, it has other elements or another size")
	}
}

// TestCompactSameBits compares products with those of packed tensors, on several cores.
func TestCompactSameBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := newRand()
	for _, s := range []struct{ m, n, k int }{{1, 2000, 300}, {3, 1000, 700}, {300, 40, 100}, {70, 600, 1600}, {5, 70, 0}} {
		for _, d := range []DType{Float32, BFloat16} {
			cputest.ForEachTier(t, func(t *testing.T) {
				w, x := randomWeight(r, s.n, s.k, d), randomMat(r, s.m, s.k)
				w.Pack()
				want := MatOf(make([]float32, s.m*s.n), s.m, s.n)
				MatMulT(want, x, w)
				w.Compact()
				part := PartsOf(x, w)
				for _, cores := range []int{1, 3} {
					runtime.GOMAXPROCS(cores)
					got := MatOf(make([]float32, s.m*s.n), s.m, s.n)
					if MatMulT(got, x, w); firstDifference(got.Data, want.Data) >= 0 {
						t.Errorf("%v %v on %d cores: the product differs from that of packed weights", s, w, cores)
					}
					some := MatOf(make([]float32, s.m*8), s.m, 8)
					part.MatMulT(some, 0, PartUnit)
					for i := range s.m {
						if firstDifference(some.Row(i), want.Row(i)[PartUnit:PartUnit+8]) >= 0 {
							t.Fatalf("%v %v: a part of the product differs", s, w)
						}
					}
				}
				part.Release()
			})
		}
	}
}

func TestCompactAllocatesNothing(t *testing.T) {
	r := newRand()
	for _, rows := range []int{1, 40} {
		for _, d := range []DType{Float32, BFloat16} {
			w := randomWeight(r, 300, 200, d)
			w.Compact()
			src, dst := NewSeq(1, rows, 200), NewSeq(1, rows, 300)
			if n := testing.AllocsPerRun(50, func() { Linear(dst, src, w, nil) }); n != 0 && !raceEnabled {
				t.Errorf("Linear of %d rows with %v allocates %v times", rows, w, n)
			}
		}
	}
}
