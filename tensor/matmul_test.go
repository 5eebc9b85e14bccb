package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// sizes are rows, outputs and inner elements around the tiles and panels of the kernels.
type size struct{ m, n, k int }

var sizes = []size{
	{1, 1, 1}, {1, 32, 16}, {1, 33, 100}, {2, 31, 7}, {3, 65, 33}, {4, 100, 129}, {5, 7, 64}, {11, 32, 31}, {12, 64, 48},
	{13, 95, 257}, {24, 1, 5}, {25, 130, 3}, {48, 16, 520}, {60, 200, 17}, {7, 3, 1000}, {100, 5, 40}, {6, 257, 65},
}

func randomMat(r *rand.Rand, rows, cols int) Mat {
	return MatOf(randomValues(r, rows*cols), rows, cols)
}

func randomWeight(r *rand.Rand, n, k int, d DType) *Tensor {
	w := NewWeight(n, k)
	w.SetFloat32s(randomValues(r, n*k))
	w.Convert(d)
	return w
}

// framed is a matrix that is columns of a wider one, whose other elements are NaN.
func framed(rows, cols int) (part, whole Mat) {
	whole = MatOf(make([]float32, rows*(cols+7)), rows, cols+7)
	for i := range whole.Data {
		whole.Data[i] = float32(math.NaN())
	}
	return whole.Slice(3, 3+cols), whole
}

func frame(m Mat) (part, whole Mat) {
	part, whole = framed(m.Rows, m.Cols)
	for i := range m.Rows {
		copy(part.Row(i), m.Row(i))
	}
	return part, whole
}

// checkFrame checks that nothing around the part was written to.
func checkFrame(t *testing.T, whole Mat) {
	t.Helper()
	for i := range whole.Rows {
		row := whole.Row(i)
		for j, v := range row {
			if (j < 3 || j >= len(row)-4) && v == v {
				t.Fatalf("wrote %v to row %d, column %d of what the result is a part of", v, i, j)
			}
		}
	}
}

// compact returns the elements of m without gaps.
func compact(m Mat) []float32 {
	var v []float32
	for i := range m.Rows {
		v = append(v, m.Row(i)...)
	}
	return v
}

// checkProduct compares c with the sum of terms, within what rounding of float32s
// allows: a few units for each of the k products at the most, in practice far less.
func checkProduct(t *testing.T, c Mat, k int, term func(i, j, p int) float64, start func(i, j int) float64) {
	t.Helper()
	checkProductWithin(t, c, k, term, start, zero)
}

// checkProductWithin is checkProduct with more allowed for.
func checkProductWithin(t *testing.T, c Mat, k int, term func(i, j, p int) float64, start, bound func(i, j int) float64) {
	t.Helper()
	for i := range c.Rows {
		for j, got := range c.Row(i) {
			want, size := start(i, j), math.Abs(start(i, j))
			for p := range k {
				v := term(i, j, p)
				want, size = want+v, size+math.Abs(v)
			}
			if diff := math.Abs(float64(got) - want); !(diff <= size*1e-7*(3+math.Sqrt(float64(k)))+bound(i, j)) {
				t.Fatalf("element (%d, %d) is %v, want %v: off by %.2g", i, j, got, want, diff)
			}
		}
	}
}

// blockRounding returns what the rounding of the rows of x within blocks, where the
// weights are integers, can make of their products with w: 2^-22 of the largest magnitude
// of a block for each of its elements.
func blockRounding(x Mat, w *Tensor) func(i, j int) float64 {
	if w.DType() != Int8 && w.DType() != Int4 {
		return zero
	}
	values, k := w.Float32s(), w.Dim(1)
	return func(i, j int) (sum float64) {
		for lo := 0; lo < k; lo += QuantBlock {
			var largest, weights float64
			for p := lo; p < min(lo+QuantBlock, k); p++ {
				largest = max(largest, math.Abs(float64(x.Row(i)[p])))
				weights += math.Abs(float64(values[j*k+p]))
			}
			sum += largest * weights * 0x1p-22
		}
		return sum
	}
}

func zero(int, int) float64 { return 0 }

func TestMatMulT(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range sizes {
			for _, d := range formats {
				t.Run(fmt.Sprint(s, d), func(t *testing.T) { testMatMulT(t, s.m, s.n, s.k, d) })
			}
		}
	})
}

