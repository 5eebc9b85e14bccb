package monarch

import (
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// A Basis is a family of N = b² polynomials that a complex Monarch matrix of order two
// evaluates at the N-th roots of unity. For j = j1 + b·j0 with digits j1, j0 < b, the
// polynomial is
//
//	q_j(Z) = λ_j1(Z)·ρ_j1,j0(Z^b)
//	λ_j1(Z)      = Σ_d Lambda[j1][d]·Z^d          j1 ≤ d < b
//	ρ_j1,j0(Y)   = Σ_e Rho[j1][j0][e]·Y^e         j0 ≤ e, and e < b/2 if j0 < b/2, e < b if not
//
// Elements of the tensors outside of these ranges are not used. The lowest power in q_j
// is Z^j, and if j < N/2 the degree is below N/2: so the product of two such polynomials
// does not wrap around at Z^N = 1, and its coefficients in a basis of the same kind at
// index i come only from pairs of indices whose sum is at most i. This is why
// [NewPolynomialConvolution] is causal. With Lambda and Rho zero but for ones where d = j1 and
// e = j0, q_j is Z^j and the matrix is the Fourier transform.
//
// The construction is this library's own; arXiv:2310.12109 states that causal Monarch
// convolutions of this kind exist. No public checkpoint has them.
type Basis struct {
	Lambda *tensor.Tensor // (b, b)
	Rho    *tensor.Tensor // (b, b, b)
}

// NewBasis returns the basis of powers, Z^j, for an even b.
func NewBasis(b int) Basis {
	p := Basis{Lambda: tensor.New(b, b), Rho: tensor.New(b, b, b)}
	for i := range b {
		p.Lambda.Data()[i*b+i] = 1
		for j := range b {
			p.Rho.Data()[(i*b+j)*b+j] = 1
		}
	}
	return p
}

// size returns b.
func (p Basis) size() (int, error) {
	if p.Lambda == nil || p.Rho == nil || len(p.Lambda.Shape()) != 2 || len(p.Rho.Shape()) != 3 {
		return 0, fmt.Errorf("monarch: a basis %v, %v", p.Lambda, p.Rho)
	}
	b := p.Lambda.Dim(0)
	for _, d := range append(p.Lambda.Shape(), p.Rho.Shape()...) {
		if d != b {
			return 0, fmt.Errorf("monarch: a basis %v, %v", p.Lambda, p.Rho)
		}
	}
	if b < 2 || b%2 != 0 || b > 1<<10 {
		return 0, fmt.Errorf("monarch: a basis of %d² polynomials, want an even number from 2 to 1024", b)
	}
	return b, nil
}

// stages returns the two stages of the matrix. Its factors are, with ω_n = e^(-2πi/n),
//
//	W1[j1][l][j0] = ρ_j1,j0(ω_b^l)    W2[l][s][j1] = λ_j1(ω_N^(s·b+l))
//
// and it is applied after an exchange of the digits of the input.
func (p Basis) stages(b int) []complexStage {
	lambda, rho := p.Lambda.Float32s(), p.Rho.Float32s()
	w1, w2 := make([]complex128, b*b*b), make([]complex128, b*b*b)
	for i := range w1 {
		j1, l, j0 := i/(b*b), i/b%b, i%b
		w1[i] = evaluate(rho[(j1*b+j0)*b:][:p.degree(b, j0)], j0, -float64(l)/float64(b))
		// The same number counts W2[l][s][j1].
		at := i/b%b*b + i/(b*b)
		w2[i] = evaluate(lambda[i%b*b:][:b], i%b, -float64(at)/float64(b*b))
	}
	digits := func(j1, j0 int) int { return j1 + b*j0 }
	return []complexStage{
		newComplexStage(w1, b, b, b, digits, contiguous(b)),
		newComplexStage(w2, b, b, b, strided(b), strided(b)),
	}
}

// degree returns the degree of ρ_j1,j0, plus one.
func (p Basis) degree(b, j0 int) int {
	if j0 < b/2 {
		return b / 2
	}
	return b
}

// evaluate returns the polynomial with these coefficients, from the lowest on, at a root of
// unity.
func evaluate(coefficients []float32, lowest int, turn float64) (sum complex128) {
	for d := lowest; d < len(coefficients); d++ {
		sum += complex(float64(coefficients[d]), 0) * root(float64(d)*turn)
	}
	return sum
}

// Factors returns the factors W1 and W2 of the complex matrix that evaluates the basis, each
// of shape (b, b, b, 2). What they are multiplied by has the digits of its indices
// exchanged: element j1·b + j0 is the coefficient of q_j for j = j1 + b·j0. It is an error if
// the tensors are not a basis.
func (p Basis) Factors() (w1, w2 *tensor.Tensor, err error) {
	b, err := p.size()
	if err != nil {
		return nil, nil, err
	}
	s := p.stages(b)
	return tensor.FromFloat32s(pairs(s[0].weights), b, b, b, 2), tensor.FromFloat32s(pairs(s[1].weights), b, b, b, 2), nil
}

// NewPolynomialConvolution returns the convolution of b²/2 positions in which f is in the
// basis of output, k in that of kernel and u in that of input, all of the same size. It
// costs O(n·√n) for each column. It is an error if the tensors are not bases, or if that of
// output is not one, which its inverse needs: see [ErrSingular].
func NewPolynomialConvolution(output, kernel, input Basis) (*Convolution, error) {
	b, err := output.size()
	for _, p := range []Basis{kernel, input} {
		if c, err2 := p.size(); err == nil && (err2 != nil || c != b) {
			err = fmt.Errorf("monarch: a convolution of bases of %d² and %v", b, p.Lambda)
		}
	}
	if err != nil {
		return nil, err
	}
	forward := output.stages(b)
	inverse := make([]complexStage, 2)
	for i, s := range forward {
		if inverse[1-i], err = s.inverse(); err != nil {
			return nil, err
		}
	}
	c := newComplexConvolution(b*b/2, b*b, inverse, kernel.stages(b), input.stages(b))
	c.bases = &[3]Basis{output, kernel, input}
	return c, nil
}
