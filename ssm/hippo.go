package ssm

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/cmplx"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// HiPPO holds the matrices of a system h' = A·h + B·u whose N states are the
// coefficients of the past input in a basis of functions (arXiv:2008.07669). They are
// in row-major order. With P, of shape (Rank, N), the sum A + Pᵀ·P is a multiple of
// the identity and a skew-symmetric matrix, and so normal.
type HiPPO struct {
	N, Rank int
	A, B, P []float64
}

// maxDense bounds the states of systems whose matrices are written out: some of what is
// done with them takes their third power of time.
const maxDense = 1 << 10

// NewHiPPO returns the matrices of n states for legs, legt or fourier:
//
//	legs     A[i][k] = -√((2i+1)(2k+1)) below the diagonal, -(i+1) on it, 0 above;
//	         B[i] = √(2i+1), P[i] = √(i+1/2)
//	legt     A[i][k] = -½√((2i+1)(2k+1)) · (1 on and below the diagonal, (-1)^(i-k) above);
//	         B[i] = ½√(2i+1), P of rank 2: √(i+1/2) for odd i, for even i
//	fourier  the Fourier coefficients of a window, with frequencies πk;
//	         B[0] = 1, B[2k] = √2, P = B
//
// Where rank is more than the measure needs, rows of zeros are added to P. These are
// transition and rank_correction in state-spaces/s4.
func NewHiPPO(measure Init, n, rank int) (*HiPPO, error) {
	if err := checkHiPPO(measure, n, rank); err != nil {
		return nil, err
	}
	h := &HiPPO{N: n, Rank: rank, A: make([]float64, n*n), B: make([]float64, n), P: make([]float64, rank*n)}
	switch measure {
	case InitLegS:
		h.scaledLegendre()
	case InitLegT:
		h.translatedLegendre()
	case InitFourier:
		h.fourier()
	}
	return h, nil
}

// checkHiPPO checks the arguments of NewHiPPO.
func checkHiPPO(measure Init, n, rank int) error {
	least := 1
	switch measure {
	case InitLegT:
		least = 2
	case InitLegS, InitFourier:
	default:
		return fmt.Errorf("ssm: no HiPPO matrix is called %q (choose one of legs, legt, fourier)", measure)
	}
	if n < 1 || n > maxDense || rank < least || rank > n+least || measure == InitFourier && n%2 != 0 {
		return fmt.Errorf("ssm: HiPPO %s of %d states and rank %d, want at least 1, at most %d states, an even number for fourier, and rank %d or more", measure, n, rank, maxDense, least)
	}
	return nil
}

func (h *HiPPO) scaledLegendre() {
	for i := range h.N {
		for k := range i {
			h.A[i*h.N+k] = -math.Sqrt(float64(2*i+1) * float64(2*k+1))
		}
		h.A[i*h.N+i] = -float64(i + 1)
		h.B[i] = math.Sqrt(float64(2*i + 1))
		h.P[i] = math.Sqrt(float64(i) + 0.5)
	}
}

func (h *HiPPO) translatedLegendre() {
	for i := range h.N {
		for k := range h.N {
			v := -0.5 * math.Sqrt(float64(2*i+1)*float64(2*k+1))
			if i < k && (k-i)%2 == 1 {
				v = -v
			}
			h.A[i*h.N+k] = v
		}
		h.B[i] = 0.5 * math.Sqrt(float64(2*i+1))
		h.P[(1-i%2)*h.N+i] = math.Sqrt(float64(i) + 0.5)
	}
}

func (h *HiPPO) fourier() {
	for i := 0; i < h.N; i += 2 {
		h.B[i] = math.Sqrt2
		if i+1 < h.N {
			frequency := math.Pi * float64(i/2)
			h.A[i*h.N+i+1] = -frequency
			h.A[(i+1)*h.N+i] = frequency
		}
	}
	h.B[0] = 1
	copy(h.P, h.B)
	for i, b := range h.B {
		for k, c := range h.B {
			h.A[i*h.N+k] -= b * c
		}
	}
}

