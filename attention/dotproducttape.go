package attention

import (
	"sync"

	"github.com/seqmix/seqmix/tensor"
)

// A DotProductTape is what a [DotProduct] remembers for its gradient: the operands, the
// result and, for every query, the logarithm of the sum of weights.
type DotProductTape struct {
	dot          DotProduct
	q, k, v, out tensor.Seq
	lse          []float32
}

// Record is Apply that keeps what Backward needs. The memory for it is one number for
// each query and head. q, k, v and dst must not change until Backward is done; if dst is
// q, a copy of it is kept.
func (d DotProduct) Record(dst, q, k, v tensor.Seq) *DotProductTape {
	d = d.check("attention.DotProduct.Record", dst, q, k, v)
	if dst.SameMemory(q) {
		q = copyOf(q)
	}
	t := &DotProductTape{dot: d, q: q, k: k, v: v, out: dst, lse: make([]float32, q.Batch*q.Len*d.Heads)}
	d.apply(t.operands())
	return t
}

func copyOf(s tensor.Seq) tensor.Seq {
	c := tensor.NewSeq(s.Batch, s.Len, s.Dim)
	tensor.Copy(c, s)
	return c
}

func (t *DotProductTape) operands() operands {
	o := operandsOf(t.dot, t.out, t.q, t.k, t.v)
	o.lse = rows{t.lse, t.q.Len * t.dot.Heads, t.dot.Heads}
	return o
}

// Backward computes the gradients dq, dk and dv of a loss with respect to queries, keys
// and values from that with respect to the result. Scores are computed again, tile by
// tile: temporary memory grows with the length, not with its square. dq may be ddst.
func (t *DotProductTape) Backward(dq, dk, dv, ddst tensor.Seq) {
	const op = "attention.DotProductTape.Backward"
	tensor.CheckSeq(op, ddst, t.q.Batch, t.q.Len, t.q.Dim)
	tensor.CheckMix(op, dq, ddst, t.q.Dim)
	tensor.CheckSeq(op, dk, t.k.Batch, t.k.Len, t.k.Dim)
	tensor.CheckSeq(op, dv, t.v.Batch, t.v.Len, t.v.Dim)
	if t.q.Len == 0 || t.k.Len == 0 {
		clearSeq(dq)
		clearSeq(dk)
		clearSeq(dv)
	}
	t.dot.backward(t.operands(), rowsOf(ddst), rowsOf(dq), rowsOf(dk), rowsOf(dv))
}

func clearSeq(s tensor.Seq) {
	for b := range s.Batch {
		clear(s.Sequence(b).Data)
	}
}

var gradients = sync.Pool{New: func() any { return new(gradient) }}

// backward computes the gradients of apply, unless there are no queries or no keys.
func (d DotProduct) backward(o operands, dout, dq, dk, dv rows) {
	g := gradients.Get().(*gradient)
	g.dot, g.operands = d, o
	g.dout, g.dq, g.dk, g.dv = dout, dq, dk, dv
	g.run()
	*g = gradient{partial: g.partial}
	gradients.Put(g)
}
