package based

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, queries, keys and values, the result
// of attention, and one number for each head. The error wraps errors.ErrUnsupported if
// the feature map is no [DifferentiableMap].
func (m *LinearAttention) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("based.LinearAttention.Record", dst, src, m.Dim())
	t := new(linearTape)
	return t, m.record(t, dst, src, func(out, q, k, v tensor.Seq) (err error) {
		t.attention, err = m.attention.Record(out, q, k, v)
		return err
	})
}

// record records src on t, with attend for the attention.
func (m *LinearAttention) record(t *linearTape, dst, src tensor.Seq, attend func(out, q, k, v tensor.Seq) error) error {
	t.mixer, t.src = m, keep(dst, src)
	wide := func(n int) tensor.Seq { return tensor.GetSeq(src.Batch, src.Len, n) }
	q, k, v := wide(m.q.Out()), wide(m.k.Out()), wide(m.v.Out())
	if m.paired() {
		m.pairApply(q, k, src)
	} else {
		m.q.Apply(q, src)
		m.k.Apply(k, src)
	}
	m.v.Apply(v, src)
	out := wide(m.v.Out())
	if err := attend(out, q, k, v); err != nil {
		return err
	}
	m.proj.Apply(dst, out)
	return nil
}

// keep returns src, or a copy if dst is about to overwrite it.
func keep(dst, src tensor.Seq) tensor.Seq {
	if !dst.SameMemory(src) {
		return src
	}
	c := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(c, src)
	return c
}

type linearTape struct {
	mixer     *LinearAttention
	src       tensor.Seq
	attention *AttentionTape
}

// Release gives back what the tape keeps, which the attention between the projections
// refers to.
func (t *linearTape) Release() {
	a := t.attention
	tensor.PutSeq(a.q, a.k, a.v, a.out, a.inverse)
	*t = linearTape{}
}

func (t *linearTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, grads, nil)
}

// backward is Backward with, of a segment, the gradients of the sums.
func (t *linearTape) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads, sums *sumGrads) {
	m, a := t.mixer, t.attention
	checkBackward("based.LinearAttention.Backward", dsrc, ddst, t.src)
	s := tensor.GetScratch()
	take := func(x tensor.Seq) tensor.Seq { return s.TakeSeq(x.Batch, x.Len, x.Dim) }
	dout, dq, dk, dv := take(a.out), take(a.q), take(a.k), take(a.v)
	m.proj.Backward(dout, ddst, a.out, grads)
	a.backward(dq, dk, dv, dout, grads, sums)
	if m.paired() {
		m.pairBackward(dsrc, dq, dk, t.src, grads)
	} else {
		m.q.Backward(dsrc, dq, t.src, grads)
		m.k.BackwardAdd(dsrc, dk, t.src, grads)
	}
	m.v.BackwardAdd(dsrc, dv, t.src, grads)
	tensor.PutScratch(s)
}

// checkBackward panics with a *tensor.ShapeError unless all have the shape of src.
func checkBackward(op string, dsrc, ddst, src tensor.Seq) {
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, src.Dim)
	tensor.CheckMix(op, dsrc, ddst, src.Dim)
}
