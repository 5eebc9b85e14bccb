package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// taylorSizes are widths around those of vectors.
var taylorSizes = []int{1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48}

// taylorFeatures returns the features of x by their definition.
func taylorFeatures(x []float32) []float64 {
	phi := []float64{1}
	for _, v := range x {
		phi = append(phi, float64(v))
	}
	for _, v := range x {
		phi = append(phi, math.Sqrt(0.5)*float64(v)*float64(v))
	}
	for i, v := range x {
		for _, w := range x[:i] {
			phi = append(phi, float64(v)*float64(w))
		}
	}
	return phi
}

// closeTo compares within some units of the last place.
func closeTo(t *testing.T, what string, got float32, want float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= 3e-7*math.Abs(want)) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// TestTaylorKernel checks the identity that the features are made for.
func TestTaylorKernel(t *testing.T) {
	for _, f := range taylorSizes {
		x, y := random(f, 1), random(f, 2)
		a, b := taylorFeatures(x), taylorFeatures(y)
		if len(a) != TaylorLen(f) {
			t.Fatalf("%d features of %d elements, want %d", len(a), f, TaylorLen(f))
		}
		var s, got float64
		for i := range x {
			s += float64(x[i]) * float64(y[i])
		}
		for i := range a {
			got += a[i] * b[i]
		}
		if want := 1 + s + s*s/2; math.Abs(got-want) > 1e-12*(1+s*s) {
			t.Errorf("f = %d: the product of the features is %v, want %v", f, got, want)
		}
	}
}

func TestTaylorRows(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, f := range taylorSizes {
			for _, rows := range []int{1, 2, 5} {
				for _, extra := range []int{0, 3} {
					lds, ldd := TaylorWidth(f)+extra, TaylorStride(f)+extra
					src := guardedFloats(t, (rows-1)*lds+TaylorWidth(f))
					copy(src, random(len(src), uint64(f)))
					dst := guardedFloats(t, (rows-1)*ldd+TaylorStride(f))
					TaylorRows(dst, ldd, src, lds, rows, f)
					for r := range rows {
						for i, want := range taylorFeatures(src[r*lds : r*lds+f]) {
							closeTo(t, fmt.Sprintf("f = %d: feature %d of row %d", f, i, r), dst[r*ldd+i], want)
						}
						if extra > 0 && r < rows-1 {
							if gap := dst[r*ldd+TaylorStride(f) : (r+1)*ldd]; !slices.Equal(gap, make([]float32, extra)) {
								t.Fatalf("f = %d: wrote %v between the rows", f, gap)
							}
						}
					}
				}
			}
		}
	})
}

func TestTaylorColumns(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, f := range taylorSizes {
			for _, ldd := range []int{PanelWidth, PanelWidth + 5} {
				panel := guardedFloats(t, f*PanelWidth)
				copy(panel, random(len(panel), uint64(f)))
				dst := guardedFloats(t, (TaylorLen(f)-1)*ldd+PanelWidth)
				TaylorColumns(dst, ldd, panel, f)
				for p := range PanelWidth {
					x := make([]float32, f)
					for i := range x {
						x[i] = panel[i*PanelWidth+p]
					}
					for i, want := range taylorFeatures(x) {
						closeTo(t, fmt.Sprintf("f = %d: feature %d of vector %d", f, i, p), dst[i*ldd+p], want)
					}
				}
				for i := range TaylorLen(f) - 1 {
					if gap := dst[i*ldd+PanelWidth : (i+1)*ldd]; !slices.Equal(gap, make([]float32, ldd-PanelWidth)) {
						t.Fatalf("f = %d: wrote %v between the rows", f, gap)
					}
				}
			}
		}
	})
}

func TestTaylorWeights(t *testing.T) {
	nan := float32(math.NaN())
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{16, 32, 48, 64} {
			for _, rows := range []int{1, 3, 12} {
				for first := range n + 2 {
					lds := n + first%3
					s := guardedFloats(t, (rows-1)*lds+n)
					copy(s, random(len(s), uint64(n+first)))
					for r := range rows { // what cannot be seen may be anything
						for j := min(first+r+1, n); j < n; j++ {
							s[r*lds+j] = nan
						}
					}
					old, sum := slices.Clone(s), guardedFloats(t, rows)
					TaylorWeights(s, lds, sum, rows, n, first)
					checkWeights(t, s, old, lds, sum, rows, n, first)
				}
			}
		}
	})
}

