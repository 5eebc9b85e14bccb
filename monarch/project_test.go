package monarch_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// A Monarch matrix is its own projection, whatever its shape.
func TestProjectRecovers(t *testing.T) {
	for _, s := range append(shapes, monarch.SquareShape(12), monarch.SquareShape(100)) {
		m := randomMatrix(t, newRand(1), s)
		want := m.Dense()
		w1, w2, distance, err := monarch.Project(want, s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := monarch.New(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		wantClose(t, fmt.Sprintf("%+v", s), got.Dense().Data(), want.Data(), 3e-6)
		if size := norm(want.Data()); distance > 1e-6*size {
			t.Errorf("%+v: distance %g of a matrix of size %g", s, distance, size)
		}
	}
}

func norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// The distance is that of the matrices, and what is left over is orthogonal to moves of
// either factor: the projection is a stationary point, and by Pythagoras
// ‖A - M‖² = ‖A‖² - ‖M‖².
func TestProjectIsNearest(t *testing.T) {
	for _, s := range shapes {
		r := newRand(2)
		a := randomize(r, tensor.New(s.Out(), s.In()), 1)
		w1, w2, distance, err := monarch.Project(a, s)
		if err != nil {
			t.Fatal(err)
		}
		m, err := monarch.New(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		d := m.Dense().Data()
		rest := make([]float32, len(d))
		for i, v := range a.Data() {
			rest[i] = v - d[i]
		}
		size := norm(a.Data())
		if e := math.Abs(norm(rest) - distance); e > 1e-6*size {
			t.Errorf("%+v: distance %g, but ‖A-M‖ = %g", s, distance, norm(rest))
		}
		if e := size*size - norm(d)*norm(d) - distance*distance; math.Abs(e) > 1e-5*size*size {
			t.Errorf("%+v: ‖A‖² - ‖M‖² - distance² = %g", s, e)
		}
		for _, w := range []*tensor.Tensor{w1, w2} {
			old := w.Float32s()
			for range 3 {
				nudged := append([]float32(nil), old...)
				for i := range nudged {
					nudged[i] += float32(0.01 * r.NormFloat64())
				}
				swap := tensor.FromFloat32s(nudged, w.Shape()...)
				x, y := w1, w2
				if w == w1 {
					x = swap
				} else {
					y = swap
				}
				if got := distanceTo(t, a, x, y); got < distance-1e-6*size {
					t.Errorf("%+v: there is a nearer matrix, at %g instead of %g", s, got, distance)
				}
			}
		}
	}
}

func distanceTo(t *testing.T, a, w1, w2 *tensor.Tensor) float64 {
	t.Helper()
	m, err := monarch.New(w1, w2)
	if err != nil {
		t.Fatal(err)
	}
	d := m.Dense().Data()
	for i, v := range a.Data() {
		d[i] = v - d[i]
	}
	return norm(d)
}

func TestProjectComplexRecovers(t *testing.T) {
	for _, s := range append(shapes, monarch.SquareShape(12)) {
		r := newRand(3)
		a, b := randomize(r, tensor.New(s.K, s.Q, s.P, 2), 1), randomize(r, tensor.New(s.L, s.S, s.R, 2), 1)
		m, err := monarch.NewComplex(a, b)
		if err != nil {
			t.Fatal(err)
		}
		want := m.Dense()
		w1, w2, distance, err := monarch.ProjectComplex(want, s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := monarch.NewComplex(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		wantClose(t, fmt.Sprintf("%+v", s), got.Dense().Data(), want.Data(), 3e-6)
		if size := norm(want.Data()); distance > 1e-6*size {
			t.Errorf("%+v: distance %g of a matrix of size %g", s, distance, size)
		}
	}
}

// A real matrix has the same projection as a complex one, and equal singular values, as
// those of orthogonal blocks, are told apart.
func TestProjectComplexOfReal(t *testing.T) {
	for _, s := range shapes {
		a := randomize(newRand(4), tensor.New(s.Out(), s.In()), 1)
		if s.K == 2 {
			clear(a.Data())
			for i := range min(s.Out(), s.In()) {
				a.Data()[i*s.In()+i] = 1
			}
		}
		z := tensor.New(s.Out(), s.In(), 2)
		for i, v := range a.Data() {
			z.Data()[2*i] = v
		}
		w1, w2, want, err := monarch.Project(a, s)
		if err != nil {
			t.Fatal(err)
		}
		c1, c2, got, err := monarch.ProjectComplex(z, s)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got-want) > 1e-6*norm(a.Data()) {
			t.Errorf("%+v: distance %g, of the real matrix %g", s, got, want)
		}
		m, err := monarch.NewComplex(c1, c2)
		if err != nil {
			t.Fatal(err)
		}
		d := m.Dense().Data()
		for i, v := range z.Data() {
			d[i] = v - d[i]
		}
		if e := math.Abs(norm(d) - got); e > 1e-6*norm(a.Data()) {
			t.Errorf("%+v: distance %g, but ‖A-M‖ = %g", s, got, norm(d))
		}
		if real, err := monarch.New(w1, w2); err != nil || s.K == 2 {
			continue // the nearest matrix is not unique
		} else {
			dense := m.Dense().Data()
			for i, v := range real.Dense().Data() {
				if math.Abs(float64(dense[2*i]-v)) > 1e-5 {
					t.Fatalf("%+v: element %d is %g, of the real matrix %g", s, i, dense[2*i], v)
				}
			}
		}
	}
}

// The Fourier transform with its columns permuted is a Monarch matrix, and without not.
func TestProjectDFT(t *testing.T) {
	for _, d := range [][2]int{{4, 4}, {3, 5}, {6, 4}} {
		i, j := d[0], d[1]
		n := i * j
		dft, err := monarch.DFT(i, j)
		if err != nil {
			t.Fatal(err)
		}
		dense := dft.Dense()
		permuted := tensor.New(n, n, 2)
		for row := range n {
			for col := range n {
				to := (row*n + col%j*i + col/j) * 2
				copy(permuted.Data()[to:to+2], dense.Data()[2*(row*n+col):])
			}
		}
		s := monarch.Shape{K: j, Q: i, P: i, L: i, S: j, R: j}
		_, _, near, err := monarch.ProjectComplex(permuted, s)
		if err != nil {
			t.Fatal(err)
		}
		_, _, far, err := monarch.ProjectComplex(dense, s)
		if err != nil {
			t.Fatal(err)
		}
		if near > 1e-5 || far < 1 {
			t.Errorf("%v: distances %g with the permutation and %g without", d, near, far)
		}
	}
}

func TestProjectErrors(t *testing.T) {
	s := monarch.SquareShape(4)
	nan := tensor.New(4, 4)
	nan.Data()[5] = float32(math.NaN())
	for what, f := range map[string]func() error{
		"another size": func() error { _, _, _, err := monarch.Project(tensor.New(4, 5), s); return err },
		"a vector":     func() error { _, _, _, err := monarch.Project(tensor.New(16), s); return err },
		"no shape":     func() error { _, _, _, err := monarch.Project(tensor.New(4, 4), monarch.Shape{}); return err },
		"real":         func() error { _, _, _, err := monarch.ProjectComplex(tensor.New(4, 4), s); return err },
		"NaN":          func() error { _, _, _, err := monarch.Project(nan, s); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
