package refrand

import "math"

// Torch is the generator behind PyTorch's functions on a CPU.
type Torch struct{ mt mt19937 }

// NewTorch returns the generator after torch.manual_seed(seed), of which 32 bits count.
func NewTorch(seed uint64) *Torch {
	t := new(Torch)
	t.mt.seed(seed)
	return t
}

// Float64 is an element of torch.rand with dtype float64: the lower 53 of 64 bits, in
// [0, 1).
func (r *Torch) Float64() float64 { return float64(r.mt.uint64()&(1<<53-1)) / (1 << 53) }

// IntN is an element of torch.randint(n): a remainder, so that small numbers are a little
// likelier if n is large. It panics if n is not positive.
func (r *Torch) IntN(n int) int {
	if n <= 0 {
		panic("refrand: IntN of a number that is not positive")
	}
	if uint64(n) > math.MaxUint32 {
		return int(r.mt.uint64() % uint64(n))
	}
	return int(r.mt.uint32() % uint32(n))
}

// Permutation is torch.randperm(n).
func (r *Torch) Permutation(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := range n - 1 {
		j := i + r.IntN(n-i)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Distinct is torch.randperm(n)[:len(dst)], written to dst.
func (r *Torch) Distinct(dst []int, n int) { copy(dst, r.Permutation(n)[:len(dst)]) }
