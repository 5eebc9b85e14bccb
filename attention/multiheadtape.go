package attention

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, queries, keys and values, the result
// of attention, and one number for each head. With QKNorm, queries and keys are kept
// before it, too. With ConvTaps there are no gradients, and the error wraps
// [errors.ErrUnsupported].
func (m *MultiHead) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return m.record(dst, src, [2]tensor.Seq{}, 0)
}

// record records positions from the given one on, behind keys and values of positions
// before. If those are no sequences at all, the tape keeps no others than its own.
func (m *MultiHead) record(dst, src tensor.Seq, past [2]tensor.Seq, position int) (*multiHeadTape, error) {
	tensor.CheckMix("attention.MultiHead.Record", dst, src, m.Dim())
	if m.conv != nil {
		return nil, fmt.Errorf("attention: gradients of attention with a convolution: %w", errors.ErrUnsupported)
	}
	if dst.SameMemory(src) {
		src = copyOf(src)
	}
	c := m.cfg
	t := &multiHeadTape{mixer: m, src: src, qkv: m.newQKV(src), position: position}
	m.project(t.qkv, src)
	if m.qNorm != nil {
		t.raw = m.newQKV(src)
		tensor.Copy(t.raw.q, t.qkv.q)
		if !c.Layout.Fused() {
			tensor.Copy(t.raw.k, t.qkv.k)
		}
		t.eachNorm(func(n *nn.RMSNorm, column, heads int) {
			n.Mix(t.headsAt(t.qkv, column, heads), t.headsAt(t.raw, column, heads))
		})
	}
	t.rotate(t.qkv, false)
	if past[0].Dim > 0 {
		_, k, v := m.rows(t.qkv)
		t.keys, t.values = behind(past[0], k, src), behind(past[1], v, src)
	}
	t.out = tensor.GetSeq(src.Batch, src.Len, c.Heads*c.HeadDim)
	t.lse = tensor.GetSeq(src.Batch, src.Len, c.Heads)
	m.dotProduct().apply(t.operands())
	m.linear.out.Apply(dst, t.out)
	return t, nil
}

// dotProduct returns the attention between the projections.
func (m *MultiHead) dotProduct() DotProduct {
	c := m.cfg
	return DotProduct{
		Heads: c.Heads, KVHeads: c.KVHeads, Left: c.Left, Right: c.Right,
		Scale: c.Scale, Softcap: c.Softcap, Slopes: c.Slopes,
	}
}

// qkv are queries, keys and values. In a fused layout all are in q, side by side.
type qkv struct{ q, k, v tensor.Seq }

func (m *MultiHead) newQKV(src tensor.Seq) qkv {
	width, kvWidth := m.cfg.Heads*m.cfg.HeadDim, m.cfg.KVHeads*m.cfg.HeadDim
	if m.cfg.Layout.Fused() {
		return qkv{q: tensor.GetSeq(src.Batch, src.Len, width+2*kvWidth)}
	}
	return qkv{
		q: tensor.GetSeq(src.Batch, src.Len, width),
		k: tensor.GetSeq(src.Batch, src.Len, kvWidth),
		v: tensor.GetSeq(src.Batch, src.Len, kvWidth),
	}
}

func (m *MultiHead) project(x qkv, src tensor.Seq) {
	m.linear.q.Apply(x.q, src)
	if !m.cfg.Layout.Fused() {
		m.linear.k.Apply(x.k, src)
		m.linear.v.Apply(x.v, src)
	}
}

// rows returns the vectors of queries, keys and values.
func (m *MultiHead) rows(x qkv) (q, k, v rows) {
	if !m.cfg.Layout.Fused() {
		return rowsOf(x.q), rowsOf(x.k), rowsOf(x.v)
	}
	width, kvWidth := m.cfg.Heads*m.cfg.HeadDim, m.cfg.KVHeads*m.cfg.HeadDim
	return columns(x.q, 0), columns(x.q, width), columns(x.q, width+kvWidth)
}

// columns returns the vectors of s from a column on.
func columns(s tensor.Seq, first int) rows {
	return rows{s.Data[min(first, len(s.Data)):], s.Stride, s.Dim}
}

type multiHeadTape struct {
	mixer *MultiHead
	src   tensor.Seq
	qkv   qkv
	raw   qkv // queries and keys before their norms, if there are any
	out   tensor.Seq
	lse   tensor.Seq // one number for each head

	// Of a segment: where it begins, and the keys and values before it and of it.
	position     int
	keys, values tensor.Seq
}

