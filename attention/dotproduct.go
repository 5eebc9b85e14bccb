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
	d = d.check("attention.DotProduct.Apply", dst, q, k, v)
	d.apply(operandsOf(d, dst, q, k, v))
}

// check panics unless the shapes fit, and returns d with its defaults filled in.
func (d DotProduct) check(op string, dst, q, k, v tensor.Seq) DotProduct {
	setDefault(&d.KVHeads, d.Heads)
	if d.Heads < 1 || d.KVHeads < 1 || d.Heads%d.KVHeads != 0 {
		panic(fmt.Sprintf("%s: %d heads with %d of keys", op, d.Heads, d.KVHeads))
	}
	dim := q.Dim / d.Heads
	tensor.CheckSeq(op, q, -1, -1, dim*d.Heads)
	tensor.CheckMix(op, dst, q, q.Dim)
	tensor.CheckSeq(op, k, q.Batch, -1, dim*d.KVHeads)
	tensor.CheckSeq(op, v, q.Batch, k.Len, dim*d.KVHeads)
	if d.Slopes != nil && len(d.Slopes) != d.Heads {
		panic(&tensor.ShapeError{Op: op, Got: []int{len(d.Slopes)}, Want: []int{d.Heads}})
	}
	if d.Scale == 0 {
		d.Scale = float32(1 / math.Sqrt(float64(dim)))
	}
	return d
}

// operands are the arguments of attention, in memory with gaps.
type operands struct {
	batch        int
	n, keys      int // queries and keys of each sequence
	headDim      int
	q, k, v, out rows
	lse          rows // of each query, one number for each head; nothing if not wanted
}

func operandsOf(d DotProduct, dst, q, k, v tensor.Seq) operands {
	return operands{
		batch: q.Batch, n: q.Len, keys: k.Len, headDim: q.Dim / d.Heads,
		q: rowsOf(q), k: rowsOf(k), v: rowsOf(v), out: rowsOf(dst),
	}
}

func (o *operands) empty() bool { return o.batch == 0 || o.n == 0 || o.headDim == 0 }

// whole is the memory of attention over whole sequences.
type whole struct {
	cache  cache
	store  store
	attend attend
}

var wholes = sync.Pool{New: func() any { return new(whole) }}

// apply computes attention. d has its defaults filled in.
func (d DotProduct) apply(o operands) {
	if o.empty() {
		return
	}
	r := wholes.Get().(*whole)
	r.run(d, &o)
	wholes.Put(r)
}

func (r *whole) run(d DotProduct, o *operands) {
	length := min(maxBlockLen, roundUp(max(o.keys, 1), panel))
	r.cache.begin(d.KVHeads, o.headDim, length, o.batch)
	r.cache.keep(0, o.keys)
	if o.keys > 0 {
		r.store = store{cache: &r.cache, keys: o.k, values: o.v, n: o.keys}
		r.store.run()
	}
	a := &r.attend
	a.cache, a.mask = &r.cache, d.mask()
	a.heads, a.scale, a.softcap, a.slopes = d.Heads, d.Scale, d.Softcap, d.Slopes
	a.q, a.out, a.lse = o.q, o.out, o.lse
	a.first, a.n, a.keys = o.keys-o.n, o.n, o.keys
	a.run()
	r.store = store{}
	a.q, a.out, a.lse, a.slopes = rows{}, rows{}, rows{}, nil
}

func (d DotProduct) mask() mask { return maskOf(d.Left, d.Right) }

// maskOf returns the mask of a window that is stated as in [DotProduct].
func maskOf(left *int, right int) mask {
	m := mask{left: -1, right: right}
	if left != nil {
		m.left = *left
	}
	return m
}
