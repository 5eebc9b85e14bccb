package monarch

import "github.com/seqmix/seqmix/tensor"

// newComplex makes a matrix of stages with complex weights, whose tensors end in a
// dimension of 2, in terms of real ones: a block of out×in becomes one of 2out×2in in
// which an element a+bi is
//
//	⎡ a  -b ⎤
//	⎣ b   a ⎦
//
// so that pairs of numbers are multiplied as complex numbers are.
func newComplex(in, out int, stages ...stage) *Matrix {
	for i, s := range stages {
		stages[i] = s.pairs()
	}
	return newMatrix(2*in, 2*out, true, stages...)
}

// pairs returns the stage that does to pairs of numbers what s, with complex weights,
// does to complex numbers.
func (s stage) pairs() stage {
	w := s.weights.Data()
	real := tensor.New(s.blocks, 2*s.out, 2*s.in)
	v := real.Data()
	for row := range s.blocks * s.out {
		for i := range s.in {
			re, im := w[2*(row*s.in+i)], w[2*(row*s.in+i)+1]
			at := 4*row*s.in + 2*i
			v[at], v[at+1] = re, -im
			v[at+2*s.in], v[at+2*s.in+1] = im, re
		}
	}
	return stage{
		blocks: s.blocks, out: 2 * s.out, in: 2 * s.in, weights: real,
		from: pairPlaces(s.from), to: pairPlaces(s.to),
	}
}

// pairPlaces returns the places of the two numbers of each element.
func pairPlaces(places []int) []int {
	p := make([]int, 0, 2*len(places))
	for _, i := range places {
		p = append(p, 2*i, 2*i+1)
	}
	return p
}

// Conj returns the matrix whose elements are the complex conjugates of those of m,
// which is m itself if it is real.
func (m *Matrix) Conj() *Matrix {
	if !m.pairs {
		return m
	}
	stages := make([]stage, len(m.stages))
	for i, s := range m.stages {
		w := tensor.FromFloat32s(append([]float32(nil), s.weights.Data()...), s.weights.Shape()...)
		for j, v := range w.Data() {
			if (j/s.in+j)%2 != 0 { // s.in is even: the imaginary parts
				w.Data()[j] = -v
			}
		}
		s.weights = w
		stages[i] = s
	}
	return newMatrix(m.in, m.out, true, stages...)
}