func testMatMulT(t *testing.T, m, n, k int, d DType) {
	r := newRand()
	w := randomWeight(r, n, k, d)
	values := w.Float32s()
	x, _ := frame(randomMat(r, m, k))
	y, whole := framed(m, n)
	term := func(i, j, p int) float64 { return float64(x.Row(i)[p]) * float64(values[j*k+p]) }
	MatMulT(y, x, w)
	checkProductWithin(t, y, k, term, zero, blockRounding(x, w))
	checkFrame(t, whole)
	want := compact(y)

	w.Pack()
	y, whole = framed(m, n)
	MatMulT(y, x, w)
	checkFrame(t, whole)
	if i := firstDifference(compact(y), want); i >= 0 {
		t.Fatalf("element %d is %v with packed weights, %v with unpacked ones", i, compact(y)[i], want[i])
	}
	for i := range m {
		one, _ := framed(1, n)
		MatMulT(one, x.SliceRows(i, i+1), w)
		if j := firstDifference(one.Row(0), want[i*n:(i+1)*n]); j >= 0 {
			t.Fatalf("row %d alone: element %d is %v, among all rows %v", i, j, one.Row(0)[j], want[i*n+j])
		}
	}
	for i := range y.Rows {
		for j := range y.Row(i) {
			y.Row(i)[j] = float32(i - j)
		}
	}
	MatMulTAdd(y, x, w)
	checkFrame(t, whole)
	checkProductWithin(t, y, k, term, func(i, j int) float64 { return float64(i - j) }, blockRounding(x, w))
}

// TestMatMulTSameBits tests that the bits depend neither on the number of cores nor
// on the tier, as long as it is not the portable one.
func TestMatMulTSameBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, s := range []struct{ m, n, k int }{{1, 2000, 300}, {3, 1000, 700}, {50, 400, 300}, {300, 40, 100}, {200, 600, 65}} {
		for _, d := range formats {
			r := newRand()
			w, x := randomWeight(r, s.n, s.k, d), randomMat(r, s.m, s.k)
			w.Pack()
			var first []float32
			cputest.ForEachTier(t, func(t *testing.T) {
				var tier []float32
				for _, cores := range []int{1, 2, 3, 8} {
					runtime.GOMAXPROCS(cores)
					y := MatOf(make([]float32, s.m*s.n), s.m, s.n)
					MatMulT(y, x, w)
					if tier == nil {
						tier = y.Data
					}
					if i := firstDifference(y.Data, tier); i >= 0 {
						t.Errorf("%v %v: element %d is %v on %d cores, %v on one", s, d, i, y.Data[i], cores, tier[i])
					}
				}
				if cpu.Active() == cpu.TierGeneric {
					return
				}
				if first == nil {
					first = tier
				}
				if i := firstDifference(tier, first); i >= 0 {
					t.Errorf("%v %v: element %d is %v, in another tier %v", s, d, i, tier[i], first[i])
				}
			})
		}
	}
}

// TestMatMulTWindows multiplies rows that overlap: a convolution of four taps and
// stride two.
func TestMatMulTWindows(t *testing.T) {
	r := newRand()
	const width, taps, stride, rows, n = 3, 4, 2, 20, 37
	data := randomValues(r, (rows-1)*stride*width+taps*width)
	x := Mat{data, rows, taps * width, stride * width}
	w := randomWeight(r, n, taps*width, Float32)
	y := MatOf(make([]float32, rows*n), rows, n)
	MatMulT(y, x, w)
	values := w.Float32s()
	checkProduct(t, y, taps*width, func(i, j, p int) float64 {
		return float64(data[i*stride*width+p]) * float64(values[j*taps*width+p])
	}, zero)
}

func TestLinear(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, s := range []struct{ batch, length, n, k int }{{1, 1, 5, 4}, {3, 1, 65, 33}, {40, 1, 20, 10}, {2, 7, 33, 20}, {1, 100, 70, 31}, {2, 90, 300, 64}} {
			w, bias := randomWeight(r, s.n, s.k, Float32), randomValues(r, s.n)
			values := w.Float32s()
			long := NewSeq(s.batch, s.length+3, s.k)
			copy(long.Data, randomValues(r, len(long.Data)))
			longDst := NewSeq(s.batch, s.length+2, s.n)
			src, dst := long.Slice(1, s.length+1), longDst.Slice(2, s.length+2)
			Linear(dst, src, w, bias)
			for b := range s.batch {
				x := src.Sequence(b).Mat()
				checkProduct(t, dst.Sequence(b).Mat(), s.k,
					func(i, j, p int) float64 { return float64(x.Row(i)[p]) * float64(values[j*s.k+p]) },
					func(i, j int) float64 { return float64(bias[j]) })
				for i := range 2 {
					if slices.ContainsFunc(longDst.At(b, i), func(v float32) bool { return v != 0 }) {
						t.Fatal("wrote in front of dst")
					}
				}
			}
			// Bit for bit the same: without gaps, packed, and as product and sum.
			x, y, sum := NewSeq(s.batch, s.length, s.k), NewSeq(s.batch, s.length, s.n), NewSeq(s.batch, s.length, s.n)
			Copy(x, src)
			w.Pack()
			Linear(y, x, w, bias)
			Linear(sum, x, w, nil)
			for b := range s.batch {
				for i := range s.length {
					Add(sum.At(b, i), sum.At(b, i), bias)
					if firstDifference(y.At(b, i), dst.At(b, i)) >= 0 || firstDifference(sum.At(b, i), dst.At(b, i)) >= 0 {
						t.Fatalf("%v: position %d of sequence %d depends on the memory around it", s, i, b)
					}
				}
			}
		}
	})
}

