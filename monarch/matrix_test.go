package monarch_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// shapes are sizes of all kinds: square, rectangular, of rank one, of higher rank, with l
// not dividing q, with blocks of one row or column, wider than a panel.
var shapes = []monarch.Shape{
	{K: 2, Q: 2, P: 2, L: 2, S: 2, R: 2},
	{K: 1, Q: 1, P: 1, L: 1, S: 1, R: 1},
	{K: 2, Q: 4, P: 3, L: 4, S: 2, R: 2},
	{K: 4, Q: 8, P: 3, L: 4, S: 5, R: 8},
	{K: 3, Q: 4, P: 2, L: 6, S: 5, R: 2},
	{K: 2, Q: 6, P: 5, L: 4, S: 3, R: 3},
	{K: 1, Q: 12, P: 7, L: 3, S: 2, R: 4},
	{K: 12, Q: 1, P: 2, L: 1, S: 9, R: 12},
	{K: 4, Q: 48, P: 40, L: 4, S: 33, R: 48},
	{K: 8, Q: 192, P: 96, L: 24, S: 16, R: 64},
	{K: 16, Q: 16, P: 16, L: 16, S: 16, R: 16},
	{K: 5, Q: 7, P: 37, L: 7, S: 41, R: 5},
}

// naive multiplies by the definition, in float64.
func naive(s monarch.Shape, w1, w2 *tensor.Tensor, x []float32) []float64 {
	z := make([]float64, s.K*s.Q)
	for a := range z {
		for p := range s.P {
			z[a] += float64(w1.Data()[a*s.P+p]) * float64(x[a/s.Q*s.P+p])
		}
	}
	y := make([]float64, s.Out())
	for l := range s.L {
		for i := range s.S {
			for r := range s.R {
				y[i*s.L+l] += float64(w2.Data()[(l*s.S+i)*s.R+r]) * z[r*s.L+l]
			}
		}
	}
	return y
}

// relError returns max|got-want| / max|want|.
func relError[T float32 | float64](got []float32, want []T) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, scale := 0.0, 1e-30
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst, scale = max(worst, d), max(scale, math.Abs(float64(w)))
	}
	return worst / scale
}

func wantClose[T float32 | float64](t *testing.T, what string, got []float32, want []T, tol float64) {
	t.Helper()
	if e := relError(got, want); !(e <= tol) {
		t.Errorf("%s: off by %.3g, want at most %.3g", what, e, tol)
	}
}

// apply multiplies every row of src by m, with gaps between the rows of the result, and
// looks whether anything is written there.
func apply(t *testing.T, m *monarch.Matrix, src tensor.Mat, out int) tensor.Mat {
	t.Helper()
	const gap = 3
	dst := tensor.Mat{Data: make([]float32, src.Rows*(out+gap)), Rows: src.Rows, Cols: out, Stride: out + gap}
	for i := range dst.Data {
		dst.Data[i] = 1e30
	}
	m.Apply(dst, src)
	result := tensor.MatOf(make([]float32, src.Rows*out), src.Rows, out)
	for i := range src.Rows {
		copy(result.Row(i), dst.Row(i))
		for _, v := range dst.Data[i*dst.Stride+out : (i+1)*dst.Stride] {
			if v != 1e30 {
				t.Fatalf("wrote beside row %d", i)
			}
		}
	}
	return result
}

func transposed(m tensor.Mat) tensor.Mat {
	r := tensor.MatOf(make([]float32, m.Rows*m.Cols), m.Cols, m.Rows)
	for i := range m.Rows {
		for j, v := range m.Row(i) {
			r.Row(j)[i] = v
		}
	}
	return r
}

