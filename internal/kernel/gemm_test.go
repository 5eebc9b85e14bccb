package kernel

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

func random(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// packed returns the panels of an n×k matrix in row-major order.
func packed(w []float32, n, k int) []float32 {
	p := make([]float32, PanelLen(n, k))
	PackPanels(p, w, n, k, k, 1)
	return p
}

// gemmShapes covers the edges of tiles, panels and blocks.
func gemmShapes() [][3]int {
	var s [][3]int
	for m := 1; m <= 26; m++ {
		s = append(s, [3]int{m, 40, 9})
	}
	for n := 1; n <= 70; n++ {
		s = append(s, [3]int{7, n, 13})
	}
	for k := 0; k <= 9; k++ {
		s = append(s, [3]int{5, 33, k})
	}
	return append(s, [3]int{200, 130, 40}, [3]int{3, 65, 1024}, [3]int{14, 31, 1025}, [3]int{13, 64, 1600}, [3]int{1, 1, 1}, [3]int{0, 5, 5}, [3]int{5, 0, 5})
}

func TestGemm(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range gemmShapes() {
			for _, add := range []bool{false, true} {
				testGemm(t, s[0], s[1], s[2], add)
			}
		}
	})
}

func testGemm(t *testing.T, m, n, k int, add bool) {
	t.Helper()
	lda, ldc := k+3, n+2
	a, w := random(m*lda+k, 1), random(n*k, 2)
	c := random(m*ldc+n, 3)
	old := slices.Clone(c)
	Gemm(c, ldc, a, lda, packed(w, n, k), m, n, k, add)
	for i := range c {
		row, col := i/ldc, i%ldc
		if row >= m || col >= n {
			if c[i] != old[i] {
				t.Fatalf("%d×%d×%d: wrote beyond the result at %d", m, n, k, i)
			}
			continue
		}
		want, size := 0.0, 1.0
		if add {
			want = float64(old[i])
		}
		for p := range k {
			v := float64(a[row*lda+p]) * float64(w[col*k+p])
			want += v
			size += math.Abs(v)
		}
		if d := math.Abs(float64(c[i]) - want); d > 2e-6*size {
			t.Fatalf("%d×%d×%d add=%v: c[%d][%d] = %v, want %v", m, n, k, add, row, col, c[i], want)
		}
	}
}

// TestGemmGuard multiplies matrices that end at a page which cannot be touched.
func TestGemmGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 33, 5}, {4, 17, 3}, {12, 32, 7}, {13, 1, 2}, {6, 63, 8}} {
			m, n, k := s[0], s[1], s[2]
			a, w, c := guardedFloats(t, m*k), guardedFloats(t, PanelLen(n, k)), guardedFloats(t, m*n)
			copy(a, random(m*k, 1))
			PackPanels(w, random(n*k, 2), n, k, k, 1)
			Gemm(c, n, a, k, w, m, n, k, true)
		}
	})
}

// TestGemmBits proves that the bits of a product depend neither on the rows and
// columns computed together nor on the tier, as far as that fuses.
func TestGemmBits(t *testing.T) {
	const m, n, k = 37, 100, 1300
	a, w := random(m*k, 1), packed(random(n*k, 2), n, k)
	var first []float32
	cputest.ForEachTier(t, func(t *testing.T) {
		whole := make([]float32, m*n)
		Gemm(whole, n, a, k, w, m, n, k, false)
		parts := make([]float32, m*n)
		for i := 0; i < m; {
			rows := min(1+i%13, m-i)
			for j := 0; j < n; j += 2 * PanelWidth {
				Gemm(parts[i*n+j:], n, a[i*k:], k, w[j*k:], rows, min(2*PanelWidth, n-j), k, false)
			}
			i += rows
		}
		if !slices.Equal(whole, parts) {
			t.Error("a product and its parts differ")
		}
		if cpu.Active() == cpu.TierGeneric {
			return
		}
		if first == nil {
			first = whole
		} else if !slices.Equal(first, whole) {
			t.Error("tiers differ")
		}
	})
}

// TestGemmFused compares with the chains of multiply-adds that the format prescribes,
// rounded once each: so tiers that never run on the same machine agree as well.
func TestGemmFused(t *testing.T) {
	for _, s := range [][3]int{{13, 33, 7}, {6, 32, 130}, {3, 40, 1024}, {7, 35, 1300}} {
		m, n, k := s[0], s[1], s[2]
		a, w, old := random(m*k, 1), random(n*k, 2), random(m*n, 3)
		want := slices.Clone(old)
		for i := range want {
			kc := k
			if k > wholeK {
				kc = blockK
			}
			for p := 0; p < k; p += kc {
				var sum float32
				for q := p; q < min(p+kc, k); q++ {
					sum = fma32(a[i/n*k+q], w[i%n*k+q], sum)
				}
				want[i] += sum
			}
		}
		cputest.ForEachTier(t, func(t *testing.T) {
			if cpu.Active() == cpu.TierGeneric {
				t.Skip("fuses only where Go does")
			}
			got := slices.Clone(old)
			Gemm(got, n, a, k, packed(w, n, k), m, n, k, true)
			if !slices.Equal(got, want) {
				t.Errorf("%d×%d×%d: not the sums of fused multiply-adds", m, n, k)
			}
		})
	}
}

