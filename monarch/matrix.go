package monarch

import (
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// A Matrix is a Monarch matrix (arXiv:2204.00595): a product of block-diagonal
// matrices with permutations between them, which costs O(n·√n) where a dense matrix
// costs O(n²). That of order two ([New]) has two factors W1, of K blocks of Q×P, and
// W2, of L blocks of S×R. With the elements of a vector numbered from 0,
//
//	z[a]       = Σ_p W1[a div Q][a mod Q][p] · x[(a div Q)·P + p]      a < K·Q
//	y[s·L + l] = Σ_r W2[l][s][r] · z[r·L + l]
//
// as blockdiag_butterfly_multiply of HazyResearch/fly computes it. There are others:
// of any order ([NewOrder]), complex ones ([NewComplex]), the discrete Fourier
// transform ([DFT]), transposes, inverses and products of all of these.
//
// A complex vector of n elements is one of 2n numbers here: real part, imaginary part,
// real part and so on. In and Out count elements, rows of a tensor.Mat numbers; see
// [Matrix.Complex].
//
// A Matrix that was made of float32 tensors uses them as they are, so that they can be
// loaded and trained; all others have copies. A Matrix is not changed by what it
// computes and may serve many goroutines at once.
//
// Every element of a result is made of one chain of multiply-adds for each factor,
// whatever the number of vectors and of cores: see package tensor.
type Matrix struct {
	in, out int  // elements of vectors; the stages may read and write more
	pairs   bool // complex
	stages  []stage
	passes  []pass

	rows      int  // most rows of a strip before, between or after two passes
	scattered bool // the inputs of the blocks of the first pass are not one after the other
}

// newMatrix makes a matrix of a chain of stages, the first to be applied first. What
// they read beyond in elements is zero, what they write beyond out is dropped.
func newMatrix(in, out int, pairs bool, stages ...stage) *Matrix {
	m := &Matrix{in: in, out: out, pairs: pairs, stages: stages, rows: len(stages[0].from)}
	for i, s := range stages {
		at := make([]int, len(s.to))
		m.rows = max(m.rows, len(at))
		for j := range at {
			at[j] = j
		}
		if i+1 < len(stages) {
			for place, element := range stages[i+1].from {
				at[element] = place
			}
		}
		m.passes = append(m.passes, newPass(s, at, i == 0))
	}
	for place, element := range stages[0].from {
		m.scattered = m.scattered || place != element
	}
	return m
}

// New returns the matrix of order two with the factors w1, of shape (K, Q, P), and w2,
// of shape (L, S, R). It is an error if these do not make one, see [Shape], or are not
// float32.
func New(w1, w2 *tensor.Tensor) (*Matrix, error) {
	s, err := factorShape(w1, w2, 3)
	if err != nil {
		return nil, err
	}
	return newMatrix(s.In(), s.Out(), false, s.stages(w1, w2)...), nil
}

// factorShape returns the shape of two factors of so many dimensions.
func factorShape(w1, w2 *tensor.Tensor, dims int) (Shape, error) {
	for _, w := range []*tensor.Tensor{w1, w2} {
		if len(w.Shape()) != dims || w.DType() != tensor.Float32 || w.Packed() || dims == 4 && w.Dim(3) != 2 {
			return Shape{}, fmt.Errorf("monarch: a factor %v", w)
		}
	}
	a, b := w1.Shape(), w2.Shape()
	s := Shape{K: a[0], Q: a[1], P: a[2], L: b[0], S: b[1], R: b[2]}
	return s, s.validate()
}

// stages returns the two stages of a matrix of order two.
func (s Shape) stages(w1, w2 *tensor.Tensor) []stage {
	return []stage{
		newStage(w1, s.K, s.Q, s.P, contiguous(s.P), contiguous(s.Q)),
		newStage(w2, s.L, s.S, s.R, strided(s.L), strided(s.L)),
	}
}

// In returns the number of elements of the vectors that m is multiplied by.
func (m *Matrix) In() int { return m.in / m.width() }

// Out returns the number of elements of the products.
func (m *Matrix) Out() int { return m.out / m.width() }

// Complex reports whether elements are complex, pairs of numbers.
func (m *Matrix) Complex() bool { return m.pairs }

// width returns the number of numbers of an element.
func (m *Matrix) width() int {
	if m.pairs {
		return 2
	}
	return 1
}

// Parameters returns the number of numbers that the factors hold: as many multiply-adds
// are needed for one product with a vector. Those of a complex matrix are counted as
// they are multiplied, four for an element.
func (m *Matrix) Parameters() int {
	n := 0
	for _, s := range m.stages {
		n += s.blocks * s.out * s.in
	}
	return n
}

// NewSwapped returns the matrix of order two as the Monarch Mixer paper
// (arXiv:2310.12109) lists it: [New] after an exchange of the digits of the input,
//
//	y[s·L + l] = Σ_k W2[l][s][…] · Σ_p W1[k][…][p] · x[p·K + k]
//
// In that listing W1 is called L and W2 is called R.
func NewSwapped(w1, w2 *tensor.Tensor) (*Matrix, error) {
	s, err := factorShape(w1, w2, 3)
	if err != nil {
		return nil, err
	}
	stages := s.stages(w1, w2)
	stages[0] = newStage(w1, s.K, s.Q, s.P, strided(s.K), contiguous(s.Q))
	return newMatrix(s.In(), s.Out(), false, stages...), nil
}

// FromButterfly returns the first factor, as [New] wants it, of a BlockdiagButterflyLinear
// of HazyResearch/fly with so many blocks in the second one: there the rows of a block
// are in the order of the blocks that they go to. The second factor needs no change. It is
// an error if w1, of shape (K, Q, P), does not have a multiple of blocks as Q.
func FromButterfly(w1 *tensor.Tensor, blocks int) (*tensor.Tensor, error) {
	d := w1.Shape()
	if len(d) != 3 || blocks < 1 || d[1]%blocks != 0 {
		return nil, fmt.Errorf("monarch: a factor %v for a second one of %d blocks", w1, blocks)
	}
	k, q, p := d[0], d[1], d[2]
	rank := q / blocks
	w, src := tensor.New(k, q, p), w1.Float32s()
	for i := range k * q {
		block, row := i/q, i%q
		copy(w.Data()[(block*q+row%rank*blocks+row/rank)*p:][:p], src[i*p:])
	}
	return w, nil
}