func TestMatrixAgainstDefinition(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range shapes {
			r := newRand(1)
			w1, w2 := randomFactors(r, s)
			m, err := monarch.New(w1, w2)
			if err != nil {
				t.Fatal(err)
			}
			for _, count := range []int{1, 2, 9, 32, 33, 70} {
				src := randomMat(r, count, s.In())
				got := apply(t, m, src, s.Out())
				for i := range count {
					wantClose(t, fmt.Sprintf("%+v, vector %d of %d", s, i, count), got.Row(i), naive(s, w1, w2, src.Row(i)), 2e-6)
				}
				columns := tensor.MatOf(make([]float32, s.Out()*count), s.Out(), count)
				m.ApplyColumns(columns, transposed(src))
				if !slices.Equal(columns.Data, transposed(got).Data) {
					t.Errorf("%+v: %d columns and rows give different bits", s, count)
				}
			}
		}
	})
}

// pattern is a tensor of small numbers that are exact in binary.
func pattern(seed int, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data() {
		t.Data()[i] = float32((7*i+5*seed+3)%13-6) / 8
	}
	return t
}

// Products small enough to compute by hand.
func TestKnownProducts(t *testing.T) {
	for _, c := range []struct {
		w1, w2 *tensor.Tensor
		x, y   []float32
	}{
		{pattern(1, 2, 2, 2), pattern(2, 2, 2, 2), []float32{1, 2, 3, 4}, []float32{0.625, 0.703125, 0.59375, 0.828125}},
		{
			pattern(1, 2, 4, 3), pattern(2, 4, 2, 2), []float32{1, -1, 2, 0.5, -2, 3},
			[]float32{-1.4140625, 1.6015625, -1.65625, 1.40625, -1.515625, 1.734375, -1.59375, 1.296875},
		},
	} {
		m, err := monarch.New(c.w1, c.w2)
		if err != nil {
			t.Fatal(err)
		}
		y := make([]float32, len(c.y))
		m.Apply(tensor.MatOf(y, 1, len(y)), tensor.MatOf(c.x, 1, len(c.x)))
		if !slices.Equal(y, c.y) {
			t.Errorf("%v, want %v", y, c.y)
		}
	}
}

// The bits of a product do not depend on the number of vectors or of cores.
func TestMatrixDeterminism(t *testing.T) {
	for _, s := range shapes {
		r := newRand(2)
		m := randomMatrix(t, r, s)
		src := randomMat(r, 70, s.In())
		want := apply(t, m, src, s.Out())
		for _, procs := range []int{1, 2, 7} {
			old := runtime.GOMAXPROCS(procs)
			if got := apply(t, m, src, s.Out()); !slices.Equal(got.Data, want.Data) {
				t.Errorf("%+v: other bits on %d cores", s, procs)
			}
			if got := apply(t, m, src.SliceRows(40, 41), s.Out()); !slices.Equal(got.Data, want.Row(40)) {
				t.Errorf("%+v: other bits for a vector alone, on %d cores", s, procs)
			}
			runtime.GOMAXPROCS(old)
		}
	}
}

func TestMatrixInPlace(t *testing.T) {
	s := monarch.SquareShape(36)
	r := newRand(3)
	m := randomMatrix(t, r, s)
	for _, count := range []int{1, 40} {
		x := randomMat(r, count, 36)
		want := apply(t, m, x, 36)
		m.Apply(x, x)
		if !slices.Equal(x.Data, want.Data) {
			t.Errorf("%d vectors in place: other bits", count)
		}
	}
}

func TestMatrixAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRand(3)
	m := randomMatrix(t, r, monarch.SquareShape(256))
	for _, count := range []int{1, 100} {
		dst, src := randomMat(r, count, 256), randomMat(r, count, 256)
		m.Apply(dst, src)
		if a := testing.AllocsPerRun(50, func() { m.Apply(dst, src) }); a != 0 {
			t.Errorf("%d vectors: %v allocations", count, a)
		}
	}
}

// dense returns the elements of a matrix by the definition.
func dense(s monarch.Shape, w1, w2 *tensor.Tensor) []float64 {
	d := make([]float64, s.Out()*s.In())
	x := make([]float32, s.In())
	for j := range x {
		clear(x)
		x[j] = 1
		for i, v := range naive(s, w1, w2, x) {
			d[i*s.In()+j] = v
		}
	}
	return d
}

