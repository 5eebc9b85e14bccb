package monarch

import (
	"fmt"
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// ProjectComplex is [Project] for a complex matrix of shape (L·S, K·P, 2), and makes the
// complex factors that [NewComplex] wants.
//
// The Fourier transform of n elements, for instance, with its columns permuted as [DFT] says,
// is at distance 0 of the Monarch matrices of the shape of its factors.
func ProjectComplex(dense *tensor.Tensor, s Shape) (w1, w2 *tensor.Tensor, distance float64, err error) {
	if err := s.validate(); err != nil {
		return nil, nil, 0, err
	}
	if d := dense.Shape(); len(d) != 3 || d[0] != s.Out() || d[1] != s.In() || d[2] != 2 {
		return nil, nil, 0, fmt.Errorf("monarch: the projection of %v on a complex matrix of %d×%d", dense, s.Out(), s.In())
	}
	p := &complexProjection{
		Shape: s, dense: complexes(dense.Float32s()),
		w1: make([]complex128, s.K*s.Q*s.P), w2: make([]complex128, s.L*s.S*s.R),
		lost: make([]float64, s.K*s.L),
	}
	par.Do(s.K*s.L, 1, p)
	if distance, err = p.lost.distance(); err != nil {
		return nil, nil, 0, err
	}
	return tensor.FromFloat32s(pairs(p.w1), s.K, s.Q, s.P, 2), tensor.FromFloat32s(pairs(p.w2), s.L, s.S, s.R, 2), distance, nil
}

type complexProjection struct {
	Shape
	dense, w1, w2 []complex128
	lost          losses
}

// Run projects blocks lo to hi-1, the one of k and l being k·L+l.
func (p *complexProjection) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		p.lost[i] = p.block(i/p.L, i%p.L)
	}
}

// block projects the elements that blocks k and l of the factors make.
func (p *complexProjection) block(k, l int) (lost float64) {
	a := make([]complex128, p.S*p.P)
	for i := range a {
		a[i] = p.dense[(i/p.P*p.L+l)*p.In()+k*p.P+i%p.P]
	}
	right, values := rightSingularVectors(a, p.S, p.P)
	if right == nil {
		return math.NaN()
	}
	rank := 0
	for at := range p.places(k, l) {
		if rank < len(right) {
			p.store(k, l, at, a, right[rank])
		}
		rank++
	}
	for _, s := range values[min(rank, len(values)):] {
		lost += s * s
	}
	return lost
}

// store makes the row and the column of the factors that meet in element at: their product
// is that of a, the vector v and its adjoint.
func (p *complexProjection) store(k, l, at int, a, v []complex128) {
	u := make([]complex128, p.S)
	size := 0.0
	for i := range u {
		for j, x := range v {
			u[i] += a[i*p.P+j] * x
		}
		size = math.Hypot(size, cmplx.Abs(u[i]))
	}
	if size == 0 {
		return
	}
	root := complex(math.Sqrt(size), 0)
	for j, x := range v {
		p.w1[at*p.P+j] = root * cmplx.Conj(x)
	}
	for i, x := range u {
		p.w2[(l*p.S+i)*p.R+at/p.L] = x / root
	}
}

// rightSingularVectors returns the right singular vectors and the singular values of an m×n
// matrix, the largest first, or nil if there is no decomposition. It decomposes the real
// matrix
//
//	⎡ Re a  -Im a ⎤
//	⎣ Im a   Re a ⎦
//
// which has every singular value twice, with vectors that are v and i·v, or, where values are
// equal, others that span the same.
func rightSingularVectors(a []complex128, m, n int) (vectors [][]complex128, values []float64) {
	real2 := mat.NewDense(2*m, 2*n, nil)
	for at, z := range a {
		i, j := at/n, at%n
		real2.Set(i, j, real(z))
		real2.Set(i, n+j, -imag(z))
		real2.Set(m+i, j, imag(z))
		real2.Set(m+i, n+j, real(z))
	}
	var svd mat.SVD
	if !finite(real2) || !svd.Factorize(real2, mat.SVDThin) {
		return nil, nil
	}
	var v mat.Dense
	svd.VTo(&v)
	for i, s := range svd.Values(nil) {
		if i%2 == 0 {
			values = append(values, s)
		}
		x := make([]complex128, n)
		for j := range x {
			x[j] = complex(v.At(j, i), v.At(n+j, i))
		}
		if len(vectors) < min(m, n) && orthogonalize(x, vectors) {
			vectors = append(vectors, x)
		}
	}
	return vectors, values
}

// orthogonalize makes x, a unit vector, one that is orthogonal to the others, or reports
// false if it is a combination of them.
func orthogonalize(x []complex128, others [][]complex128) bool {
	for range 2 { // the second time takes away what rounding left
		for _, v := range others {
			var inner complex128
			for j := range x {
				inner += cmplx.Conj(v[j]) * x[j]
			}
			for j := range x {
				x[j] -= inner * v[j]
			}
		}
	}
	size := 0.0
	for _, z := range x {
		size = math.Hypot(size, cmplx.Abs(z))
	}
	if size < 1e-3 {
		return false
	}
	for j := range x {
		x[j] /= complex(size, 0)
	}
	return true
}
