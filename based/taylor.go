package based

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
)

// Taylor is the feature map of Based (arXiv:2402.18668): the product of the features of
// a query and a key is the Taylor polynomial of second order of the exponential of
// their scaled product,
//
//	φ(q)·φ(k) = 1 + s + s²/2,  s = q·k/√f
//
// for vectors of f elements. As the weight of a key it is never below 1/2.
//
// Of two equal features x_i·x_j and x_j·x_i one is enough, with twice the weight: with
// x scaled by f^(-1/4) first, the 1 + f + f(f+1)/2 features are
//
//	[1, x_i, x_i²/√2, x_i·x_j for j < i]
//
// in this order, the pairs row by row. This is forward_mem_save of the class TaylorExp
// in HazyResearch/zoology. Expand returns the longer list that its forward makes.
type Taylor struct{}

// Features returns 1 + n + n(n+1)/2.
func (Taylor) Features(n int) int { return kernel.TaylorLen(n) }

// Map writes the features of x to dst.
func (Taylor) Map(dst, x []float32, _ int) {
	n, scale := len(x), taylorScale(len(x))
	linear, squares, pairs := dst[1:1+n], dst[1+n:1+2*n], dst[1+2*n:]
	dst[0] = 1
	kernel.Scale(linear, scale, x)
	for i, v := range linear {
		squares[i] = math.Sqrt2 / 2 * v * v
		kernel.Scale(pairs[:i], v, linear[:i])
		pairs = pairs[i:]
	}
}

// taylorScale is what vectors of n elements are multiplied by.
func taylorScale(n int) float32 { return float32(math.Pow(float64(n), -0.25)) }

// Expand writes the 1 + n + n² features [1, x_i, x_i·x_j/√2], row by row, to dst, where
// packed holds those that Map makes of a vector of n elements. It works on any weighted
// sum of features just as well, such as a row of the state of a stream. It is the form
// in which HazyResearch/based keeps states.
func (Taylor) Expand(dst, packed []float32, n int) {
	linear, squares, pairs := packed[1:1+n], packed[1+n:1+2*n], packed[1+2*n:]
	dst[0] = packed[0]
	copy(dst[1:], linear)
	quadratic := dst[1+n:]
	for i := range n {
		quadratic[i*n+i] = squares[i]
		for j, v := range pairs[:i] {
			v *= math.Sqrt2 / 2
			quadratic[i*n+j], quadratic[j*n+i] = v, v
		}
		pairs = pairs[i:]
	}
}

// Pack is the inverse of Expand: it writes 1 + n + n(n+1)/2 features to dst.
func (Taylor) Pack(dst, expanded []float32, n int) {
	copy(dst, expanded[:1+n])
	quadratic, squares, pairs := expanded[1+n:], dst[1+n:1+2*n], dst[1+2*n:]
	for i := range n {
		squares[i] = quadratic[i*n+i]
		for j := range i {
			pairs[j] = math.Sqrt2 / 2 * (quadratic[i*n+j] + quadratic[j*n+i])
		}
		pairs = pairs[i:]
	}
}