func TestMatMul(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range sizes {
			for _, d := range formats {
				r := newRand()
				w := randomWeight(r, s.n, s.k, d)
				if s.m%2 == 0 {
					w.Pack()
				}
				values := w.Float32s()
				y, _ := frame(randomMat(r, s.m, s.n))
				x, whole := framed(s.m, s.k)
				term := func(i, j, p int) float64 { return float64(y.Row(i)[p]) * float64(values[p*s.k+j]) }
				MatMul(x, y, w)
				checkFrame(t, whole)
				checkProduct(t, x, s.n, term, zero)
				before := compact(x)
				MatMulAdd(x, y, w)
				checkFrame(t, whole)
				checkProduct(t, x, s.n, term, func(i, j int) float64 { return float64(before[i*s.k+j]) })
			}
		}
	})
}

func TestMatMulTN(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range append(slices.Clone(sizes), size{2*sumRows + 70, 33, 40}) {
			r := newRand()
			dy, _ := frame(randomMat(r, s.m, s.n))
			x, _ := frame(randomMat(r, s.m, s.k))
			dw, whole := frame(randomMat(r, s.n, s.k))
			before := compact(dw)
			MatMulTN(dw, dy, x)
			checkFrame(t, whole)
			checkProduct(t, dw, s.m,
				func(i, j, p int) float64 { return float64(dy.Row(p)[i]) * float64(x.Row(p)[j]) },
				func(i, j int) float64 { return float64(before[i*s.k+j]) })
		}
	})
}

func TestProductsOfNothing(t *testing.T) {
	w := randomWeight(newRand(), 5, 4, Float32)
	mat := func(rows, cols int) Mat { return MatOf(make([]float32, rows*cols), rows, cols) }
	MatMulT(mat(0, 5), mat(0, 4), w)
	MatMul(mat(0, 4), mat(0, 5), w)
	MatMulTN(mat(5, 4), mat(0, 5), mat(0, 4))
	Linear(NewSeq(2, 0, 5), NewSeq(2, 0, 4), w, nil)
	none := NewWeight(0, 200)
	x := mat(3, 200)
	x.Data[5] = 1
	MatMulT(mat(3, 0), mat(3, 200), none)
	MatMul(x, mat(3, 0), none)
	if x.Data[5] != 0 {
		t.Error("a sum of nothing is not zero")
	}
	empty, y := NewWeight(3, 0), NewSeq(1, 2, 3)
	y.Data[4] = 7
	Linear(y, NewSeq(1, 2, 0), empty, []float32{1, 2, 3})
	if !slices.Equal(y.Data, []float32{1, 2, 3, 1, 2, 3}) {
		t.Errorf("a linear layer of nothing is %v, not its bias", y.Data)
	}
}

func TestProductShapes(t *testing.T) {
	w := NewWeight(5, 4)
	mat := func(rows, cols int) Mat { return MatOf(make([]float32, rows*cols), rows, cols) }
	overlapping := Mat{make([]float32, 20), 3, 5, 2}
	short := mat(3, 4)
	short.Data = short.Data[:11]
	mustPanic(t, "columns of src", true, func() { MatMulT(mat(3, 5), mat(3, 5), w) })
	mustPanic(t, "columns of dst", true, func() { MatMulT(mat(3, 4), mat(3, 4), w) })
	mustPanic(t, "rows of dst", true, func() { MatMulT(mat(2, 5), mat(3, 4), w) })
	mustPanic(t, "too little data", true, func() { MatMulT(mat(3, 5), short, w) })
	mustPanic(t, "rows of dst that overlap", false, func() { MatMulT(overlapping, mat(3, 4), w) })
	mustPanic(t, "MatMul", true, func() { MatMul(mat(3, 4), mat(3, 4), w) })
	mustPanic(t, "MatMulTN", true, func() { MatMulTN(mat(5, 4), mat(3, 5), mat(2, 4)) })
	mustPanic(t, "MatMulTN to another shape", true, func() { MatMulTN(mat(4, 5), mat(3, 5), mat(3, 4)) })
	mustPanic(t, "width of Linear", true, func() { Linear(NewSeq(1, 2, 5), NewSeq(1, 2, 5), w, nil) })
	mustPanic(t, "length of Linear", true, func() { Linear(NewSeq(1, 3, 5), NewSeq(1, 2, 4), w, nil) })
	mustPanic(t, "bias", true, func() { Linear(NewSeq(1, 2, 5), NewSeq(1, 2, 4), w, make([]float32, 4)) })
}

func TestProductsAllocateNothing(t *testing.T) {
	r := newRand()
	for _, rows := range []int{1, 40} {
		for _, d := range formats {
			for _, packed := range []bool{false, true} {
				w, bias := randomWeight(r, 300, 200, d), make([]float32, 300)
				if packed {
					w.Pack()
				}
				src, dst := NewSeq(1, rows, 200), NewSeq(1, rows, 300)
				// A garbage collection empties the pools, and the mean is rounded down.
				if n := testing.AllocsPerRun(50, func() { Linear(dst, src, w, bias) }); n != 0 && !raceEnabled {
					t.Errorf("Linear of %d rows with %v allocates %v times", rows, w, n)
				}
			}
		}
	}
}
