package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// checkColumnSums compares both functions with sums in float64, and checks that they write
// n elements.
func checkColumnSums(t *testing.T, rows, n, ldx, ldy int) {
	t.Helper()
	x, y := random(max(0, rows-1)*ldx+n, 1), random(max(0, rows-1)*ldy+n, 2)
	begin := append(random(n, 3), 7)
	sums, dots := slices.Clone(begin), slices.Clone(begin)
	ColumnSums(sums, x, ldx, rows, n)
	ColumnDots(dots, x, ldx, y, ldy, rows, n)
	for j := range n {
		sum, dot := float64(begin[j]), float64(begin[j])
		sumSize, dotSize := math.Abs(sum), math.Abs(dot)
		for i := range rows {
			v, w := float64(x[i*ldx+j]), float64(y[i*ldy+j])
			sum, dot = sum+v, dot+v*w
			sumSize, dotSize = sumSize+math.Abs(v), dotSize+math.Abs(v*w)
		}
		if !(math.Abs(float64(sums[j])-sum) <= 1e-6*sumSize) || !(math.Abs(float64(dots[j])-dot) <= 1e-6*dotSize) {
			t.Fatalf("%d×%d: column %d has the sum %v and the product %v, want %v and %v", rows, n, j, sums[j], dots[j], sum, dot)
		}
	}
	if sums[n] != 7 || dots[n] != 7 {
		t.Fatalf("%d×%d: wrote beside the sums", rows, n)
	}
}

func TestColumnSums(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := range 150 {
			for _, rows := range []int{0, 1, 2, 63, 64, 65, 200} {
				checkColumnSums(t, rows, n, n+3, n+1)
			}
		}
		checkColumnSums(t, 70, 2*columnWork/columnRows+5, 2*columnWork/columnRows+5, 2*columnWork/columnRows+5)
		checkColumnSums(t, 100, 20, 0, 7) // rows that overlap
	})
}

// TestColumnSumsParts proves that columns do not depend on one another.
func TestColumnSumsParts(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		const rows, n = 130, 77
		x, y := random(rows*n, 1), random(rows*n, 2)
		sums, dots := make([]float32, n), make([]float32, n)
		ColumnSums(sums, x, n, rows, n)
		ColumnDots(dots, x, n, y, n, rows, n)
		for j := range n {
			for width := 1; j+width <= n; width += 9 {
				part := make([]float32, width)
				ColumnSums(part, x[j:], n, rows, width)
				if !slices.Equal(part, sums[j:j+width]) {
					t.Fatalf("sums %d to %d on their own differ", j, j+width-1)
				}
				clear(part)
				ColumnDots(part, x[j:], n, y[j:], n, rows, width)
				if !slices.Equal(part, dots[j:j+width]) {
					t.Fatalf("products %d to %d on their own differ", j, j+width-1)
				}
			}
		}
	})
}

func TestColumnSumsGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			const rows = 3
			x, y := guardedFloats(t, rows*n), guardedFloats(t, rows*n)
			copy(x, random(rows*n, 1))
			copy(y, random(rows*n, 2))
			sums, dots := guardedFloats(t, n), guardedFloats(t, n)
			ColumnSums(sums, x, n, rows, n)
			ColumnDots(dots, x, n, y, n, rows, n)
			for j := range n {
				sum := float64(x[j]) + float64(x[n+j]) + float64(x[2*n+j])
				dot := float64(x[j])*float64(y[j]) + float64(x[n+j])*float64(y[n+j]) + float64(x[2*n+j])*float64(y[2*n+j])
				if math.Abs(float64(sums[j])-sum) > 1e-5 || math.Abs(float64(dots[j])-dot) > 1e-5 {
					t.Fatalf("n=%d: column %d is %v and %v, want %v and %v", n, j, sums[j], dots[j], sum, dot)
				}
			}
		}
	})
}

func TestColumnSumsSpecial(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cputest.ForEachTier(t, func(t *testing.T) {
		const n = 85
		x, y := slices.Repeat([]float32{1}, 2*n), slices.Repeat([]float32{2}, 2*n)
		x[3], x[n+20], x[84] = inf, nan, -inf
		sums, dots := make([]float32, n), make([]float32, n)
		ColumnSums(sums, x, n, 2, n)
		ColumnDots(dots, x, n, y, n, 2, n)
		for j := range n {
			for k, v := range []float32{sums[j], dots[j]} {
				want := float32(2 * (k + 1))
				switch j {
				case 3:
					want = inf
				case 84:
					want = -inf
				case 20:
					if v == v {
						t.Errorf("column %d is %v", j, v)
					}
					continue
				}
				if v != want {
					t.Errorf("column %d is %v, want %v", j, v, want)
				}
			}
		}
	})
}

func TestColumnSumsAllocs(t *testing.T) {
	x, sum := random(64*48, 1), make([]float32, 48)
	if n := testing.AllocsPerRun(10, func() { ColumnSums(sum, x, 48, 64, 48); ColumnDots(sum, x, 48, x, 48, 64, 48) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestColumnSumsPanics(t *testing.T) {
	x, short := make([]float32, 64), make([]float32, 63)
	for i, f := range []func(){
		func() { ColumnSums(x[:15], x, 16, 4, 16) },
		func() { ColumnSums(x, short, 16, 4, 16) },
		func() { ColumnSums(x, x, -16, 4, 16) },
		func() { ColumnDots(x[:15], x, 16, x, 16, 4, 16) },
		func() { ColumnDots(x, short, 16, x, 16, 4, 16) },
		func() { ColumnDots(x, x, 16, short, 16, 4, 16) },
	} {
		mustPanic(t, fmt.Sprintf("case %d", i), f)
	}
}

func FuzzColumnSums(f *testing.F) {
	f.Add(uint(20), uint(70), uint(3))
	f.Fuzz(func(t *testing.T, rows, n, gap uint) {
		m, columns := int(rows%300), int(1+n%200)
		ld := columns + int(gap%9)
		cputest.ForEachTier(t, func(t *testing.T) { checkColumnSums(t, m, columns, ld, columns) })
	})
}

// BenchmarkColumnDots adds up the products of 64 positions of 256 channels.
func BenchmarkColumnDots(b *testing.B) {
	const rows, n = 64, 256
	x, y, sum := random(rows*n, 1), random(rows*n, 2), make([]float32, n)
	cputest.BenchEachTier(b, func(b *testing.B) {
		benchShare(b, 2*rows*n, PeakFMA, "GFLOP/s", func() { ColumnDots(sum, x, n, y, n, rows, n) })
	})
}
