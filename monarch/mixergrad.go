package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (m *Mixer) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.Mixer.Record"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. It computes the forward pass again, and holds about a dozen
// vectors of width Dim for each position.
//
// The gradients of the taps of both sides go through the networks that make them. D is part
// of the tap of lag 0, and its gradient is that of the tap.
func (m *Mixer) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "monarch.Mixer.Backward"
	tape.Check(op, dsrc, ddst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := tensor.GetScratch()
	p := newMixerPass(m, src, grads, s)
	p.forward()
	du := p.backward(ddst)
	if m.norm != nil {
		m.norm.Backward(dsrc, du, src, grads)
	} else {
		tensor.Copy(dsrc, du)
	}
	tensor.PutScratch(s)
}

// A mixerPass is one backward pass.
type mixerPass struct {
	*Mixer
	grads     seqmix.Grads
	scratch   *tensor.Scratch
	u         tensor.Seq // src, or normalised
	projected tensor.Seq // in front of the short convolution
	chunks    tensor.Seq // behind it, x1, x2 and v; later their gradient
	x, y      tensor.Seq // v·x1; behind the long convolution
	sum       tensor.Seq // what the last projection is applied to
}

func newMixerPass(m *Mixer, src tensor.Seq, grads seqmix.Grads, s *tensor.Scratch) *mixerPass {
	p := &mixerPass{Mixer: m, grads: grads, scratch: s, u: src}
	d := m.Dim()
	take := func(dim int) tensor.Seq { return s.TakeSeq(src.Batch, src.Len, dim) }
	if m.norm != nil {
		p.u = take(d)
		m.norm.Mix(p.u, src)
	}
	p.projected, p.chunks, p.x, p.y, p.sum = take(3*d), take(3*d), take(d), take(d), take(d)
	return p
}

// chunk returns chunk i of the projections.
func (p *mixerPass) chunk(i int) tensor.Mat {
	d := p.cfg.Dim
	return p.chunks.Mat().Slice(i*d, (i+1)*d)
}

func (p *mixerPass) forward() {
	p.in.Apply(p.projected, p.u)
	p.short.Mix(p.chunks, p.projected)
	gateRows(p.x.Mat(), p.chunk(2), p.chunk(0))
	p.main.bank().upTo(p.u.Len).Mix(p.y, p.x)
	if p.secondary == nil {
		gateRows(p.sum.Mat(), p.y.Mat(), p.chunk(1))
		return
	}
	p.secondary.bank().upTo(p.u.Len).Mix(p.sum, p.u)
	r := p.scratch.TakeSeq(p.y.Batch, p.y.Len, p.y.Dim)
	gateRows(r.Mat(), p.y.Mat(), p.chunk(1))
	kernel.Add(p.sum.Data, p.sum.Data, r.Data)
}

// backward returns the gradient of u.
func (p *mixerPass) backward(ddst tensor.Seq) tensor.Seq {
	d, du := p.scratch.TakeSeq(p.y.Batch, p.y.Len, p.y.Dim), p.scratch.TakeSeq(p.y.Batch, p.y.Len, p.y.Dim)
	p.out.Backward(d, ddst, p.sum, p.grads)
	if p.secondary != nil {
		p.secondary.backward(du, d, p.u, p.grads, p.scratch)
	} else {
		clear(du.Data)
	}
	dy := p.sum
	gateRows(dy.Mat(), d.Mat(), p.chunk(1))
	gateRows(p.chunk(1), d.Mat(), p.y.Mat())
	p.main.backward(dy, dy, p.x, p.grads, p.scratch)
	gateRows(d.Mat(), dy.Mat(), p.chunk(2)) // of x1
	gateRows(p.chunk(2), dy.Mat(), p.chunk(0))
	for i := range p.chunk(0).Rows {
		copy(p.chunk(0).Row(i), d.Mat().Row(i))
	}
	p.short.Backward(p.chunks, p.chunks, p.projected, p.grads)
	p.in.BackwardAdd(du, p.chunks, p.u, p.grads)
	return du
}

// backward computes, from the gradient ddst of the result of the convolution of src, the
// gradient dsrc, and adds those of the parameters to grads. dsrc may be ddst.
func (f *filter) backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads, s *tensor.Scratch) {
	conv := f.bank().upTo(src.Len)
	if f.frozen(grads) {
		conv.Transpose(dsrc, ddst)
		return
	}
	dh, dg := tape.Zeros(s, src.Len, src.Dim), tensor.Mat{}
	if f.rev != nil {
		dg = tape.Zeros(s, src.Len, src.Dim)
	}
	conv.Backward(dsrc, ddst, src, dh, dg)
	if dd := grads.Of(f.d); dd != nil {
		kernel.Add(dd, dd, dh.Row(0))
	}
	f.tapsGrad(dh, f.fwd, grads)
	if f.rev != nil {
		f.tapsGrad(dg.SliceRows(1, dg.Rows), f.rev, grads)
	}
}

func (f *filter) frozen(grads seqmix.Grads) bool {
	for _, p := range f.params() {
		if grads.Of(p.Param) != nil {
			return false
		}
	}
	return true
}

// tapsGrad adds the gradients of the parameters of a network from those of its taps.
func (f *filter) tapsGrad(dh tensor.Mat, network *nn.ImplicitFilter, grads seqmix.Grads) {
	if f.wMod == 1 {
		network.Backward(dh, grads)
		return
	}
	scaled, freq := f.scaled(network), grads[network.Freq]
	own := seqmix.Grads{}
	for _, p := range network.Params() {
		if g := grads[p]; g != nil && p != network.Freq {
			own[p] = g
		}
	}
	if freq != nil {
		own[scaled.Freq] = tensor.New(freq.Shape()...)
	}
	scaled.Backward(dh, own)
	if freq != nil {
		kernel.Axpy(f.wMod, own.Of(scaled.Freq), freq.Data())
	}
}