func TestDenseAndTranspose(t *testing.T) {
	for _, s := range shapes {
		r := newRand(4)
		w1, w2 := randomFactors(r, s)
		m, err := monarch.New(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		want := dense(s, w1, w2)
		wantClose(t, fmt.Sprintf("%+v: dense", s), m.Dense().Data(), want, 2e-6)
		d := m.Transpose().Dense()
		if !slices.Equal(d.Shape(), []int{s.In(), s.Out()}) {
			t.Fatalf("%+v: the transpose has shape %v", s, d.Shape())
		}
		back := transposed(tensor.MatOf(d.Data(), s.In(), s.Out()))
		wantClose(t, fmt.Sprintf("%+v: transpose", s), back.Data, want, 2e-6)
		if !slices.Equal(m.Transpose().Transpose().Dense().Data(), m.Dense().Data()) {
			t.Errorf("%+v: the transpose of the transpose is another matrix", s)
		}
	}
}

// A matrix that was made of tensors sees when they change.
func TestMatrixSharesFactors(t *testing.T) {
	s := monarch.SquareShape(16)
	w1, w2 := randomFactors(newRand(5), s)
	m, err := monarch.New(w1, w2)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Dense()
	for i := range w1.Data() {
		w1.Data()[i] *= 2
	}
	for i, v := range m.Dense().Data() {
		if v != 2*before.Data()[i] {
			t.Fatal("doubling a factor does not double the matrix")
		}
	}
}

func TestInverse(t *testing.T) {
	for _, n := range []int{1, 4, 12, 36, 49, 1024} {
		r := newRand(uint64(n))
		s := monarch.SquareShape(n)
		w1, w2 := randomFactors(r, s)
		for _, w := range []*tensor.Tensor{w1, w2} { // well conditioned blocks
			b := w.Dim(1)
			for i := range w.Len() {
				if i/b%b == i%b {
					w.Data()[i] += 3
				}
			}
		}
		m, err := monarch.New(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		inverse, err := m.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		x := randomMat(r, 3, n)
		wantClose(t, fmt.Sprint("M⁻¹Mx, n = ", n), apply(t, inverse, apply(t, m, x, n), n).Data, x.Data, 1e-5)
		wantClose(t, fmt.Sprint("MM⁻¹x, n = ", n), apply(t, m, apply(t, inverse, x, n), n).Data, x.Data, 1e-5)
	}
}

func TestInverseErrors(t *testing.T) {
	singular, err := monarch.New(tensor.New(2, 2, 2), tensor.New(2, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := singular.Inverse(); !errors.Is(err, monarch.ErrSingular) {
		t.Errorf("a matrix of zeros: %v, want ErrSingular", err)
	}
	if _, err := randomMatrix(t, newRand(1), shapes[2]).Inverse(); err == nil {
		t.Error("blocks that are not square: no error")
	}
}

// The inner product ⟨Mx, y⟩ is ⟨x, M*y⟩, for complex matrices too.
func TestAdjoint(t *testing.T) {
	for _, s := range shapes {
		r := newRand(6)
		w1 := randomize(r, tensor.New(s.K, s.Q, s.P, 2), 1)
		w2 := randomize(r, tensor.New(s.L, s.S, s.R, 2), 1)
		m, err := monarch.NewComplex(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		x, y := randomMat(r, 1, 2*s.In()), randomMat(r, 1, 2*s.Out())
		mx := complexes(apply(t, m, x, 2*s.Out()).Data)
		my := complexes(apply(t, m.Adjoint(), y, 2*s.In()).Data)
		a, b := inner(mx, complexes(y.Data)), inner(complexes(x.Data), my)
		scale := math.Sqrt(real(inner(mx, mx)) * real(inner(complexes(y.Data), complexes(y.Data))))
		if e := a - b; math.Hypot(real(e), imag(e)) > 1e-5*scale {
			t.Errorf("%+v: ⟨Mx, y⟩ = %v, ⟨x, M*y⟩ = %v", s, a, b)
		}
	}
}

func complexes(v []float32) []complex128 {
	z := make([]complex128, len(v)/2)
	for i := range z {
		z[i] = complex(float64(v[2*i]), float64(v[2*i+1]))
	}
	return z
}

func inner(a, b []complex128) (sum complex128) {
	for i := range a {
		sum += a[i] * complex(real(b[i]), -imag(b[i]))
	}
	return sum
}

func TestComplexAgainstDefinition(t *testing.T) {
	for _, s := range shapes {
		r := newRand(7)
		w1 := randomize(r, tensor.New(s.K, s.Q, s.P, 2), 1)
		w2 := randomize(r, tensor.New(s.L, s.S, s.R, 2), 1)
		m, err := monarch.NewComplex(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		if m.In() != s.In() || m.Out() != s.Out() || !m.Complex() {
			t.Fatalf("%+v: a matrix of %d×%d", s, m.Out(), m.In())
		}
		src := randomMat(r, 2, 2*s.In())
		got := apply(t, m, src, 2*s.Out())
		a, b := complexes(w1.Data()), complexes(w2.Data())
		for i := range src.Rows {
			x := complexes(src.Row(i))
			z := make([]complex128, s.K*s.Q)
			for j := range z {
				for p := range s.P {
					z[j] += a[j*s.P+p] * x[j/s.Q*s.P+p]
				}
			}
			y := make([]float64, 2*s.Out())
			for l := range s.L {
				for o := range s.S {
					var sum complex128
					for n := range s.R {
						sum += b[(l*s.S+o)*s.R+n] * z[n*s.L+l]
					}
					y[2*(o*s.L+l)], y[2*(o*s.L+l)+1] = real(sum), imag(sum)
				}
			}
			wantClose(t, fmt.Sprintf("%+v, vector %d", s, i), got.Row(i), y, 3e-6)
		}
	}
}

func TestProduct(t *testing.T) {
	r := newRand(8)
	a := randomMatrix(t, r, monarch.Shape{K: 4, Q: 3, P: 2, L: 6, S: 5, R: 2})
	b := randomMatrix(t, r, monarch.Shape{K: 2, Q: 2, P: 3, L: 2, S: 4, R: 2})
	ab, err := monarch.Product(a, b)
	if err != nil {
		t.Fatal(err)
	}
	x := randomMat(r, 5, b.In())
	wantClose(t, "(AB)x", apply(t, ab, x, a.Out()).Data, apply(t, a, apply(t, b, x, b.Out()), a.Out()).Data, 1e-6)
	if _, err := monarch.Product(b, a); err == nil {
		t.Error("matrices that do not fit: no error")
	}
}

func TestNewErrors(t *testing.T) {
	packed := tensor.New(2, 2, 2)
	packed.Pack()
	half := tensor.New(2, 2, 2)
	half.Convert(tensor.BFloat16)
	for what, f := range map[string]func() (*monarch.Matrix, error){
		"K·Q ≠ L·R":      func() (*monarch.Matrix, error) { return monarch.New(tensor.New(2, 3, 2), tensor.New(2, 2, 2)) },
		"two dimensions": func() (*monarch.Matrix, error) { return monarch.New(tensor.New(4, 2), tensor.New(2, 2, 2)) },
		"no elements":    func() (*monarch.Matrix, error) { return monarch.New(tensor.New(2, 2, 0), tensor.New(2, 2, 2)) },
		"packed":         func() (*monarch.Matrix, error) { return monarch.New(packed, tensor.New(2, 2, 2)) },
		"bfloat16":       func() (*monarch.Matrix, error) { return monarch.New(tensor.New(2, 2, 2), half) },
		"not pairs": func() (*monarch.Matrix, error) {
			return monarch.NewComplex(tensor.New(2, 2, 2, 3), tensor.New(2, 2, 2, 2))
		},
		"no factors":                func() (*monarch.Matrix, error) { return monarch.NewOrder() },
		"a wrong factor":            func() (*monarch.Matrix, error) { return monarch.NewOrder(tensor.New(3, 2, 2), tensor.New(2, 2, 3)) },
		"a factor of one dimension": func() (*monarch.Matrix, error) { return monarch.NewOrder(tensor.New(3)) },
		"a dense vector":            func() (*monarch.Matrix, error) { return monarch.NewDense(tensor.New(3)) },
		"a DFT of zero":             func() (*monarch.Matrix, error) { return monarch.DFT(4, 0) },
		"a DFT of naught":           func() (*monarch.Matrix, error) { return monarch.DFT() },
		"a huge DFT":                func() (*monarch.Matrix, error) { return monarch.DFT(1<<20, 1<<20) },
	} {
		if m, err := f(); err == nil || m != nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestMatrixShapePanics(t *testing.T) {
	m := randomMatrix(t, newRand(1), monarch.SquareShape(16))
	mat := func(rows, cols int) tensor.Mat { return tensor.MatOf(make([]float32, rows*cols), rows, cols) }
	for what, f := range map[string]func(){
		"narrow input":     func() { m.Apply(mat(3, 16), mat(3, 15)) },
		"wide output":      func() { m.Apply(mat(3, 17), mat(3, 16)) },
		"other rows":       func() { m.Apply(mat(2, 16), mat(3, 16)) },
		"short memory":     func() { m.Apply(mat(3, 16), tensor.Mat{Data: make([]float32, 47), Rows: 3, Cols: 16, Stride: 16}) },
		"low columns":      func() { m.ApplyColumns(mat(16, 3), mat(15, 3)) },
		"overlapping rows": func() { m.Apply(tensor.Mat{Data: make([]float32, 48), Rows: 3, Cols: 16, Stride: 8}, mat(3, 16)) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(*tensor.ShapeError); !ok {
					t.Errorf("%s: no ShapeError", what)
				}
			}()
			f()
		}()
	}
}

func TestOrder(t *testing.T) {
	for _, dims := range [][2][]int{
		{{5}, {5}}, {{3, 4}, {3, 4}}, {{2, 3, 4}, {2, 3, 4}}, {{2, 2, 2, 2, 2}, {2, 2, 2, 2, 2}}, {{3, 1, 5, 2}, {3, 1, 5, 2}},
		{{5}, {3}}, {{3, 4}, {5, 2}}, {{2, 3, 4}, {4, 3, 1}}, {{16, 2, 3}, {8, 5, 40}},
	} {
		in, out := dims[0], dims[1]
		r := newRand(9)
		var factors []*tensor.Tensor
		for i := range in {
			shape := slices.Concat(in[:i], out[i+1:], []int{out[i], in[i]})
			factors = append(factors, randomize(r, tensor.New(shape...), 1))
		}
		m, err := monarch.NewOrder(factors...)
		if err != nil {
			t.Fatal(err)
		}
		x := randomMat(r, 1, m.In())
		want := make([]float64, m.In())
		for i, v := range x.Data {
			want[i] = float64(v)
		}
		now := slices.Clone(in)
		for i := len(in) - 1; i >= 0; i-- {
			want = replaceDigit(want, now, i, out[i], factors[i])
			now[i] = out[i]
		}
		if m.Out() != len(want) {
			t.Fatalf("%v: %d outputs, want %d", dims, m.Out(), len(want))
		}
		wantClose(t, fmt.Sprint(dims), apply(t, m, x, m.Out()).Data, want, 2e-6)
	}
}

// replaceDigit computes one stage from the definition, digit by digit: the i-th gets values
// values.
func replaceDigit(x []float64, dims []int, i, values int, w *tensor.Tensor) []float64 {
	y := make([]float64, len(x)/dims[i]*values)
	after := slices.Clone(dims)
	after[i] = values
	digits := make([]int, len(dims))
	for at := range y {
		rest := at
		for j := len(dims) - 1; j >= 0; j-- {
			digits[j], rest = rest%after[j], rest/after[j]
		}
		block := 0
		for j, d := range digits {
			if j != i {
				block = block*dims[j] + d
			}
		}
		e := digits[i]
		for d := range dims[i] {
			digits[i] = d
			from := 0
			for j, v := range digits {
				from = from*dims[j] + v
			}
			y[at] += float64(w.Data()[(block*values+e)*dims[i]+d]) * x[from]
		}
	}
	return y
}
