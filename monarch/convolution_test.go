package monarch_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// randomBasis returns a basis that is well conditioned, with numbers also where they are
// not used.
func randomBasis(r *rand.Rand, b int) monarch.Basis {
	p := monarch.NewBasis(b)
	for _, w := range []*tensor.Tensor{p.Lambda, p.Rho} {
		for i := range w.Len() {
			w.Data()[i] += float32(0.3 / float64(b) * r.NormFloat64())
		}
	}
	return p
}

// product returns the coefficients of f by multiplying polynomials: those of k and u in their
// bases, as powers, and then solving for the basis of the output from the lowest power on.
func product(output, kernel, input monarch.Basis, k, u []float32) []float64 {
	b := output.Lambda.Dim(0)
	n := b * b / 2
	powers := func(p monarch.Basis, j int) []float64 {
		c := make([]float64, b*b)
		j1, j0 := j%b, j/b
		for d := j1; d < b; d++ {
			for e := j0; e < b && (e < b/2 || j0 >= b/2); e++ {
				c[d+b*e] += float64(p.Lambda.Data()[j1*b+d]) * float64(p.Rho.Data()[(j1*b+j0)*b+e])
			}
		}
		return c
	}
	sum := func(p monarch.Basis, v []float32) []float64 {
		c := make([]float64, b*b)
		for j, x := range v {
			for i, y := range powers(p, j) {
				c[i] += float64(x) * y
			}
		}
		return c
	}
	a, h := sum(kernel, k), sum(input, u)
	g := make([]float64, b*b)
	for i, x := range a {
		for j, y := range h {
			if x*y != 0 {
				g[i+j] += x * y
			}
		}
	}
	f := make([]float64, n)
	for i := range f {
		q := powers(output, i)
		f[i] = g[i] / q[i]
		for j, y := range q {
			g[j] -= f[i] * y
		}
	}
	return f
}

func TestPolynomialConvolution(t *testing.T) {
	for _, b := range []int{2, 4, 6, 10} {
		r := newRand(uint64(b))
		bases := [3]monarch.Basis{randomBasis(r, b), randomBasis(r, b), randomBasis(r, b)}
		c, err := monarch.NewPolynomialConvolution(bases[0], bases[1], bases[2])
		if err != nil {
			t.Fatal(err)
		}
		n := c.Len()
		if n != b*b/2 {
			t.Fatalf("length %d of a basis of %d²", n, b)
		}
		k, u := randomMat(r, n, 3), randomMat(r, n, 3)
		f := tensor.MatOf(make([]float32, n*3), n, 3)
		c.Apply(f, u, k)
		for j := range 3 {
			want := product(bases[0], bases[1], bases[2], transposed(k).Row(j), transposed(u).Row(j))
			wantClose(t, fmt.Sprint("b = ", b, ", column ", j), transposed(f).Row(j), want, 2e-6)
		}
	}
}

// lowerTriangular fails the test unless the elements above the diagonal are zero but for
// rounding, and all others are not.
func lowerTriangular(t *testing.T, what string, d *tensor.Tensor, upper float64) {
	t.Helper()
	n := d.Dim(0)
	scale := 0.0
	for _, v := range d.Data() {
		scale = max(scale, math.Abs(float64(v)))
	}
	for i := range n {
		for j := range n {
			v := math.Abs(float64(d.Data()[i*n+j]))
			if j > i && v > upper*scale {
				t.Fatalf("%s: element (%d, %d) is %g, the largest %g", what, i, j, v, scale)
			}
			if j <= i && v == 0 {
				t.Fatalf("%s: element (%d, %d) is zero", what, i, j)
			}
		}
	}
}

// toeplitz returns how far the diagonals are from constant, relative to the largest element.
func toeplitz(d *tensor.Tensor) float64 {
	n := d.Dim(0)
	worst, scale := 0.0, 0.0
	for i := range n {
		for j := range i + 1 {
			v := float64(d.Data()[i*n+j])
			scale = max(scale, math.Abs(v))
			worst = max(worst, math.Abs(v-float64(d.Data()[(i-j)*n])))
		}
	}
	return worst / scale
}