func checkWeights(t *testing.T, s, old []float32, lds int, sum []float32, rows, n, first int) {
	t.Helper()
	for r := range rows {
		total := 0.0
		for j := range n {
			x, want := float64(old[r*lds+j]), 0.0
			if j <= first+r {
				want = 1 + x + x*x/2
			}
			if got := float64(s[r*lds+j]); !(math.Abs(got-want) <= 2e-7*(1+x*x)) && want != got {
				t.Fatalf("n %d, first %d: s[%d][%d] = %v, want %v", n, first, r, j, got, want)
			}
			total += want
		}
		if !(math.Abs(float64(sum[r])-total) <= 2e-6*total) {
			t.Fatalf("n %d, first %d: the sum of row %d is %v, want %v", n, first, r, sum[r], total)
		}
		if r < rows-1 && !slices.Equal(s[r*lds+n:(r+1)*lds], old[r*lds+n:(r+1)*lds]) {
			t.Fatal("wrote between the rows")
		}
	}
}

// TestTaylorWeightsBits proves that the bits of a row do not depend on what is computed
// with it.
func TestTaylorWeightsBits(t *testing.T) {
	const rows, n, first = 12, 64, 33
	cputest.ForEachTier(t, func(t *testing.T) {
		s, sum := random(rows*n, 1), make([]float32, rows)
		alone := slices.Clone(s)
		TaylorWeights(s, n, sum, rows, n, first)
		for r := range rows {
			var one [1]float32
			seen := first + r + 1
			TaylorWeights(alone[r*n:], n, one[:], 1, TaylorWidth(seen), first+r)
			if one[0] != sum[r] || !slices.Equal(alone[r*n:r*n+seen], s[r*n:r*n+seen]) {
				t.Errorf("row %d differs from the same row alone", r)
			}
		}
	})
}

func TestRowDots(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 153} {
			for m := 1; m <= 9; m++ {
				testRowDots(t, m, n, n+m%3)
			}
		}
	})
}

func testRowDots(t *testing.T, m, n, lda int) {
	t.Helper()
	a, x, y := guardedFloats(t, (m-1)*lda+n), guardedFloats(t, n), guardedFloats(t, m)
	copy(a, random(len(a), 1))
	copy(x, random(n, 2))
	for _, add := range []bool{false, true} {
		old := slices.Clone(y)
		RowDots(y, a, lda, x, m, add)
		for i := range m {
			want, size := 0.0, 1.0
			if add {
				want = float64(old[i])
			}
			for p, v := range x {
				want += float64(a[i*lda+p]) * float64(v)
				size += math.Abs(float64(a[i*lda+p]) * float64(v))
			}
			if math.Abs(float64(y[i])-want) > 1e-6*size {
				t.Fatalf("%d rows of %d, add %v: y[%d] = %v, want %v", m, n, add, i, y[i], want)
			}
			var one [1]float32
			one[0] = old[i]
			RowDots(one[:], a[i*lda:], lda, x, 1, add)
			if one[0] != y[i] {
				t.Fatalf("%d rows of %d: row %d differs from the same row alone", m, n, i)
			}
		}
	}
}

func TestScaleRows(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := 1; n <= 70; n++ {
			for _, m := range []int{1, 2, 5} {
				lds, ldd := n+2, n+3
				src, dst := guardedFloats(t, (m-1)*lds+n), guardedFloats(t, (m-1)*ldd+n)
				factors := guardedFloats(t, m)
				copy(src, random(len(src), 1))
				copy(factors, random(m, 2))
				ScaleRows(dst, ldd, src, lds, factors, n)
				for i := range m {
					for j := range n {
						if want := factors[i] * src[i*lds+j]; dst[i*ldd+j] != want {
							t.Fatalf("%d rows of %d: dst[%d][%d] = %v, want %v", m, n, i, j, dst[i*ldd+j], want)
						}
					}
					if i < m-1 && !slices.Equal(dst[i*ldd+n:(i+1)*ldd], make([]float32, ldd-n)) {
						t.Fatalf("%d rows of %d: wrote between the rows", m, n)
					}
				}
				ScaleRows(src, lds, src, lds, factors, n)
				for i := range m {
					if !slices.Equal(src[i*lds:i*lds+n], dst[i*ldd:i*ldd+n]) {
						t.Fatalf("%d rows of %d in place: row %d differs", m, n, i)
					}
				}
			}
		}
	})
}