// Release gives back what the tape keeps.
func (t *multiHeadTape) Release() {
	for _, x := range []qkv{t.qkv, t.raw} {
		tensor.PutSeq(x.q, x.k, x.v)
	}
	tensor.PutSeq(t.out, t.lse)
	*t = multiHeadTape{}
}

func (t *multiHeadTape) operands() operands {
	c := t.mixer.cfg
	o := operands{
		batch: t.src.Batch, n: t.src.Len, keys: t.src.Len, headDim: c.HeadDim,
		out: rowsOf(t.out), lse: rowsOf(t.lse),
	}
	o.q, o.k, o.v = t.mixer.rows(t.qkv)
	if t.keys.Dim > 0 {
		o.keys, o.k, o.v = t.keys.Len, rowsOf(t.keys), rowsOf(t.values)
	}
	return o
}

// rotate rotates queries and keys, or their gradients back.
func (t *multiHeadTape) rotate(x qkv, back bool) {
	m, c := t.mixer, t.mixer.cfg
	switch {
	case m.rope == nil:
	case c.Layout.Fused():
		m.rope.rotateRows(rowsOf(x.q), t.src.Batch, t.src.Len, c.Heads+c.KVHeads, t.position, back)
	default:
		m.rope.rotateRows(rowsOf(x.q), t.src.Batch, t.src.Len, c.Heads, t.position, back)
		m.rope.rotateRows(rowsOf(x.k), t.src.Batch, t.src.Len, c.KVHeads, t.position, back)
	}
}

// eachNorm calls f with the norms of queries and keys, and where the heads of these are.
func (t *multiHeadTape) eachNorm(f func(n *nn.RMSNorm, column, heads int)) {
	m, c := t.mixer, t.mixer.cfg
	f(m.qNorm, 0, c.Heads)
	f(m.kNorm, c.Heads*c.HeadDim, c.KVHeads)
}

// headsAt describes the heads from a column of queries, keys and values on, as positions
// of which each of those of x is a sequence.
func (t *multiHeadTape) headsAt(x qkv, column, heads int) tensor.Seq {
	s, dim := x.q, t.mixer.cfg.HeadDim
	if column > 0 && !t.mixer.cfg.Layout.Fused() {
		s, column = x.k, 0
	}
	return tensor.Seq{Data: columns(s, column).data, Batch: s.Batch * s.Len, Len: heads, Dim: dim, Stride: s.Dim}
}

func (t *multiHeadTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, grads, func(dout, dq, dk, dv rows) {
		t.mixer.dotProduct().backward(t.operands(), dout, dq, dk, dv)
	})
}

// backward takes gradients back, through the attention by attend.
func (t *multiHeadTape) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads, attend func(dout, dq, dk, dv rows)) {
	const op = "attention.MultiHead.Backward"
	m, c := t.mixer, t.mixer.cfg
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, c.Dim)
	tensor.CheckMix(op, dsrc, ddst, c.Dim)
	s := tensor.GetScratch()
	dout := s.TakeSeq(t.out.Batch, t.out.Len, t.out.Dim)
	m.linear.out.Backward(dout, ddst, t.out, grads)
	d := t.takeQKV(s)
	dq, dk, dv := m.rows(d)
	attend(rowsOf(dout), dq, dk, dv)
	t.rotate(d, true)
	if m.qNorm != nil {
		t.eachNorm(func(n *nn.RMSNorm, column, heads int) {
			dx := t.headsAt(d, column, heads)
			n.Backward(dx, dx, t.headsAt(t.raw, column, heads), grads)
		})
	}
	m.linear.q.Backward(dsrc, d.q, t.src, grads)
	if !c.Layout.Fused() {
		m.linear.k.BackwardAdd(dsrc, d.k, t.src, grads)
		m.linear.v.BackwardAdd(dsrc, d.v, t.src, grads)
	}
	tensor.PutScratch(s)
}

// takeQKV returns memory for the gradients of queries, keys and values.
func (t *multiHeadTape) takeQKV(s *tensor.Scratch) qkv {
	take := func(x tensor.Seq) tensor.Seq { return s.TakeSeq(x.Batch, x.Len, x.Dim) }
	return qkv{take(t.qkv.q), take(t.qkv.k), take(t.qkv.v)}
}
