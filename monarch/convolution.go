package monarch

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// A Convolution is a Monarch convolution (arXiv:2310.12109): with three matrices, the first
// n elements of
//
//	f = M0⁻¹ (M1·k ⊙ M2·u)
//
// where k and u of n elements are padded with zeros and ⊙ multiplies element by element.
// If row i of a matrix holds the values of some polynomials at a point, the i-th of as many
// points as there are polynomials, then M·u are the values of a polynomial whose coefficients
// in that basis are u, and f are the coefficients, in the basis of M0, of the product
// of two polynomials. There are
//
//   - [NewFourierConvolution]: powers, whose matrices are Fourier transforms. This is the causal
//     convolution of Hyena and Monarch Mixer, f[i] = Σ_j k[i-j]·u[j].
//   - [NewPolynomialConvolution]: learnable bases of Monarch matrices of order two.
//   - [NewChebyshevConvolution]: Chebyshev polynomials, in real arithmetic.
//   - [NewMultivariateConvolution]: polynomials of several variables, one for each digit.
//
// All of them are causal: f[i] depends on k[j] and u[j] for j ≤ i only, up to rounding. So
// for a given k, f is a lower triangular matrix times u. Only for powers of one variable is
// it one of Toeplitz.
type Convolution struct {
	n     int
	pairs bool // values are complex

	output, kernel, input *Matrix

	bases *[3]Basis // of these, if they can be trained
}

// Len returns n, the number of positions.
func (c *Convolution) Len() int { return c.n }

// Apply convolves the columns of src, a row for each position, with those of k. All
// three have Len rows and as many columns. dst may be src or k and must not overlap them
// otherwise. It panics with a *tensor.ShapeError if they do not fit.
func (c *Convolution) Apply(dst, src, k tensor.Mat) {
	checkMat("monarch.Convolution.Apply", k, c.n, src.Cols)
	s := tensor.GetScratch()
	values := tensor.MatOf(s.Take(c.kernel.out*k.Cols), c.kernel.out, k.Cols)
	c.kernel.ApplyColumns(values, k)
	c.apply("monarch.Convolution.Apply", dst, src, values, s)
	tensor.PutScratch(s)
}

// apply is Apply with M1·k in place of k.
func (c *Convolution) apply(op string, dst, src, k tensor.Mat, s *tensor.Scratch) {
	checkMat(op, src, c.n, src.Cols)
	checkMat(op, dst, c.n, src.Cols)
	u := tensor.MatOf(s.Take(c.input.out*src.Cols), c.input.out, src.Cols)
	c.input.ApplyColumns(u, src)
	if c.pairs {
		multiplyPairs(u, k, s.Take(2*u.Cols))
	} else {
		gateRows(u, u, k)
	}
	c.output.ApplyColumns(dst, u)
}

// multiplyPairs multiplies u by k, element by element: real parts are in the even rows and
// imaginary parts in the odd ones.
func multiplyPairs(u, k tensor.Mat, room []float32) {
	re, im := room[:u.Cols], room[u.Cols:2*u.Cols]
	for i := 0; i < u.Rows; i += 2 {
		ur, ui, kr, ki := u.Row(i), u.Row(i+1), k.Row(i), k.Row(i+1)
		kernel.Mul(re, ui, ki)
		kernel.Mul(im, ui, kr)
		kernel.MulAdd(im, ur, ki)
		kernel.Mul(ur, ur, kr)
		kernel.Sub(ur, ur, re)
		copy(ui, im)
	}
}

