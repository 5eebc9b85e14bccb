package attention

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, queries, keys and values, the result
// of attention, and one number for each head. With ConvTaps and QKNorm, what is in front
// of these is kept, too.
func (m *MultiHead) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	t, _, err := m.record(dst, src, [2]tensor.Seq{}, nil)
	return t, err
}

// record records positions behind a state, whose keys and values are past. If those are no
// sequences at all, the tape keeps no others than its own. It returns the state of the
// convolution, if there is one.
func (m *MultiHead) record(dst, src tensor.Seq, past [2]tensor.Seq, first *seqmix.State) (*multiHeadTape, []*seqmix.State, error) {
	tensor.CheckMix("attention.MultiHead.Record", dst, src, m.Dim())
	if dst.SameMemory(src) {
		src = copyOf(src)
	}
	c := m.cfg
	t := &multiHeadTape{mixer: m, src: src, qkv: m.newQKV(src), position: first.At()}
	m.project(t.qkv, src)
	state, err := t.convolve(first)
	if err != nil {
		return nil, nil, err
	}
	if m.qNorm != nil {
		t.raw = m.newQKV(src)
		tensor.Copy(t.raw.q, t.qkv.q)
		if !m.sideBySide() {
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
	return t, state, nil
}

// convolve puts the convolution, if there is one, behind queries, keys and values, and
// returns its state.
func (t *multiHeadTape) convolve(first *seqmix.State) ([]*seqmix.State, error) {
	if t.mixer.conv == nil {
		return nil, nil
	}
	t.unmixed, t.qkv = t.qkv, t.mixer.newQKV(t.src)
	var last *seqmix.State
	var err error
	t.conv, last, err = seqmix.RecordSegment(t.mixer.conv, t.qkv.q, t.unmixed.q, tape.Part(first, 0))
	return []*seqmix.State{last}, err
}

// dotProduct returns the attention between the projections.
func (m *MultiHead) dotProduct() DotProduct {
	c := m.cfg
	return DotProduct{
		Heads: c.Heads, KVHeads: c.KVHeads, Left: c.Left, Right: c.Right,
		Scale: c.Scale, Softcap: c.Softcap, Slopes: c.Slopes,
	}
}

// qkv are queries, keys and values. Those that are side by side are all in q.
type qkv struct{ q, k, v tensor.Seq }

// sideBySide reports whether one matrix makes queries, keys and values, or one convolution
// takes them.
func (m *MultiHead) sideBySide() bool { return m.cfg.Layout.Fused() || m.conv != nil }

func (m *MultiHead) newQKV(src tensor.Seq) qkv {
	width, kvWidth := m.cfg.Heads*m.cfg.HeadDim, m.cfg.KVHeads*m.cfg.HeadDim
	if m.sideBySide() {
		return qkv{q: tensor.GetSeq(src.Batch, src.Len, width+2*kvWidth)}
	}
	return qkv{
		q: tensor.GetSeq(src.Batch, src.Len, width),
		k: tensor.GetSeq(src.Batch, src.Len, kvWidth),
		v: tensor.GetSeq(src.Batch, src.Len, kvWidth),
	}
}

func (m *MultiHead) project(x qkv, src tensor.Seq) {
	if m.cfg.Layout.Fused() {
		m.linear.q.Apply(x.q, src)
		return
	}
	s := tensor.GetScratch()
	apart := m.takeApart(x, s)
	m.linear.q.Apply(apart.q, src)
	m.linear.k.Apply(apart.k, src)
	m.linear.v.Apply(apart.v, src)
	if m.conv != nil {
		m.eachPart(x, apart, func(side, apart rows, width int) { copyRows(side, apart, src.Batch, src.Len, width) })
	}
	tensor.PutScratch(s)
}

// takeApart returns memory for what separate matrices make: x, unless the convolution
// wants it side by side.
func (m *MultiHead) takeApart(x qkv, s *tensor.Scratch) qkv {
	if m.conv == nil {
		return x
	}
	width, kvWidth := m.cfg.Heads*m.cfg.HeadDim, m.cfg.KVHeads*m.cfg.HeadDim
	take := func(n int) tensor.Seq { return s.TakeSeq(x.q.Batch, x.q.Len, n) }
	return qkv{take(width), take(kvWidth), take(kvWidth)}
}

// eachPart calls f with queries, keys and values side by side and apart.
func (m *MultiHead) eachPart(side, apart qkv, f func(side, apart rows, width int)) {
	q, k, v := m.rows(side)
	f(q, rowsOf(apart.q), apart.q.Dim)
	f(k, rowsOf(apart.k), apart.k.Dim)
	f(v, rowsOf(apart.v), apart.v.Dim)
}

// rows returns the vectors of queries, keys and values.
func (m *MultiHead) rows(x qkv) (q, k, v rows) {
	if !m.sideBySide() {
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

	// Of the convolution, if there is one: what was in front of it.
	unmixed qkv
	conv    seqmix.SegmentTape

	out tensor.Seq
	lse tensor.Seq // one number for each head

	// Of a segment: where it begins, and the keys and values before it and of it.
	position     int
	keys, values tensor.Seq
}

// Release gives back what the tape keeps.
func (t *multiHeadTape) Release() {
	seqmix.Release(t.conv)
	for _, x := range []qkv{t.qkv, t.raw, t.unmixed} {
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
	case m.sideBySide():
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
	if column > 0 && !t.mixer.sideBySide() {
		s, column = x.k, 0
	}
	return tensor.Seq{Data: columns(s, column).data, Batch: s.Batch * s.Len, Len: heads, Dim: dim, Stride: s.Dim}
}

func (t *multiHeadTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, nil, grads, func(dout, dq, dk, dv rows) {
		t.mixer.dotProduct().backward(t.operands(), dout, dq, dk, dv)
	})
}

// backward takes gradients back, through the attention by attend, and returns those of
// the state of the convolution.
func (t *multiHeadTape) backward(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads, attend func(dout, dq, dk, dv rows)) (dfirst *seqmix.State) {
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
	if t.conv != nil {
		dfirst = t.conv.BackwardSegment(d.q, d.q, dlast, grads)
	}
	if c.Layout.Fused() {
		m.linear.q.Backward(dsrc, d.q, t.src, grads)
	} else {
		apart := m.takeApart(d, s)
		if m.conv != nil {
			m.eachPart(d, apart, func(side, apart rows, width int) { copyRows(apart, side, t.src.Batch, t.src.Len, width) })
		}
		m.linear.q.Backward(dsrc, apart.q, t.src, grads)
		m.linear.k.BackwardAdd(dsrc, apart.k, t.src, grads)
		m.linear.v.BackwardAdd(dsrc, apart.v, t.src, grads)
	}
	tensor.PutScratch(s)
	return dfirst
}

// takeQKV returns memory for the gradients of queries, keys and values.
func (t *multiHeadTape) takeQKV(s *tensor.Scratch) qkv {
	take := func(x tensor.Seq) tensor.Seq { return s.TakeSeq(x.Batch, x.Len, x.Dim) }
	return qkv{take(t.qkv.q), take(t.qkv.k), take(t.qkv.v)}
}
