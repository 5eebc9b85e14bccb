package monarch_test

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// factorized makes a matrix of factors.
type factorized struct {
	name    string
	make    func() (*monarch.Matrix, error)
	factors []*tensor.Tensor
}

func factorizedMatrices() []factorized {
	r := newRand(4)
	var list []factorized
	for _, s := range []monarch.Shape{
		monarch.SquareShape(12), monarch.SquareShape(64), {K: 3, Q: 4, P: 2, L: 6, S: 5, R: 2}, {K: 2, Q: 6, P: 5, L: 4, S: 3, R: 3}, {K: 1, Q: 1, P: 1, L: 1, S: 1, R: 1},
	} {
		w1, w2 := randomFactors(r, s)
		list = append(list,
			factorized{"plain", func() (*monarch.Matrix, error) { return monarch.New(w1, w2) }, []*tensor.Tensor{w1, w2}},
			factorized{"swapped", func() (*monarch.Matrix, error) { return monarch.NewSwapped(w1, w2) }, []*tensor.Tensor{w1, w2}})
		c1, c2 := randomize(r, tensor.New(s.K, s.Q, s.P, 2), 1), randomize(r, tensor.New(s.L, s.S, s.R, 2), 1)
		list = append(list, factorized{"complex", func() (*monarch.Matrix, error) { return monarch.NewComplex(c1, c2) }, []*tensor.Tensor{c1, c2}})
	}
	b0, b1, b2 := randomize(r, tensor.New(3, 4, 2, 2), 1), randomize(r, tensor.New(2, 4, 3, 5), 1), randomize(r, tensor.New(2, 5, 4, 3), 1)
	return append(list, factorized{"order three", func() (*monarch.Matrix, error) { return monarch.NewOrder(b0, b1, b2) }, []*tensor.Tensor{b0, b1, b2}})
}

// loss is Σ ddst·M·src, which is linear in every factor and in src.
func (f *factorized) loss(t *testing.T, ddst, src tensor.Mat) (sum float64) {
	m, err := f.make()
	if err != nil {
		t.Fatal(err)
	}
	y := tensor.MatOf(make([]float32, len(ddst.Data)), ddst.Rows, ddst.Cols)
	m.Apply(y, src)
	for i, v := range y.Data {
		sum += float64(v) * float64(ddst.Data[i])
	}
	return sum
}

// wantSlopes compares a gradient with what changing v by one changes the loss by.
func (f *factorized) wantSlopes(t *testing.T, what string, gradient, v []float32, ddst, src tensor.Mat) {
	t.Helper()
	var size float64
	for _, g := range gradient {
		size = max(size, math.Abs(float64(g)))
	}
	for i := 0; i < len(v); i += 1 + len(v)/40 {
		old := v[i]
		v[i] = old + 0.5
		up := f.loss(t, ddst, src)
		v[i] = old - 0.5
		down := f.loss(t, ddst, src)
		v[i] = old
		if d := math.Abs(up - down - float64(gradient[i])); !(d <= 1e-4*size) {
			t.Errorf("%s: gradient of %s: element %d is %v, want %v", f.name, what, i, gradient[i], up-down)
			return
		}
	}
}

func TestMatrixGradient(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, f := range factorizedMatrices() {
			m, err := f.make()
			if err != nil {
				t.Fatal(err)
			}
			w := 1
			if m.Complex() {
				w = 2
			}
			for _, rows := range []int{1, 37, 300} {
				src, ddst := randomMat(newRand(1), rows, w*m.In()), randomMat(newRand(2), rows, w*m.Out())
				dsrc, grads := randomMat(newRand(3), rows, w*m.In()), seqmix.Grads{}
				for _, p := range f.factors {
					grads[p] = tensor.New(p.Shape()...)
				}
				m.Backward(dsrc, ddst, src, grads)
				f.wantSlopes(t, "src", dsrc.Data, src.Data, ddst, src)
				for _, p := range f.factors {
					f.wantSlopes(t, "a factor", grads.Of(p), p.Data(), ddst, src)
				}
				wantColumnsGradient(t, m, dsrc, ddst, src, f.factors, grads)
			}
		}
	})
}

// wantColumnsGradient compares the gradients of the same vectors as columns.
func wantColumnsGradient(t *testing.T, m *monarch.Matrix, dsrc, ddst, src tensor.Mat, factors []*tensor.Tensor, want seqmix.Grads) {
	t.Helper()
	dx, grads := columnsOf(src), seqmix.Grads{}
	for _, p := range factors {
		grads[p] = tensor.New(p.Shape()...)
	}
	m.BackwardColumns(dx, columnsOf(ddst), dx, grads)
	if !slices.Equal(dx.Data, columnsOf(dsrc).Data) {
		t.Error("the gradient of src is another one for columns")
	}
	for _, p := range factors {
		if !slices.Equal(grads.Of(p), want.Of(p)) {
			t.Error("the gradient of a factor is another one for columns")
		}
	}
}

func columnsOf(m tensor.Mat) tensor.Mat {
	c := tensor.MatOf(make([]float32, m.Rows*m.Cols), m.Cols, m.Rows)
	for i := range m.Rows {
		for j, v := range m.Row(i) {
			c.Row(j)[i] = v
		}
	}
	return c
}

// TestMatrixGradientOfCopies says that the adjoint, which has copies of the factors, has no
// gradients of them.
func TestMatrixGradientOfCopies(t *testing.T) {
	s := monarch.SquareShape(12)
	w1, w2 := randomFactors(newRand(1), s)
	m, err := monarch.New(w1, w2)
	if err != nil {
		t.Fatal(err)
	}
	grads := seqmix.Grads{w1: tensor.New(w1.Shape()...), w2: tensor.New(w2.Shape()...)}
	src, ddst := randomMat(newRand(2), 5, 12), randomMat(newRand(3), 5, 12)
	got, want := randomMat(newRand(4), 5, 12), randomMat(newRand(5), 5, 12)
	m.Transpose().Backward(got, ddst, src, grads)
	m.Apply(want, ddst)
	wantClose(t, "gradient of the input of the transpose", got.Data, want.Data, 1e-6)
	for _, p := range []*tensor.Tensor{w1, w2} {
		if slices.ContainsFunc(grads.Of(p), func(v float32) bool { return v != 0 }) {
			t.Error("a factor that was copied got a gradient")
		}
	}
}