// Dense returns the matrix T of the convolution with one filter k of Len elements: f = T·u.
// It panics with a *tensor.ShapeError if k has another length.
func (c *Convolution) Dense(k []float32) *tensor.Tensor {
	if len(k) != c.n {
		panic(&tensor.ShapeError{Op: "monarch.Convolution.Dense", Got: []int{len(k)}, Want: []int{c.n}})
	}
	unit, filters := tensor.New(c.n, c.n), tensor.New(c.n, c.n)
	for i, v := range k {
		unit.Data()[i*c.n+i] = 1
		for j := range c.n {
			filters.Data()[i*c.n+j] = v
		}
	}
	dense := tensor.New(c.n, c.n)
	c.Apply(tensor.MatOf(dense.Data(), c.n, c.n), tensor.MatOf(unit.Data(), c.n, c.n), tensor.MatOf(filters.Data(), c.n, c.n))
	return dense
}

// newComplexConvolution returns a convolution of the chains of M1 and M2, and of that of
// M0⁻¹, all of which have points rows or columns. n of the others are used.
func newComplexConvolution(n, points int, output, kernel, input []complexStage) *Convolution {
	last := len(output) - 1
	var out []stage
	for i, s := range output {
		if i < last {
			out = append(out, s.pairs())
		} else {
			out = append(out, s.toReals())
		}
	}
	return &Convolution{
		n: n, pairs: true,
		output: newMatrix(2*points, n, false, out...),
		kernel: newMatrix(n, 2*points, false, ofReals(kernel)...),
		input:  newMatrix(n, 2*points, false, ofReals(input)...),
	}
}

// ofReals returns a chain that is applied to real vectors.
func ofReals(chain []complexStage) []stage {
	var stages []stage
	for i, s := range chain {
		if i == 0 {
			stages = append(stages, s.ofReals())
		} else {
			stages = append(stages, s.pairs())
		}
	}
	return stages
}

// NewFourierConvolution returns the causal convolution of n positions by Fourier transforms
// of 2n, as Monarch matrices of order two or, if n is prime, nearly so. It is what
// [nn.LongConv] computes, which is the faster way to do it.
func NewFourierConvolution(n int) (*Convolution, error) {
	if n < 1 || n > maxSize/2 {
		return nil, fmt.Errorf("monarch: a convolution of %d positions", n)
	}
	s := SquareShape(2 * n)
	d := []int{s.K, s.L}
	forward := fourierStages(-1, 1, d)
	inverse := fourierStages(1, 1/float64(2*n), d)
	return newComplexConvolution(n, 2*n, inverse, forward, forward), nil
}

// NewChebyshevConvolution returns the convolution of n positions whose bases are the Chebyshev
// polynomials of the first kind T_0, T_1, …, with 2n-1 Chebyshev nodes for points. The degree
// of T_j is j: so that an earlier position has more to say, inputs and outputs are numbered
// backwards,
//
//	u(x) = Σ_t u[t]·T_{n-1-t}(x)    k(x) = Σ_t k[t]·T_{n-1-t}(x)    u(x)·k(x) = Σ_i g[i]·T_i(x)    f[i] = g[2n-2-i]
//
// Numbered forwards, f would depend on later positions instead of earlier ones. The
// matrices are dense ones, and the cost is O(n²) for each column.
func NewChebyshevConvolution(n int) (*Convolution, error) {
	if n < 1 || n > 1<<12 {
		return nil, fmt.Errorf("monarch: a Chebyshev convolution of %d positions", n)
	}
	points := 2*n - 1
	values, inverse := tensor.New(points, n), tensor.New(n, points)
	for i := range points {
		angle := math.Pi * (float64(i) + 0.5) / float64(points)
		for t := range n {
			values.Data()[i*n+t] = float32(math.Cos(float64(n-1-t) * angle))
			// T_j is orthogonal to the others on the nodes.
			j, scale := 2*n-2-t, 2.0
			if j == 0 {
				scale = 1
			}
			inverse.Data()[t*points+i] = float32(scale / float64(points) * math.Cos(float64(j)*angle))
		}
	}
	input, err := NewDense(values)
	if err != nil {
		return nil, err
	}
	output, err := NewDense(inverse)
	return &Convolution{n: n, output: output, kernel: input, input: input}, err
}