func TestConvolutionsAreCausal(t *testing.T) {
	for _, b := range []int{2, 4, 6, 10} {
		r := newRand(uint64(b))
		c, err := monarch.NewPolynomialConvolution(randomBasis(r, b), randomBasis(r, b), randomBasis(r, b))
		if err != nil {
			t.Fatal(err)
		}
		d := c.Dense(randomMat(r, 1, c.Len()).Data)
		lowerTriangular(t, fmt.Sprint("polynomials, b = ", b), d, 1e-6)
		if e := toeplitz(d); e < 1e-3 {
			t.Errorf("polynomials, b = %d: the matrix is one of Toeplitz up to %g", b, e)
		}
	}
	for _, n := range []int{1, 2, 5, 8, 24} {
		r := newRand(uint64(n))
		k := randomMat(r, 1, n).Data
		chebyshev, err := monarch.NewChebyshevConvolution(n)
		if err != nil {
			t.Fatal(err)
		}
		lowerTriangular(t, fmt.Sprint("Chebyshev, n = ", n), chebyshev.Dense(k), 1e-6)
		fourier, err := monarch.NewFourierConvolution(n)
		if err != nil {
			t.Fatal(err)
		}
		d := fourier.Dense(k)
		lowerTriangular(t, fmt.Sprint("Fourier, n = ", n), d, 1e-6)
		if e := toeplitz(d); e > 1e-6 {
			t.Errorf("Fourier, n = %d: off from a matrix of Toeplitz by %g", n, e)
		}
	}
}

// The convolution by Fourier transforms is the long convolution.
func TestFourierConvolution(t *testing.T) {
	for _, n := range []int{1, 3, 16, 31, 100} {
		c, err := monarch.NewFourierConvolution(n)
		if err != nil {
			t.Fatal(err)
		}
		r := newRand(uint64(n))
		k, u := randomMat(r, n, 40), randomMat(r, n, 40)
		got, want := tensor.MatOf(make([]float32, n*40), n, 40), tensor.NewSeq(1, n, 40)
		nn.NewLongConv(k).Mix(want, tensor.SeqOf(u.Data, 1, n, 40))
		c.Apply(got, u, k)
		wantClose(t, fmt.Sprint("n = ", n), got.Data, want.Data, 3e-6)
	}
}

// The product of Chebyshev polynomials: 2·T_a·T_b = T_{a+b} + T_{|a-b|}.
func TestChebyshevConvolution(t *testing.T) {
	const n = 6
	c, err := monarch.NewChebyshevConvolution(n)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(1)
	k, u := randomMat(r, n, 1), randomMat(r, n, 1)
	g := make([]float64, 2*n-1)
	for a := range n {
		for b := range n {
			v := float64(k.Data[n-1-a]) * float64(u.Data[n-1-b]) / 2
			g[a+b] += v
			g[max(a-b, b-a)] += v
		}
	}
	want := make([]float64, n)
	for i := range want {
		want[i] = g[2*n-2-i]
	}
	c.Apply(u, u, k)
	wantClose(t, "Chebyshev", u.Data, want, 2e-6)
}

// multivariate computes the convolution in several variables by multiplying polynomials,
// and solving for the basis of the output from the lowest powers on.
func multivariate(h []int, output, kernel, input []*tensor.Tensor, k, u []float32) []float64 {
	n := len(k)
	digits := func(i int) []int {
		d := make([]int, len(h))
		for a := len(h) - 1; a >= 0; a-- {
			d[a], i = i%h[a], i/h[a]
		}
		return d
	}
	// coefficient returns that of power d in polynomial j.
	coefficient := func(basis []*tensor.Tensor, j, d int) float64 {
		c := 1.0
		x, y := digits(j), digits(d)
		for a := range h {
			switch {
			case y[a] < x[a]:
				return 0
			case basis != nil:
				c *= float64(basis[a].Data()[x[a]*h[a]+y[a]])
			case y[a] != x[a]:
				return 0
			}
		}
		return c
	}
	powers := func(basis []*tensor.Tensor, v []float32) []float64 {
		p := make([]float64, n)
		for j, x := range v {
			for d := range p {
				p[d] += float64(x) * coefficient(basis, j, d)
			}
		}
		return p
	}
	a, b, g := powers(kernel, k), powers(input, u), make([]float64, n)
	for i, x := range a {
		for j, y := range b {
			di, dj := digits(i), digits(j)
			if fits(di, dj, h) {
				g[i+j] += x * y // no digit carries
			}
		}
	}
	f := make([]float64, n)
	for i := range f {
		f[i] = g[i] / coefficient(output, i, i)
		for d := range g {
			g[d] -= f[i] * coefficient(output, i, d)
		}
	}
	return f
}

func fits(a, b, h []int) bool {
	for i := range h {
		if a[i]+b[i] >= h[i] {
			return false
		}
	}
	return true
}

