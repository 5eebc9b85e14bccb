package based

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// An AttentionTape is what an [Attention] remembers for its gradient: the operands, the
// result and, for every query and head, the inverse of the sum of weights.
type AttentionTape struct {
	attention             Attention
	q, k, v, out, inverse tensor.Seq

	// Of a segment: the sums before it, if there are any, and its first position.
	first    *seqmix.State
	position int
}

// Record is Apply that keeps what Backward needs. q, k, v and dst must not change until
// Backward is done; if dst is v, a copy of it is kept. The error wraps
// errors.ErrUnsupported if the feature map is no [DifferentiableMap].
func (a Attention) Record(dst, q, k, v tensor.Seq) (*AttentionTape, error) {
	t, err := a.newTape("based.Attention.Record", dst, q, k, v)
	if err == nil && q.Batch > 0 && q.Len > 0 && v.Dim > 0 {
		a := t.attention
		a.apply(dst, t.q, t.k, t.v, t.inverse, q.Dim/a.Heads, v.Dim/a.Heads)
	}
	return t, err
}

// newTape checks the operands and makes a tape for them.
func (a Attention) newTape(op string, dst, q, k, v tensor.Seq) (*AttentionTape, error) {
	a = a.withDefaults()
	if err := a.validate(); err != nil {
		panic(op + ": " + err.Error())
	}
	a.checkApply(op, dst, q, k, v)
	if _, ok := a.Map.(DifferentiableMap); !ok {
		return nil, fmt.Errorf("based: the gradient of %T is not known: %w", a.Map, errors.ErrUnsupported)
	}
	if dst.SameMemory(v) {
		c := tensor.NewSeq(v.Batch, v.Len, v.Dim)
		tensor.Copy(c, v)
		v = c
	}
	return &AttentionTape{attention: a, q: q, k: k, v: v, out: dst, inverse: tensor.GetSeq(q.Batch, q.Len, a.Heads)}, nil
}

// Backward computes the gradients dq, dk and dv of a loss with respect to queries, keys
// and values from that with respect to the result, and adds those of parameters of the
// feature map to grads. Weights are computed again, chunk by chunk. dq and dk must not
// overlap anything, dv may be ddst. It panics with a *tensor.ShapeError if the shapes do
// not fit.
func (t *AttentionTape) Backward(dq, dk, dv, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dq, dk, dv, ddst, grads, nil)
}

// backward is Backward with, of a segment, the gradients of the sums.
func (t *AttentionTape) backward(dq, dk, dv, ddst tensor.Seq, grads seqmix.Grads, sums *sumGrads) {
	const op = "based.AttentionTape.Backward"
	tensor.CheckSeq(op, dq, t.q.Batch, t.q.Len, t.q.Dim)
	tensor.CheckSeq(op, dk, t.k.Batch, t.k.Len, t.k.Dim)
	tensor.CheckSeq(op, ddst, t.v.Batch, t.v.Len, t.v.Dim)
	tensor.CheckMix(op, dv, ddst, t.v.Dim)
	if t.q.Batch == 0 || t.q.Dim == 0 || t.q.Len == 0 && sums == nil {
		return
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	if dv.SameMemory(ddst) {
		c := s.TakeSeq(ddst.Batch, ddst.Len, ddst.Dim)
		tensor.Copy(c, ddst)
		ddst = c
	}
	a := t.attention
	g := &gradient{
		attention: a, f: t.q.Dim / a.Heads, d: t.v.Dim / a.Heads,
		q: t.q, k: t.k, v: t.v, out: t.out, dout: ddst, inverse: t.inverse, dq: dq, dk: dk, dv: dv,
		position: t.position, sums: sums,
	}
	_, g.taylor = a.Map.(Taylor)
	g.features = a.Map.Features(g.f)
	if g.taylor {
		g.run()
		return
	}
	g.dq, g.dk = s.TakeSeq(dq.Batch, dq.Len, a.Heads*g.features), s.TakeSeq(dk.Batch, dk.Len, a.Heads*g.features)
	g.run()
	t.mapBackward(dq, g.dq, t.q, grads)
	t.mapBackward(dk, g.dk, t.k, grads)
}

// mapBackward computes the gradients of x from those of its features.
func (t *AttentionTape) mapBackward(dx, dphi, x tensor.Seq, grads seqmix.Grads) {
	a := t.attention
	b := &mapGrad{attention: a, m: a.Map.(DifferentiableMap), dx: dx, dphi: dphi, x: x, position: t.position}
	positions := x.Batch * x.Len
	if positions == 0 {
		return
	}
	parts := min(mapParts, positions)
	b.length = (positions + parts - 1) / parts
	parts = (positions + b.length - 1) / b.length
	var params []*tensor.Tensor
	if m, ok := a.Map.(interface {
		Params() iter.Seq2[string, *tensor.Tensor]
	}); ok {
		for _, p := range m.Params() {
			if grads.Of(p) != nil {
				params = append(params, p)
			}
		}
	}
	for range parts {
		g := seqmix.Grads{}
		for _, p := range params {
			g[p] = tensor.New(p.Shape()...)
		}
		b.grads = append(b.grads, g)
	}
	par.Do(parts, 1, b)
	for _, p := range params {
		sum := grads.Of(p)
		for _, g := range b.grads {
			tensor.Add(sum, sum, g.Of(p))
		}
	}
}

// mapParts is the number of parts that positions are divided into for the gradients of a
// feature map. Each has gradients of parameters of its own, which are added in order.
const mapParts = 16

type mapGrad struct {
	attention   Attention
	m           DifferentiableMap
	dx, dphi, x tensor.Seq
	length      int // of a part
	position    int // of the first
	grads       []seqmix.Grads
}

// Run computes parts lo to hi-1.
func (g *mapGrad) Run(lo, hi int) {
	heads := g.attention.Heads
	f, features := g.x.Dim/heads, g.dphi.Dim/heads
	for part := lo; part < hi; part++ {
		for i := part * g.length; i < min((part+1)*g.length, g.x.Batch*g.x.Len); i++ {
			b, p := i/g.x.Len, i%g.x.Len
			dx, dphi, x := g.dx.At(b, p), g.dphi.At(b, p), g.x.At(b, p)
			for h := range heads {
				g.m.Backward(dx[h*f:(h+1)*f], dphi[h*features:(h+1)*features], x[h*f:(h+1)*f], g.position+p, g.grads[part])
			}
		}
	}
}
