package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (m *PolynomialMixer) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.PolynomialMixer.Record"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the kernel and
// the bases to grads: see [Convolution.Backward]. dsrc may be ddst. It panics as Mix does.
func (m *PolynomialMixer) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "monarch.PolynomialMixer.Backward"
	tape.Check(op, dsrc, ddst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	t := m.current()
	if t.err != nil {
		panic(t.err)
	}
	s := tensor.GetScratch()
	n, d := t.conv.Len(), src.Dim
	p := t.conv.newPass(d, grads, s)
	copy(p.v.Data, t.values.Data)
	x, dx, dy := tape.Zeros(s, n, d), tape.Zeros(s, n, d), tape.Zeros(s, n, d)
	for b := range src.Batch {
		for i := range src.Len {
			copy(x.Row(i), src.At(b, i))
			copy(dy.Row(i), ddst.At(b, i))
		}
		p.run(dx, dy, x)
		for i := range src.Len {
			copy(dsrc.At(b, i), dx.Row(i))
		}
	}
	k := tape.Zeros(s, n, d)
	copy(k.Data, m.kernel.Data())
	p.finish(dx, k)
	if dk := grads.Of(m.kernel); dk != nil {
		kernel.Add(dk, dk, dx.Data[:len(dk)])
	}
	tensor.PutScratch(s)
}