// TestTaylorSpecial makes sure that what is not a number stays where it belongs.
func TestTaylorSpecial(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			x := random(2*16, 1)
			x[16+3] = bad
			dst := make([]float32, 2*TaylorStride(16))
			TaylorRows(dst, TaylorStride(16), x, 16, 2, 16)
			for i, v := range dst[:TaylorLen(16)] {
				if v-v != 0 {
					t.Errorf("%v in row 1 makes feature %d of row 0 %v", bad, i, v)
				}
			}
			if v := dst[TaylorStride(16)+1+3]; v-v == 0 {
				t.Errorf("%v becomes %v", bad, v)
			}
			s, sum := random(2*16, 2), make([]float32, 2)
			s[16+3] = bad
			TaylorWeights(s, 16, sum, 2, 16, 14)
			if sum[0]-sum[0] != 0 || sum[1]-sum[1] == 0 {
				t.Errorf("%v in row 1 gives sums %v", bad, sum)
			}
			y := make([]float32, 5)
			a := random(5*9, 3)
			a[2*9+8] = bad
			RowDots(y, a, 9, random(9, 4), 5, false)
			for i, v := range y {
				if (v-v == 0) == (i == 2) {
					t.Errorf("%v in row 2 makes product %d %v", bad, i, v)
				}
			}
		}
	})
}

