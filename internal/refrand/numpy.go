package refrand

import (
	"math"
	"math/bits"
)

// NumPy is the generator behind the functions of numpy.random (RandomState), which keeps
// its sequences from version to version.
type NumPy struct{ mt mt19937 }

// NewNumPy returns the generator after numpy.random.seed(seed), of which 32 bits count.
func NewNumPy(seed uint64) *NumPy {
	n := new(NumPy)
	n.mt.seed(seed)
	return n
}

// Float64 is numpy.random.random_sample: 53 bits of two numbers, in [0, 1).
func (r *NumPy) Float64() float64 {
	a, b := r.mt.uint32()>>5, r.mt.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// IntN is numpy.random.randint(n): numbers are drawn, masked to as many bits as n-1 has,
// until one is below n. It panics if n is not positive.
func (r *NumPy) IntN(n int) int {
	if n <= 0 {
		panic("refrand: IntN of a number that is not positive")
	}
	most := uint64(n - 1)
	if most == 0 {
		return 0
	}
	mask := uint64(1)<<bits.Len64(most) - 1
	for {
		v := uint64(0)
		if most <= math.MaxUint32 {
			v = uint64(r.mt.uint32()) & mask
		} else {
			v = r.mt.uint64() & mask
		}
		if v <= most {
			return int(v)
		}
	}
}

// Permutation is numpy.random.permutation(n).
func (r *NumPy) Permutation(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := r.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Distinct is numpy.random.choice(n, len(dst), replace=False), written to dst.
func (r *NumPy) Distinct(dst []int, n int) { copy(dst, r.Permutation(n)[:len(dst)]) }