func TestMultivariateConvolution(t *testing.T) {
	for _, h := range [][]int{{1}, {6}, {3, 4}, {2, 3, 4}, {2, 2, 2, 2}} {
		r := newRand(uint64(len(h)))
		basis := func() []*tensor.Tensor {
			var list []*tensor.Tensor
			for _, d := range h {
				w := randomize(r, tensor.New(d, d), 0.3)
				for i := range d {
					w.Data()[i*d+i] = float32(1 + 0.3*r.Float64())
				}
				list = append(list, w)
			}
			return list
		}
		for _, bases := range [][3][]*tensor.Tensor{{}, {basis(), basis(), basis()}} {
			c, err := monarch.NewMultivariateConvolution(h, bases[0], bases[1], bases[2])
			if err != nil {
				t.Fatal(err)
			}
			n := c.Len()
			k, u := randomMat(r, n, 1), randomMat(r, n, 1)
			f := tensor.MatOf(make([]float32, n), n, 1)
			c.Apply(f, u, k)
			wantClose(t, fmt.Sprint(h), f.Data, multivariate(h, bases[0], bases[1], bases[2], k.Data, u.Data), 3e-6)
			d := c.Dense(k.Data).Data()
			for i := range n {
				for j := i + 1; j < n; j++ {
					if math.Abs(float64(d[i*n+j])) > 1e-5 {
						t.Fatalf("%v: element (%d, %d) is %g", h, i, j, d[i*n+j])
					}
				}
			}
		}
	}
	for what, f := range map[string]func() error{
		"no digits": func() error { _, err := monarch.NewMultivariateConvolution(nil, nil, nil, nil); return err },
		"zero":      func() error { _, err := monarch.NewMultivariateConvolution([]int{2, 0}, nil, nil, nil); return err },
		"too long": func() error {
			_, err := monarch.NewMultivariateConvolution([]int{1000, 1000, 1000}, nil, nil, nil)
			return err
		},
		"a missing digit": func() error {
			_, err := monarch.NewMultivariateConvolution([]int{2, 2}, []*tensor.Tensor{tensor.New(2, 2)}, nil, nil)
			return err
		},
		"singular": func() error {
			_, err := monarch.NewMultivariateConvolution([]int{2}, []*tensor.Tensor{tensor.New(2, 2)}, nil, nil)
			if err != nil && !errors.Is(err, monarch.ErrSingular) {
				t.Errorf("singular: %v, want ErrSingular", err)
			}
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestBasisErrors(t *testing.T) {
	good, singular := monarch.NewBasis(4), monarch.NewBasis(4)
	clear(singular.Lambda.Data())
	if _, err := monarch.NewPolynomialConvolution(singular, good, good); !errors.Is(err, monarch.ErrSingular) {
		t.Errorf("a basis of zeros: %v, want ErrSingular", err)
	}
	for what, bad := range map[string]monarch.Basis{
		"nothing": {}, "odd": monarch.NewBasis(3), "another size": monarch.NewBasis(6),
		"not square": {Lambda: tensor.New(4, 5), Rho: tensor.New(4, 4, 4)}, "two dimensions": {Lambda: tensor.New(4, 4), Rho: tensor.New(4, 16)},
	} {
		if _, err := monarch.NewPolynomialConvolution(good, bad, good); err == nil {
			t.Errorf("%s: no error", what)
		}
		if _, _, err := bad.Factors(); err == nil && what != "another size" {
			t.Errorf("%s: no error from Factors", what)
		}
	}
	for _, n := range []int{-1, 0} {
		if _, err := monarch.NewFourierConvolution(n); err == nil {
			t.Errorf("Fourier, n = %d: no error", n)
		}
		if _, err := monarch.NewChebyshevConvolution(n); err == nil {
			t.Errorf("Chebyshev, n = %d: no error", n)
		}
	}
}

func newPolynomialMixer(t testing.TB, cfg monarch.PolynomialConfig) *monarch.PolynomialMixer {
	t.Helper()
	m, err := monarch.NewPolynomialMixer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(3))
	return m
}

func TestPolynomialMixer(t *testing.T) {
	for _, cfg := range []monarch.PolynomialConfig{{Dim: 1, LMax: 1}, {Dim: 5, LMax: 13}, {Dim: 40, LMax: 50}, {Dim: 3, LMax: 150}} {
		m := newPolynomialMixer(t, cfg)
		bases := map[string]*tensor.Tensor{}
		for name, p := range m.Params() {
			bases[name] = p
		}
		basis := func(name string) monarch.Basis {
			return monarch.Basis{Lambda: bases[name+".lambda"], Rho: bases[name+".rho"]}
		}
		src := randomSeq(2, 2, cfg.LMax, cfg.Dim)
		dst := tensor.NewSeq(2, cfg.LMax, cfg.Dim)
		m.Mix(dst, src)
		n := basis("input").Lambda.Dim(0)
		n = n * n / 2
		for _, ch := range []int{0, cfg.Dim - 1} {
			k, u, got := make([]float32, n), make([]float32, n), make([]float32, cfg.LMax)
			for i := range cfg.LMax {
				k[i], u[i], got[i] = bases["kernel"].Data()[i*cfg.Dim+ch], src.At(1, i)[ch], dst.At(1, i)[ch]
			}
			want := product(basis("output"), basis("kernel"), basis("input"), k, u)
			wantClose(t, fmt.Sprintf("%+v, channel %d", cfg, ch), got, want[:cfg.LMax], 3e-6)
		}
		// A part of a sequence has the outputs of the whole.
		part := tensor.NewSeq(2, cfg.LMax/2, cfg.Dim)
		m.Mix(part, src.Slice(0, cfg.LMax/2))
		for b := range 2 {
			wantClose(t, fmt.Sprintf("%+v, half", cfg), part.Sequence(b).Data, dst.Slice(0, cfg.LMax/2).Sequence(b).Data, 3e-6)
		}
	}
}

func TestPolynomialMixerGradient(t *testing.T) {
	for _, o := range short.First([]mixtest.Options{{Len: 6}, {Batch: 1, Len: 1}, {Batch: 3, Len: 8}}) {
		m := newPolynomialMixer(t, monarch.PolynomialConfig{Dim: 3, LMax: 8})
		if err := mixtest.TestTrainer(m, o); err != nil {
			t.Errorf("%d positions: %v", o.Len, err)
		}
	}
}

// TestConvolutionGradient compares the gradients of convolutions with what changing each
// number by one half both ways does: the result is linear in each.
func TestConvolutionGradient(t *testing.T) {
	fourier, err := monarch.NewFourierConvolution(12)
	if err != nil {
		t.Fatal(err)
	}
	chebyshev, err := monarch.NewChebyshevConvolution(9)
	if err != nil {
		t.Fatal(err)
	}
	multivariate, err := monarch.NewMultivariateConvolution([]int{3, 4}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*monarch.Convolution{"Fourier": fourier, "Chebyshev": chebyshev, "multivariate": multivariate} {
		r := newRand(6)
		u, k, ddst := randomMat(r, c.Len(), 3), randomMat(r, c.Len(), 3), randomMat(r, c.Len(), 3)
		du, dk := randomMat(r, c.Len(), 3), randomMat(r, c.Len(), 3)
		c.Backward(du, dk, ddst, u, k, nil)
		loss := func() (sum float64) {
			y := tensor.MatOf(make([]float32, len(u.Data)), u.Rows, u.Cols)
			c.Apply(y, u, k)
			for i, v := range y.Data {
				sum += float64(v) * float64(ddst.Data[i])
			}
			return sum
		}
		slopes := func(v []float32) (s []float64) {
			for i, old := range v {
				v[i] = old + 0.5
				up := loss()
				v[i] = old - 0.5
				s = append(s, up-loss())
				v[i] = old
			}
			return s
		}
		wantClose(t, name+": gradient of the input", du.Data, slopes(u.Data), 1e-5)
		wantClose(t, name+": gradient of the filter", dk.Data, slopes(k.Data), 1e-5)
	}
}

func TestPolynomialMixerContract(t *testing.T) {
	for _, cfg := range []monarch.PolynomialConfig{{Dim: 5, LMax: 20}, {Dim: 40, LMax: 64}} {
		m := newPolynomialMixer(t, cfg)
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 3, Len: cfg.LMax}}) {
			if err := mixtest.TestMixer(m, o); err != nil {
				t.Errorf("%+v, %d positions: %v", cfg, o.Len, err)
			}
		}
		if _, err := m.NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("NewStream: %v, want errors.ErrUnsupported", err)
		}
	}
	for _, cfg := range []monarch.PolynomialConfig{{}, {Dim: 1}, {LMax: 1}, {Dim: 1, LMax: 1 << 40}} {
		if _, err := monarch.NewPolynomialMixer(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