// fma32 returns x·y + z, rounded once. The product is exact in float64. The sum is
// rounded there to odd, which tells the next rounding on which side of a tie it lies.
func fma32(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	sum := p + c
	back := sum - p
	lost := (p - (sum - back)) + (c - back)
	if b := math.Float64bits(sum); lost != 0 && lost == lost && b&1 == 0 { // NaN if the sum is infinite
		// Toward what was lost: up in magnitude if it has the sign of the sum.
		if (lost > 0) == (sum > 0) {
			b++
		} else {
			b--
		}
		sum = math.Float64frombits(b)
	}
	return float32(sum)
}

func TestFMA32(t *testing.T) {
	x, y, z := random(10_000, 1), random(10_000, 2), random(10_000, 3)
	for i := range x {
		if i%2 == 0 { // a product that misses a half of the last place of z by little
			_, e := math.Frexp(float64(z[i]))
			x[i] = float32(math.Ldexp(1+0x1p-23, e-25))
			y[i] = float32(math.Copysign(1-0x1p-23, float64(y[i])))
		}
		exact := new(big.Float).SetPrec(200).SetFloat64(float64(x[i]) * float64(y[i]))
		want, _ := exact.Add(exact, big.NewFloat(float64(z[i]))).Float32()
		if got := fma32(x[i], y[i], z[i]); got != want {
			t.Fatalf("%v·%v + %v = %v, want %v", x[i], y[i], z[i], got, want)
		}
	}
}

func TestPanels(t *testing.T) {
	for _, s := range [][2]int{{1, 1}, {31, 5}, {32, 16}, {33, 17}, {100, 40}} {
		n, k := s[0], s[1]
		w := random(n*k, 1)
		cputest.ForEachTier(t, func(t *testing.T) {
			p := packed(w, n, k)
			transposed := make([]float32, n*k)
			for j := range n {
				for i := range k {
					transposed[i*n+j] = w[j*k+i]
				}
			}
			q := make([]float32, PanelLen(n, k))
			PackPanels(q, transposed, n, k, 1, n)
			if !slices.Equal(p, q) {
				t.Fatalf("%d×%d: panels of a matrix and of its transpose differ", n, k)
			}
			back := make([]float32, n*k)
			UnpackPanels(back, p, n, k, k, 1)
			if !slices.Equal(back, w) {
				t.Fatalf("%d×%d: unpacking does not undo packing", n, k)
			}
			row := make([]float32, k)
			for j := range n {
				PanelRow(row, p, j, k)
				if !slices.Equal(row, w[j*k:(j+1)*k]) {
					t.Fatalf("%d×%d: row %d", n, k, j)
				}
			}
			for j := range (n + 31) / 32 * 32 * k {
				if row := j / (32 * k) * 32; row+j%32 >= n && p[j] != 0 {
					t.Fatalf("%d×%d: padding is %v", n, k, p[j])
				}
			}
		})
	}
}

func TestGemmAllocatesNothing(t *testing.T) {
	a, w, c := random(13*40, 1), packed(random(70*40, 2), 70, 40), make([]float32, 13*70)
	if n := testing.AllocsPerRun(10, func() { Gemm(c, 70, a, 40, w, 13, 70, 40, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGemmPanicsOnShortSlices(t *testing.T) {
	for i, f := range []func(){
		func() { Gemm(make([]float32, 3), 2, make([]float32, 4), 2, make([]float32, 64), 2, 2, 2, false) },
		func() { Gemm(make([]float32, 4), 2, make([]float32, 3), 2, make([]float32, 64), 2, 2, 2, false) },
		func() { Gemm(make([]float32, 4), 2, make([]float32, 4), 2, make([]float32, 63), 2, 2, 2, false) },
		func() { Gemm(make([]float32, 4), 1, make([]float32, 4), 2, make([]float32, 64), 2, 2, 2, false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("case %d did not panic", i)
				}
			}()
			f()
		}()
	}
}

// BenchmarkGemm reports the share of the multiply-add peak, measured in turn with
// the product. The rotation keeps weights that a model would read from memory out of
// the caches.
func BenchmarkGemm(b *testing.B) {
	for _, s := range []struct {
		m, n, k, copies int
	}{
		{512, 3072, 768, 1}, {512, 768, 1536, 1}, {512, 96, 1536, 1}, {512, 1536, 48, 1}, {64, 3072, 768, 1}, {12, 50304, 768, 1}, {8, 3072, 768, 1},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d", s.m, s.n, s.k), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B) {
				if cpu.Active() == cpu.TierGeneric {
					b.Skip("no peak to compare with")
				}
				a, c := random(s.m*s.k, 1), make([]float32, s.m*s.n)
				w := packed(random(s.n*s.k, 2), s.n, s.k)
				benchShare(b, float64(2*s.m*s.n*s.k), PeakFMA, "GFLOP/s", func() { Gemm(c, s.n, a, s.k, w, s.m, s.n, s.k, false) })
			})
		})
	}
}

// BenchmarkRead reports what one core reads from memory.
func BenchmarkRead(b *testing.B) {
	for _, mb := range []int{1, 8, 150, 1000} {
		b.Run(fmt.Sprintf("%dMB", mb), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B) {
				x := random(1<<18, 1)
				x = slices.Repeat(x, mb)
				var best float64
				for b.Loop() {
					best = max(best, PeakRead(x))
				}
				b.ReportMetric(best, "GB/s")
			})
		})
	}
}
