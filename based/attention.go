package based

import (
	"fmt"
	"math"
	"sync"

	"github.com/seqmix/seqmix/tensor"
)

// An Attention is causal linear attention of several heads (arXiv:2006.16236), on its
// own, without projections. For each head, the query at position i gives
//
//	w[j] = φ(q[i])·φ(k[j])
//	o[i] = Σ_{j≤i} w[j]·v[j] / (Σ_{j≤i} w[j] + Eps)
//
// with the feature map φ. The same sums, taken in another order, are those of a
// recurrence whose state has a fixed size,
//
//	S = S + φ(k[i])·v[i]ᵀ,  z = z + φ(k[i]),  o[i] = Sᵀ·φ(q[i]) / (z·φ(q[i]) + Eps)
//
// Positions are divided into chunks: within a chunk the first form is used, which for
// [Taylor] needs no features, and for what is before the chunk the second. Short
// sequences are one chunk, which is the quadratic form of the references.
type Attention struct {
	Heads int

	// Map is φ. nil stands for Taylor.
	Map FeatureMap

	// Eps is added to the sum of weights. 0 stands for 1e-12, as in HazyResearch/based;
	// flash-linear-attention has 1e-6.
	Eps float32

	// Unnormalized leaves the division out.
	Unnormalized bool
}

const defaultEps = 1e-12

func (a Attention) withDefaults() Attention {
	if a.Map == nil {
		a.Map = Taylor{}
	}
	if a.Eps == 0 {
		a.Eps = defaultEps
	}
	return a
}

// validate checks an Attention with all fields filled in.
func (a Attention) validate() error {
	switch {
	case a.Heads < 1:
		return fmt.Errorf("based: attention with %d heads, want at least 1", a.Heads)
	case !(a.Eps > 0) || math.IsInf(float64(a.Eps), 0):
		return fmt.Errorf("based: attention with eps %v, want a positive number", a.Eps)
	}
	return nil
}

// Apply computes whole sequences. q and k are Heads·f wide, v and dst Heads·d, head
// after head. dst may be v, and must not overlap the others. It panics with a
// *tensor.ShapeError if the shapes do not fit.
func (a Attention) Apply(dst, q, k, v tensor.Seq) {
	const op = "based.Attention.Apply"
	a = a.withDefaults()
	if err := a.validate(); err != nil {
		panic(op + ": " + err.Error())
	}
	f, d := a.checkApply(op, dst, q, k, v)
	if q.Batch == 0 || q.Len == 0 || d == 0 {
		return
	}
	a.apply(dst, q, k, v, tensor.Seq{}, f, d)
}

// apply computes whole sequences that are not empty. If inverse, as wide as there are
// heads, is not nothing, it becomes the inverses of the sums of weights.
func (a Attention) apply(dst, q, k, v, inverse tensor.Seq, f, d int) {
	s := states.Get().(*State)
	first, more := wholeChunk(q.Len)
	group := max(1, applyRows/q.Len)
	for b := 0; b < q.Batch; b += group {
		n := min(group, q.Batch-b)
		s.begin(a, n, f, d, first, more)
		if inverse.Data != nil {
			s.run.inverse = sequences(inverse, b, n)
		}
		s.apply(sequences(dst, b, n), sequences(q, b, n), sequences(k, b, n), sequences(v, b, n))
		s.run.inverse = tensor.Seq{}
	}
	states.Put(s)
}

// applyRows is the number of positions of different sequences that are computed together:
// enough to keep all cores at work, few enough for the state to stay small.
const applyRows = 4096

// checkApply panics unless the shapes fit, and returns the widths of a head.
func (a Attention) checkApply(op string, dst, q, k, v tensor.Seq) (f, d int) {
	f, d = q.Dim/a.Heads, v.Dim/a.Heads
	tensor.CheckSeq(op, q, -1, -1, f*a.Heads)
	tensor.CheckSeq(op, k, q.Batch, q.Len, f*a.Heads)
	tensor.CheckSeq(op, v, q.Batch, q.Len, d*a.Heads)
	tensor.CheckMix(op, dst, v, v.Dim)
	if f == 0 && d > 0 {
		panic(&tensor.ShapeError{Op: op, Got: []int{q.Batch, q.Len, q.Dim}, Want: []int{q.Batch, q.Len, a.Heads}})
	}
	return f, d
}

// states holds the states that whole sequences are computed with.
var states = sync.Pool{New: func() any { return new(State) }}

// NewState returns the state of batch sequences at their beginning, for queries and
// keys of f elements and values of d elements for each head.
func (a Attention) NewState(batch, f, d int) (*State, error) {
	a = a.withDefaults()
	if err := a.validate(); err != nil {
		return nil, err
	}
	if batch < 1 || f < 1 || d < 1 {
		return nil, fmt.Errorf("based: the state of %d sequences of heads of %d and %d elements", batch, f, d)
	}
	if features := float64(a.Map.Features(f)); float64(batch)*float64(a.Heads)*features*float64(d) > maxElements {
		return nil, fmt.Errorf("based: the state of %d sequences of %d heads of %d and %d elements has more than %d elements", batch, a.Heads, f, d, maxElements)
	}
	s := new(State)
	s.begin(a, batch, f, d, chunkLen, true)
	return s, nil
}

// maxElements bounds the elements of one parameter and of a state, so that a damaged
// configuration is an error rather than the end of the program.
const maxElements = 1<<31 - 1
