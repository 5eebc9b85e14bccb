package monarch

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/tensor"
)

// Adjoint returns the conjugate transpose of m, which is the transpose if m is real:
// the factors transposed, in reverse order,
//
//	(Mᵀy)[k·P + p] = Σ_q W1[k][q][p] · z[k·Q + q],  z[r·L + l] = Σ_s W2[l][s][r] · y[s·L + l]
//
// It has copies of the factors.
func (m *Matrix) Adjoint() *Matrix {
	stages := make([]stage, len(m.stages))
	for i, s := range m.stages {
		stages[len(stages)-1-i] = s.transpose()
	}
	return newMatrix(m.out, m.in, m.pairs, stages...)
}

// Transpose returns the transpose of m. It has copies of the factors.
func (m *Matrix) Transpose() *Matrix { return m.Adjoint().Conj() }

func (s stage) transpose() stage {
	t := stage{blocks: s.blocks, out: s.in, in: s.out, weights: tensor.New(s.blocks, s.in, s.out), from: s.to, to: s.from}
	w, v := s.weights.Data(), t.weights.Data()
	for b := range s.blocks {
		at := b * s.out * s.in
		for o := range s.out {
			for i := range s.in {
				v[at+i*s.out+o] = w[at+o*s.in+i]
			}
		}
	}
	return t
}

// ErrSingular is wrapped by the errors of matrices that have no inverse, or none that
// could be computed.
var ErrSingular = errors.New("monarch: a block is singular")

// Inverse returns the inverse of a matrix all blocks of which are square: the inverses
// of the blocks, in reverse order. They are computed in float64 and cost O(n²) for
// blocks of √n×√n. It is an error if a block is not square, or singular: then it wraps
// [ErrSingular].
func (m *Matrix) Inverse() (*Matrix, error) {
	stages := make([]stage, len(m.stages))
	for i, s := range m.stages {
		if s.out != s.in {
			return nil, fmt.Errorf("monarch: the inverse of a matrix with blocks of %d×%d", s.out, s.in)
		}
		inverse, err := s.inverse()
		if err != nil {
			return nil, err
		}
		stages[len(stages)-1-i] = inverse
	}
	if m.in != m.out || m.in != len(m.stages[0].from) {
		return nil, fmt.Errorf("monarch: the inverse of a matrix of %d×%d", m.Out(), m.In())
	}
	return newMatrix(m.out, m.in, m.pairs, stages...), nil
}

func (s stage) inverse() (stage, error) {
	t := stage{blocks: s.blocks, out: s.in, in: s.out, weights: tensor.New(s.blocks, s.in, s.out), from: s.to, to: s.from}
	n := s.in
	for b := range s.blocks {
		block := mat.NewDense(n, n, float64s(s.weights.Data()[b*n*n:(b+1)*n*n]))
		var inverse mat.Dense
		if err := inverse.Inverse(block); err != nil {
			return stage{}, fmt.Errorf("%w: block %d of %d×%d: %v", ErrSingular, b, n, n, err)
		}
		for i, v := range inverse.RawMatrix().Data {
			t.weights.Data()[b*n*n+i] = float32(v)
		}
	}
	return t, nil
}

func float64s(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// Product returns the matrix a·b, which applies b and then a. The factors are those of a
// and b, and it costs what both of them cost. So M·Mᴴ and its products are made, classes
// that contain convolutions and the usual transforms (arXiv:2204.00595). It is an
// error if the matrices do not fit or only one is complex.
func Product(a, b *Matrix) (*Matrix, error) {
	last, first := b.stages[len(b.stages)-1], a.stages[0]
	if a.in != b.out || a.pairs != b.pairs || len(last.to) != b.out || len(first.from) != a.in {
		return nil, fmt.Errorf("monarch: the product of matrices of %d×%d and %d×%d", a.Out(), a.In(), b.Out(), b.In())
	}
	stages := append(append([]stage(nil), b.stages...), a.stages...)
	return newMatrix(b.in, a.out, a.pairs, stages...), nil
}

// NewDense returns a dense matrix, of shape (out, in), as a Monarch matrix of one block.
// It uses the tensor as it is. It is an error if that is not a float32 matrix.
func NewDense(w *tensor.Tensor) (*Matrix, error) {
	if len(w.Shape()) != 2 || w.Len() == 0 || w.DType() != tensor.Float32 || w.Packed() {
		return nil, fmt.Errorf("monarch: a matrix %v", w)
	}
	out, in := w.Dim(0), w.Dim(1)
	return newMatrix(in, out, false, newStage(w, 1, out, in, contiguous(in), contiguous(out))), nil
}

// Dense returns m as a dense matrix of shape (Out, In), or (Out, In, 2) if m is complex.
// For a matrix of order two its elements are
//
//	M[s·L + l][k·P + p] = Σ_r W2[l][s][r] · W1[k][(r·L + l) mod Q][p]
//
// over those r for which (r·L + l) div Q is k.
func (m *Matrix) Dense() *tensor.Tensor {
	in, w := m.In(), m.width()
	unit := tensor.MatOf(make([]float32, m.in*in), m.in, in)
	for j := range in {
		unit.Row(j * w)[j] = 1
	}
	columns := tensor.MatOf(make([]float32, m.out*in), m.out, in)
	m.ApplyColumns(columns, unit)
	if !m.pairs {
		return tensor.FromFloat32s(columns.Data, m.out, in)
	}
	dense := tensor.New(m.Out(), in, 2)
	for i := range m.out {
		for j, v := range columns.Row(i) {
			dense.Data()[(i/2*in+j)*2+i%2] = v
		}
	}
	return dense
}
