package based

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A FeatureMap makes features φ of queries and keys. In linear attention the weight of
// a key for a query is φ(q)·φ(k), where softmax attention has e^(q·k).
//
// A FeatureMap with a method Params, as [seqmix.Mixer] has it, brings parameters of its
// own into a [LinearAttention]. It is used by many goroutines at once.
type FeatureMap interface {
	// Features returns the number of features of a vector of n elements.
	Features(n int) int

	// Map writes the features of x, a query or a key at a position counted from 0, to
	// dst. It must not keep either.
	Map(dst, x []float32, position int)
}

// Identity has the elements themselves as features.
type Identity struct{}

// ELU has the features elu(x)+1, that is x+1 for x > 0 and e^x below (arXiv:2006.16236).
type ELU struct{}

// ReLU has the features max(x, 1e-12), as zoology's: a query of which no element is
// positive still has a sum of weights to be divided by.
type ReLU struct{}

// Square has the features x².
type Square struct{}

// Exp has the features max(e^x, 1) and then max(e^-x, 1): ExpDim of zoology.
type Exp struct{}

// Softmax has the features softmax(x) and then softmax(-x), over the elements of a
// vector: SoftmaxDim of zoology, a map of arXiv:2402.04347.
type Softmax struct{}

// HalfSoftmax has the features softmax(x) only.
type HalfSoftmax struct{}

// CosFormer has the features sin(a)·max(x, 0) and then cos(a)·max(x, 0), with
// a = π/2·(p+1)/Length at position p (arXiv:2202.08791), so that nearer keys weigh
// more. Length is the largest number of positions of a sequence; it is not known from
// a sequence that is still arriving, and so has to be given.
type CosFormer struct{ Length int }

// Polynomial has the features ((Proj1·x)² + Proj2·x²)/√2, the squares being those of
// elements: AllPolyMap of zoology. Proj1 and Proj2 have shape (features, elements) and
// are called "proj_1.weight" and "proj_2.weight".
type Polynomial struct{ Proj1, Proj2 *tensor.Tensor }

// Features returns n.
func (Identity) Features(n int) int { return n }

// Map copies x.
func (Identity) Map(dst, x []float32, _ int) { copy(dst, x) }

// Features returns n.
func (ELU) Features(n int) int { return n }

// Map writes the features of x.
func (ELU) Map(dst, x []float32, _ int) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = min(v, 0)
	}
	kernel.Exp(dst, dst)
	for i, v := range x {
		dst[i] += max(v, 0)
	}
}

// Features returns n.
func (ReLU) Features(n int) int { return n }

// Map writes the features of x.
func (ReLU) Map(dst, x []float32, _ int) {
	for i, v := range x {
		dst[i] = max(v, 1e-12)
	}
}

// Features returns n.
func (Square) Features(n int) int { return n }

// Map writes the features of x.
func (Square) Map(dst, x []float32, _ int) { kernel.Mul(dst[:len(x)], x, x) }

// Features returns 2n.
func (Exp) Features(n int) int { return 2 * n }

// Map writes the features of x.
func (Exp) Map(dst, x []float32, _ int) {
	n := len(x)
	for i, v := range x {
		dst[i], dst[n+i] = max(v, 0), max(-v, 0)
	}
	kernel.Exp(dst[:2*n], dst[:2*n])
}

// Features returns 2n.
func (Softmax) Features(n int) int { return 2 * n }

// Map writes the features of x.
func (Softmax) Map(dst, x []float32, _ int) {
	n := len(x)
	kernel.Scale(dst[n:2*n], -1, x)
	tensor.Softmax(dst[n:2*n], dst[n:2*n])
	tensor.Softmax(dst[:n], x)
}

// Features returns n.
func (HalfSoftmax) Features(n int) int { return n }

// Map writes the features of x.
func (HalfSoftmax) Map(dst, x []float32, _ int) { tensor.Softmax(dst[:len(x)], x) }

// Features returns 2n.
func (CosFormer) Features(n int) int { return 2 * n }

// Map writes the features of x.
func (c CosFormer) Map(dst, x []float32, position int) {
	n := len(x)
	sin, cos := math.Sincos(math.Pi / 2 * float64(position+1) / float64(c.Length))
	kernel.ReLU(dst[:n], x)
	kernel.Scale(dst[n:2*n], float32(cos), dst[:n])
	kernel.Scale(dst[:n], float32(sin), dst[:n])
}

// validate checks that the map is one of vectors of n elements.
func (c CosFormer) validate(int) error {
	if c.Length < 1 {
		return fmt.Errorf("based: CosFormer with a length of %d, want at least 1", c.Length)
	}
	return nil
}

// validate checks that the map is one of vectors of n elements.
func (p Polynomial) validate(n int) error {
	if p.Proj1 == nil || p.Proj2 == nil {
		return errors.New("based: Polynomial without its matrices")
	}
	a, b := p.Proj1.Shape(), p.Proj2.Shape()
	if len(a) != 2 || a[0] < 1 || a[1] != n || !slices.Equal(a, b) {
		return fmt.Errorf("based: Polynomial of matrices %v and %v for vectors of %d elements", a, b, n)
	}
	return nil
}

// Features returns the number of rows of Proj1.
func (p Polynomial) Features(int) int { return p.Proj1.Dim(0) }

// Map writes the features of x.
func (p Polynomial) Map(dst, x []float32, _ int) {
	a, b := p.Proj1.Data(), p.Proj2.Data()
	n := len(x)
	for i := range p.Proj1.Dim(0) {
		linear := kernel.Dot(a[i*n:(i+1)*n], x)
		var square float32
		for j, w := range b[i*n : (i+1)*n] {
			square += w * x[j] * x[j]
		}
		dst[i] = (linear*linear + square) * (math.Sqrt2 / 2)
	}
}

// Params yields the two matrices.
func (p Polynomial) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("proj_1.weight", p.Proj1), paramlist.Of("proj_2.weight", p.Proj2))
}
