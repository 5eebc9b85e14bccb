package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (m *Layer) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.Layer.Record"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. It computes the forward pass again.
func (m *Layer) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "monarch.Layer.Backward"
	tape.Check(op, dsrc, ddst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := tensor.GetScratch()
	p := newLayerPass(m, grads, s)
	for b := range src.Batch {
		p.run(dsrc.Sequence(b), ddst.Sequence(b), src.Sequence(b))
	}
	if dk := grads.Of(m.nKernel); dk != nil {
		n, d := m.cfg.LMax, m.cfg.Dim
		sums := s.Take(n * d)
		kernel.Transpose(sums, n, p.dkernels.Data, d, n, d)
		kernel.Add(dk, dk, sums)
	}
	tensor.PutScratch(s)
}

// A layerPass is one backward pass. The matrices have a row for each position up to LMax.
type layerPass struct {
	*Layer
	grads seqmix.Grads

	kernels, dkernels tensor.Mat // K
	x                 tensor.Mat // the input
	a, mixed          tensor.Mat // M1·x; relu(K ⊙ a)
	u                 tensor.Mat
	y, gated, sum     tensor.Mat // M3·u; relu(k ⊙ y); in front of the norm
	d, du             tensor.Mat
}

func newLayerPass(m *Layer, grads seqmix.Grads, s *tensor.Scratch) *layerPass {
	n, d := m.cfg.LMax, m.cfg.Dim
	p := &layerPass{Layer: m, grads: grads}
	for _, t := range []*tensor.Mat{&p.kernels, &p.dkernels, &p.x, &p.a, &p.mixed, &p.u, &p.y, &p.gated, &p.sum, &p.d, &p.du} {
		*t = tape.Zeros(s, n, d)
	}
	kernel.Transpose(p.kernels.Data, d, m.nKernel.Data(), n, d, n)
	return p
}

// run computes the gradients of one sequence.
func (p *layerPass) run(dsrc, ddst, src tensor.Seq) {
	n := src.Len
	p.forward(src)
	p.channelGrad(ddst, n)
	// Later rows of u are not used.
	clear(p.du.Data[n*p.du.Cols:])
	p.m2.matrix.BackwardColumns(p.d, p.du, p.mixed, p.grads)
	kernel.ReLUGrad(p.d.Data, p.mixed.Data, p.d.Data)
	kernel.MulAdd(p.dkernels.Data, p.d.Data, p.a.Data)
	kernel.Mul(p.d.Data, p.d.Data, p.kernels.Data)
	p.m1.matrix.BackwardColumns(p.d, p.d, p.x, p.grads)
	for t := range n {
		copy(dsrc.At(0, t), p.d.Row(t))
	}
}

func (p *layerPass) forward(src tensor.Seq) {
	n := src.Len
	for t := range n {
		copy(p.x.Row(t), src.At(0, t))
	}
	clear(p.x.Data[n*p.x.Cols:])
	p.m1.matrix.ApplyColumns(p.a, p.x)
	kernel.Mul(p.mixed.Data, p.a.Data, p.kernels.Data)
	kernel.ReLU(p.mixed.Data, p.mixed.Data)
	p.m2.matrix.ApplyColumns(p.u, p.mixed)
	y, gated, sum := p.y.SliceRows(0, n), p.gated.SliceRows(0, n), p.sum.SliceRows(0, n)
	p.m3.matrix.Apply(y, p.u.SliceRows(0, n))
	for t := range n {
		kernel.Mul(gated.Row(t), y.Row(t), p.dKernel.Data())
		kernel.ReLU(gated.Row(t), gated.Row(t))
	}
	p.m4.matrix.Apply(sum, gated)
	for t := range n {
		kernel.Add(sum.Row(t), sum.Row(t), p.u.Row(t))
	}
}

// channelGrad makes du the gradient of the first n rows of u.
func (p *layerPass) channelGrad(ddst tensor.Seq, n int) {
	d, du, y, gated := p.d.SliceRows(0, n), p.du.SliceRows(0, n), p.y.SliceRows(0, n), p.gated.SliceRows(0, n)
	seq := func(m tensor.Mat) tensor.Seq { return tensor.SeqOf(m.Data[:n*m.Cols], 1, n, m.Cols) }
	p.norm.Backward(seq(du), ddst, seq(p.sum), p.grads)
	p.m4.matrix.Backward(d, du, gated, p.grads)
	for t := range n {
		kernel.ReLUGrad(d.Row(t), gated.Row(t), d.Row(t))
		kernel.Mul(y.Row(t), y.Row(t), d.Row(t)) // of k
		kernel.Mul(d.Row(t), d.Row(t), p.dKernel.Data())
	}
	addRows(p.grads.Of(p.dKernel), y)
	p.m3.matrix.Backward(d, d, p.u.SliceRows(0, n), p.grads)
	for t := range n {
		kernel.Add(du.Row(t), du.Row(t), d.Row(t))
	}
}