// NPLR returns the system in the basis in which its normal part is diagonal:
//
//	A = V·(diag(lambda) - p*·p)·V*,  b = V*·B,  p = P·V
//
// conjugated as state-spaces/s4 does, with a unitary V. Of each conjugate pair the one
// whose lambda has a negative imaginary part is kept, in ascending order of it. What
// is left open by this, a factor of modulus one for each state, is chosen so that the
// first component of each column of V is positive. Imaginary parts of b are limited
// to ±2, for stability, as there. p[r] belongs to row r of P. N must be even.
func (h *HiPPO) NPLR() (lambda, b []complex128, p [][]complex128, err error) {
	if err := checkStates(h.N); err != nil {
		return nil, nil, nil, err
	}
	shift, values, vectors, err := h.eigen()
	if err != nil {
		return nil, nil, nil, err
	}
	const clip = 2
	for k, w := range values {
		lambda = append(lambda, complex(shift, w))
		v := projection(vectors[k], h.B)
		b = append(b, complex(real(v), max(-clip, min(clip, imag(v)))))
	}
	p = make([][]complex128, h.Rank)
	for r := range p {
		for k := range values {
			p[r] = append(p[r], projection(vectors[k], h.P[r*h.N:(r+1)*h.N]))
		}
	}
	return lambda, b, p, nil
}

// projection returns v*·x.
func projection(v []complex128, x []float64) complex128 {
	var sum complex128
	for i, c := range v {
		sum += cmplx.Conj(c) * complex(x[i], 0)
	}
	return sum
}

// eigen returns the eigenvalues shift + i·w of the normal part of A that have negative
// w, in ascending order, with their eigenvectors.
func (h *HiPPO) eigen() (shift float64, w []float64, vectors [][]complex128, err error) {
	s := mat.NewDense(h.N, h.N, slices.Clone(h.A))
	for r := range h.Rank {
		row := mat.NewVecDense(h.N, h.P[r*h.N:(r+1)*h.N])
		s.RankOne(s, 1, row, row)
	}
	shift = mat.Trace(s) / float64(h.N)
	skew := mat.NewDense(h.N, h.N, nil)
	skew.Sub(s, s.T())
	skew.Scale(0.5, skew)

	var e mat.Eigen
	if !e.Factorize(skew, mat.EigenRight) {
		return 0, nil, nil, errors.New("ssm: the eigenvalues of a HiPPO matrix were not found")
	}
	values, all := e.Values(nil), new(mat.CDense)
	e.VectorsTo(all)
	order := make([]int, h.N)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(imag(values[a]), imag(values[b])) })
	for _, i := range order[:h.N/2] {
		w = append(w, imag(values[i]))
		v := make([]complex128, h.N)
		for j := range v {
			v[j] = all.At(j, i)
		}
		vectors = append(vectors, normalized(v))
	}
	last := len(w) - 1
	if last > 0 && w[last-1] > -1e-4 {
		return 0, nil, nil, errors.New("ssm: a HiPPO matrix with more than one pair of eigenvalues zero")
	}
	if w[last] > -1e-4 {
		// The window of Fourier has one such pair, of the first two states.
		v := make([]complex128, h.N)
		v[0], v[1] = math.Sqrt2/2, math.Sqrt2/2*1i
		w[last], vectors[last] = 0, v
	}
	return shift, w, vectors, nil
}

// normalized scales v to length one, with its first component positive.
func normalized(v []complex128) []complex128 {
	norm := 0.0
	for _, c := range v {
		norm += real(c)*real(c) + imag(c)*imag(c)
	}
	norm = math.Sqrt(norm)
	first := slices.IndexFunc(v, func(c complex128) bool { return cmplx.Abs(c) > 1e-12*norm })
	scale := cmplx.Conj(v[first]) / complex(cmplx.Abs(v[first])*norm, 0)
	for i := range v {
		v[i] *= scale
	}
	return v
}