func TestTaylorAllocates(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		x, dst, sum := random(16*32, 1), make([]float32, 32*TaylorStride(16)), make([]float32, 32)
		if n := testing.AllocsPerRun(10, func() {
			TaylorRows(dst, TaylorStride(16), x, 16, 32, 16)
			TaylorColumns(dst, 32, x, 16)
			TaylorWeights(x, 16, sum, 32, 16, 0)
			RowDots(sum, dst, 32, x[:32], 32, true)
			ScaleRows(dst, 16, dst, 16, sum, 16)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestTaylorPanics(t *testing.T) {
	x := make([]float32, 1000)
	for name, f := range map[string]func(){
		"no elements":   func() { TaylorRows(x, 160, x, 16, 1, 0) },
		"rows":          func() { TaylorRows(x[:159], 160, x, 16, 1, 16) },
		"row distance":  func() { TaylorRows(x, 159, x, 16, 2, 16) },
		"vectors":       func() { TaylorRows(x, 160, x[:15], 16, 1, 16) },
		"columns":       func() { TaylorColumns(x[:32*5+31], 32, x, 2) },
		"column width":  func() { TaylorColumns(x, 31, x, 2) },
		"panel":         func() { TaylorColumns(x, 32, x[:63], 2) },
		"weights":       func() { TaylorWeights(x, 16, x, 1, 17, 0) },
		"first":         func() { TaylorWeights(x, 16, x, 1, 16, -1) },
		"scores":        func() { TaylorWeights(x[:31], 16, x, 2, 16, 0) },
		"sums":          func() { TaylorWeights(x, 16, x[:1], 2, 16, 0) },
		"products":      func() { RowDots(x[:1], x, 3, x[:3], 2, false) },
		"rows of dots":  func() { RowDots(x, x[:5], 3, x[:3], 2, false) },
		"rows to scale": func() { ScaleRows(x[:31], 16, x, 16, x[:2], 16) },
		"scaled rows":   func() { ScaleRows(x, 16, x[:31], 16, x[:2], 16) },
		"scaled width":  func() { ScaleRows(x, 15, x, 16, x[:2], 16) },
		"dots distance": func() { RowDots(x, x, -1, x[:3], 2, false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func FuzzTaylor(f *testing.F) {
	f.Add(uint64(1), 16, 3, 5, 1.0)
	f.Fuzz(func(t *testing.T, seed uint64, size, rows, first int, spread float64) {
		size, rows, first = 1+size&63, 1+rows&15, first&127
		if !(math.Abs(spread) < 1e6) {
			t.Skip()
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		x := make([]float32, rows*TaylorWidth(size))
		for i := range x {
			x[i] = float32(rng.NormFloat64() * spread)
		}
		ldd := TaylorStride(size)
		got, want := make([]float32, rows*ldd), make([]float32, rows*ldd)
		TaylorRows(got, ldd, x, TaylorWidth(size), rows, size)
		taylorRowsGeneric(want, ldd, x, TaylorWidth(size), rows, size)
		for r := range rows {
			for i := range TaylorLen(size) {
				if got[r*ldd+i] != want[r*ldd+i] {
					t.Fatalf("feature %d of row %d is %v, the portable version has %v", i, r, got[r*ldd+i], want[r*ldd+i])
				}
			}
		}
		n := TaylorWidth(size)
		s, sum := slices.Clone(x), make([]float32, rows)
		TaylorWeights(s, n, sum, rows, n, first)
		checkWeights(t, s, x, n, sum, rows, n, first)
	})
}

func BenchmarkTaylor(b *testing.B) {
	const f, n = 16, 64
	none := func() float64 { return 0 }
	cputest.BenchEachTier(b, func(b *testing.B) {
		q, dst := random(n*f, 1), make([]float32, n*TaylorStride(f))
		b.Run("rows", func(b *testing.B) {
			benchShare(b, n*float64(TaylorLen(f)), none, "features/ns", func() {
				TaylorRows(dst, TaylorStride(f), q, f, n, f)
			})
		})
		b.Run("columns", func(b *testing.B) {
			benchShare(b, n*float64(TaylorLen(f)), none, "features/ns", func() {
				TaylorColumns(dst, n, q, f)
				TaylorColumns(dst[PanelWidth:], n, q, f)
			})
		})
		b.Run("weights", func(b *testing.B) {
			s, sum := random(12*n, 1), make([]float32, 12)
			benchShare(b, 12*n, none, "weights/ns", func() {
				clear(s)
				TaylorWeights(s, n, sum, 12, n, n-12)
			})
		})
		b.Run("dots", func(b *testing.B) {
			y, x := make([]float32, n), random(TaylorLen(f), 1)
			clear(dst)
			benchShare(b, 2*n*float64(len(x)), PeakFMA, "GFLOP/s", func() {
				RowDots(y, dst, TaylorStride(f), x, n, false)
			})
		})
	})
}

// TestTaylorWeightsGrad compares with the definition, and checks that nothing beside the
// rows is touched.
func TestTaylorWeightsGrad(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			for _, rows := range []int{1, 2, 11} {
				lds, ldd := n+2, n+5
				s, ds := guardedFloats(t, (rows-1)*lds+n), guardedFloats(t, (rows-1)*ldd+n)
				copy(s, random(len(s), 1))
				copy(ds, random(len(ds), 2))
				x, dw := slices.Clone(s), slices.Clone(ds)
				TaylorWeightsGrad(s, lds, ds, ldd, rows, n)
				for i, got := range s {
					v := float64(x[i])
					want := 1 + v + v*v/2
					if i%lds >= n {
						want = v
					}
					if !(math.Abs(float64(got)-want) <= 3e-7*(1+v*v)) {
						t.Fatalf("%d×%d: weight %d is %v, want %v", rows, n, i, got, want)
					}
				}
				for i, got := range ds {
					want := float64(dw[i])
					if r, j := i/ldd, i%ldd; j < n {
						want *= 1 + float64(x[r*lds+j])
					}
					if !(math.Abs(float64(got)-want) <= 3e-7*(math.Abs(float64(dw[i]))+math.Abs(want))) {
						t.Fatalf("%d×%d: gradient %d is %v, want %v", rows, n, i, got, want)
					}
				}
			}
		}
	})
	x, short := make([]float32, 64), make([]float32, 63)
	mustPanic(t, "short products", func() { TaylorWeightsGrad(short, 16, x, 16, 4, 16) })
	mustPanic(t, "short gradients", func() { TaylorWeightsGrad(x, 16, short, 16, 4, 16) })
	mustPanic(t, "rows that overlap", func() { TaylorWeightsGrad(x, 15, x, 16, 4, 16) })
}
