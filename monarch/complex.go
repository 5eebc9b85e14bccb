package monarch

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/tensor"
)

// A complexStage is a stage with complex weights, in full precision. It is multiplied in
// terms of real numbers: a block of out×in becomes one of 2out×2in in which an element
// a+bi is
//
//	⎡ a  -b ⎤
//	⎣ b   a ⎦
//
// so that pairs of numbers are multiplied as complex numbers are. Where all inputs are
// real the second column is left out, and where only real parts are wanted the second row.
type complexStage struct {
	blocks, out, in int
	weights         []complex128 // (blocks, out, in)
	from, to        []int        // as of a stage
}

// newComplexStage is newStage.
func newComplexStage(w []complex128, blocks, out, in int, from, to func(b, i int) int) complexStage {
	s := newStage(nil, blocks, out, in, from, to)
	return complexStage{blocks, out, in, w, s.from, s.to}
}

// pairs returns the stage that does to pairs of numbers what s does to complex numbers.
func (s complexStage) pairs() stage { return s.expand(2, 2) }

// ofReals returns the stage that makes pairs of numbers, and toReals the one that makes
// real parts of pairs.
func (s complexStage) ofReals() stage { return s.expand(2, 1) }
func (s complexStage) toReals() stage { return s.expand(1, 2) }

// expand returns a stage with so many numbers for each output and each input.
func (s complexStage) expand(outs, ins int) stage {
	r := stage{
		blocks: s.blocks, out: outs * s.out, in: ins * s.in, weights: tensor.New(s.blocks, outs*s.out, ins*s.in),
		from: expandPlaces(s.from, ins), to: expandPlaces(s.to, outs),
	}
	v := r.weights.Data()
	for at, w := range s.weights {
		row, col := at/s.in, at%s.in
		numbers := [2][2]float64{{real(w), -imag(w)}, {imag(w), real(w)}}
		for c := range outs {
			for d := range ins {
				v[(outs*row+c)*r.in+ins*col+d] = float32(numbers[c][d])
			}
		}
	}
	return r
}

// expandPlaces returns the places of the numbers of each element.
func expandPlaces(places []int, width int) []int {
	p := make([]int, 0, width*len(places))
	for _, i := range places {
		for c := range width {
			p = append(p, width*i+c)
		}
	}
	return p
}

// inverse returns the stage that undoes s, whose blocks are square.
func (s complexStage) inverse() (complexStage, error) {
	n := s.in
	r := complexStage{s.blocks, n, n, make([]complex128, len(s.weights)), s.to, s.from}
	for b := range s.blocks {
		block, w := mat.NewDense(2*n, 2*n, nil), s.weights[b*n*n:(b+1)*n*n]
		for i := range n {
			for j := range n {
				re, im := real(w[i*n+j]), imag(w[i*n+j])
				block.Set(i, j, re)
				block.Set(i, n+j, -im)
				block.Set(n+i, j, im)
				block.Set(n+i, n+j, re)
			}
		}
		var inverse mat.Dense
		if err := inverse.Inverse(block); err != nil {
			return r, fmt.Errorf("%w: block %d of %d×%d: %v", ErrSingular, b, n, n, err)
		}
		for i := range n {
			for j := range n {
				r.weights[b*n*n+i*n+j] = complex(inverse.At(i, j), inverse.At(n+i, j))
			}
		}
	}
	return r, nil
}

// newComplex makes a matrix of complex stages.
func newComplex(in, out int, stages ...complexStage) *Matrix {
	real := make([]stage, len(stages))
	for i, s := range stages {
		real[i] = s.pairs()
	}
	return newMatrix(2*in, 2*out, true, real...)
}

// NewComplex is [New] for complex factors, whose shapes end in another dimension of 2:
// the real and the imaginary part. The matrix has copies of them.
func NewComplex(w1, w2 *tensor.Tensor) (*Matrix, error) {
	s, err := factorShape(w1, w2, 4)
	if err != nil {
		return nil, err
	}
	var stages []complexStage
	for _, t := range s.stages(w1, w2) {
		stages = append(stages, complexStage{t.blocks, t.out, t.in, complexes(t.weights.Data()), t.from, t.to})
	}
	m := newComplex(s.In(), s.Out(), stages...)
	m.stages[0].source, m.stages[1].source = w1, w2
	return m, nil
}

// complexes returns pairs of numbers as complex numbers, and pairs does the opposite.
func complexes(v []float32) []complex128 {
	z := make([]complex128, len(v)/2)
	for i := range z {
		z[i] = complex(float64(v[2*i]), float64(v[2*i+1]))
	}
	return z
}

func pairs(z []complex128) []float32 {
	v := make([]float32, 0, 2*len(z))
	for _, c := range z {
		v = append(v, float32(real(c)), float32(imag(c)))
	}
	return v
}

// Conj returns the matrix whose elements are the complex conjugates of those of m,
// which is m itself if it is real.
func (m *Matrix) Conj() *Matrix {
	if !m.pairs {
		return m
	}
	stages := make([]stage, len(m.stages))
	for i, s := range m.stages {
		w := tensor.New(s.weights.Shape()...)
		for j, v := range s.weights.Data() {
			if (j/s.in+j)%2 != 0 { // an imaginary part, as s.in is even
				v = -v
			}
			w.Data()[j] = v
		}
		s.weights, s.source = w, nil
		stages[i] = s
	}
	return newMatrix(m.in, m.out, true, stages...)
}
