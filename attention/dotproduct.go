package attention

import (
	"fmt"
	"math"
	"sync"

	"github.com/seqmix/seqmix/tensor"
)

// A DotProduct is scaled dot-product attention of several heads (arXiv:1706.03762), on
// its own, without projections. For each query head h, whose keys and values are those
// of key head h/(Heads/KVHeads) (arXiv:1911.02150, arXiv:2305.13245), a query at
// position p gives
//
//	s[j] = Scale · q[p]·k[j]             Softcap·tanh(s[j]/Softcap) if that is set
//	s[j] = s[j] - Slopes[h]·|p-j|        if there are slopes
//	o[p] = Σ_j e^s[j]·v[j] / Σ_j e^s[j]  p-Left ≤ j ≤ p+Right
//
// The softmax is computed tile by tile (arXiv:1805.02867, arXiv:2205.14135): memory
// grows with the length, not with its square. Scores 87 below the largest of their row
// may count as nothing.
type DotProduct struct {
	Heads   int
	KVHeads int // a divisor of Heads; Heads by default

	// Left is the number of keys before its own that a query sees. 0 leaves it its own
	// only; nil and negative numbers stand for all. What is called a sliding window of
	// W often means W keys with the query's own, and then Left is W-1; but
	// flash-attention, and Based, which takes half of its window_size, mean Left.
	Left *int

	// Right is the number of keys after its own that a query sees: 0, the default, is
	// causal attention, and negative numbers stand for all.
	Right int

	Scale   float32   // 1/√(width of a head) by default
	Softcap float32   // bound of scores; 0 for none
	Slopes  []float32 // of ALiBi, one for each query head (see Slopes); nil for none
}

// Apply computes attention. q and dst are Heads·D wide, k and v KVHeads·D, head after
// head. k and v have one length; if that of q is another, its positions are taken to
// be the last ones: the query i of n sees keys as that at position k.Len-n+i. A query
// that sees no key gives 0. dst may be q. It panics with a *tensor.ShapeError if the
// shapes do not fit.
func (d DotProduct) Apply(dst, q, k, v tensor.Seq) {
	const op = "attention.DotProduct.Apply"
	kvHeads := d.KVHeads
	if kvHeads == 0 {
		kvHeads = d.Heads
	}
	if d.Heads < 1 || kvHeads < 1 || d.Heads%kvHeads != 0 {
		panic(fmt.Sprintf("%s: %d heads with %d of keys", op, d.Heads, kvHeads))
	}
	dim := q.Dim / d.Heads
	tensor.CheckSeq(op, q, -1, -1, dim*d.Heads)
	tensor.CheckMix(op, dst, q, q.Dim)
	tensor.CheckSeq(op, k, q.Batch, -1, dim*kvHeads)
	tensor.CheckSeq(op, v, q.Batch, k.Len, dim*kvHeads)
	if d.Slopes != nil && len(d.Slopes) != d.Heads {
		panic(&tensor.ShapeError{Op: op, Got: []int{len(d.Slopes)}, Want: []int{d.Heads}})
	}
	if q.Batch == 0 || q.Len == 0 || dim == 0 {
		return
	}
	r := applies.Get().(*apply)
	r.run(d, kvHeads, dst, q, k, v)
	applies.Put(r)
}

// apply is the memory of one DotProduct.Apply.
type apply struct {
	cache  cache
	store  store
	attend attend
}

var applies = sync.Pool{New: func() any { return new(apply) }}

func (r *apply) run(d DotProduct, kvHeads int, dst, q, k, v tensor.Seq) {
	dim := q.Dim / d.Heads
	r.cache.begin(kvHeads, dim, maxBlockLen, q.Batch)
	r.cache.keep(0, k.Len)
	if k.Len > 0 {
		r.store = store{cache: &r.cache, keys: rowsOf(k), values: rowsOf(v), n: k.Len}
		r.store.run()
	}
	a := &r.attend
	a.cache, a.mask = &r.cache, maskOf(d.Left, d.Right)
	a.heads, a.scale, a.softcap, a.slopes = d.Heads, d.scale(dim), d.Softcap, d.Slopes
	a.q, a.out = rowsOf(q), rowsOf(dst)
	a.first, a.n, a.keys = k.Len-q.Len, q.Len, k.Len
	a.run()
	r.store = store{}
	a.q, a.out, a.slopes = rows{}, rows{}, nil
}

// maskOf returns the mask of a window that is stated as in [DotProduct].
func maskOf(left *int, right int) mask {
	m := mask{left: -1, right: right}
	if left != nil {
		m.left = *left
	}
	return m
}

func (d DotProduct) scale(dim int) float32 {
	if d.Scale != 0 {
		return d.Scale
	}
	return float32(1 / math.Sqrt(float64(dim)))
}
