package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (m *Hyena) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "hyena.Hyena.Record"
	tensor.CheckMix(op, dst, src, m.Dim())
	m.checkLen(op, src, m.cfg.LMax)
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. It computes the forward pass again, and holds about
// 3·Order+5 vectors of the operator's width for each position.
//
// With g_o for the gate in front of convolution o, p_o = v_o·g_o for what it is applied to
// and v_{o+1} for its result,
//
//	dp_o = adjoint of convolution o, of dv_{o+1}
//	dg_o = dp_o·v_o    dv_o = dp_o·g_o    dh_o[i] = Σ_t dv_{o+1}[t]·p_o[t-i]
//
// D is part of tap 0, and its gradient is that of the tap. The gradients of all taps go
// through the network that makes them.
func (m *Hyena) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "hyena.Hyena.Backward"
	tape.Check(op, dsrc, ddst, src, m.Dim())
	m.checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := tensor.GetScratch()
	convs := &implicitConvs{Hyena: m, convs: m.bank().upTo(src.Len), scratch: s}
	if !convs.frozen(grads) {
		convs.dtaps = tape.Zeros(s, src.Len, m.d.Len())
	}
	m.backward(dsrc, ddst, src, convs, grads, s)
	convs.finish(grads)
	tensor.PutScratch(s)
}

// backward computes all gradients but those of D and the filters of an operator with these
// convolutions.
func (m *Hyena) backward(dsrc, ddst, src tensor.Seq, convs passConvs, grads seqmix.Grads, s *tensor.Scratch) {
	p := newHyenaPass(m, src, convs, s)
	m.short.Mix(p.chunks, p.projected)
	p.forward()
	p.backward(ddst, grads)
	m.short.Backward(p.chunks, p.chunks, p.projected, grads)
	m.in.Backward(dsrc, p.chunks, src, grads)
}

// passConvs are the long convolutions of an operator.
type passConvs interface {
	// mix computes convolution o, and grad takes the gradient d of its result to that of
	// its input, which is x.
	mix(o int, dst, src tensor.Seq)
	grad(o int, d, x tensor.Seq)
}

// A hyenaPass is one backward pass.
type hyenaPass struct {
	*Hyena
	convs     passConvs
	projected tensor.Seq   // in front of the short convolution
	chunks    tensor.Seq   // behind it, which the caller computes; later their gradient
	v         []tensor.Mat // v_0 … v_{N-1}
	x, last   tensor.Seq   // temporary; the product with the last gate
	scratch   *tensor.Scratch
}

func newHyenaPass(m *Hyena, src tensor.Seq, convs passConvs, s *tensor.Scratch) *hyenaPass {
	e, n := m.cfg.channels(), m.cfg.Order
	take := func(dim int) tensor.Seq { return s.TakeSeq(src.Batch, src.Len, dim) }
	p := &hyenaPass{Hyena: m, convs: convs, projected: take((n + 1) * e), chunks: take((n + 1) * e), x: take(e), last: take(e), scratch: s}
	m.in.Apply(p.projected, src)
	p.v = []tensor.Mat{p.chunk(n)}
	for range n - 1 {
		p.v = append(p.v, take(e).Mat())
	}
	return p
}

// chunk returns chunk i of the projections.
func (p *hyenaPass) chunk(i int) tensor.Mat {
	e := p.cfg.channels()
	return p.chunks.Mat().Slice(i*e, (i+1)*e)
}

// gate returns the gate in front of convolution o, or, after the last, that of the result.
func (p *hyenaPass) gate(o int) tensor.Mat {
	if p.cfg.Gates == LastFirst {
		o = p.cfg.Order - 1 - o
	}
	return p.chunk(o)
}

// seq returns the rows of a matrix as all positions.
func (p *hyenaPass) seq(m tensor.Mat) tensor.Seq {
	return tensor.SeqOf(m.Data, p.x.Batch, p.x.Len, m.Cols)
}

// forward computes the operator up to the last gate.
func (p *hyenaPass) forward() {
	n := p.cfg.Order
	for o := range n - 1 {
		runGates(p.x.Mat(), p.v[o], p.gate(o))
		p.convs.mix(o, p.seq(p.v[o+1]), p.x)
	}
	runGates(p.last.Mat(), p.v[n-1], p.gate(n-1))
}

// backward makes chunks their gradient.
func (p *hyenaPass) backward(ddst tensor.Seq, grads seqmix.Grads) {
	n := p.cfg.Order
	act := p.cfg.Activation.Of()
	dv := p.scratch.TakeSeq(p.x.Batch, p.x.Len, p.x.Dim)
	tensor.Copy(p.x, p.last)
	applyActivation(act, p.x)
	p.out.Backward(dv, ddst, p.x, grads)
	if act != nn.Identity {
		act.Grad(dv.Data, dv.Data, p.last.Data)
	}
	p.gateGrad(n-1, dv.Mat())
	for o := n - 2; o >= 0; o-- {
		runGates(p.x.Mat(), p.v[o], p.gate(o))
		p.convs.grad(o, dv, p.x)
		p.gateGrad(o, dv.Mat())
	}
	dv0 := p.chunk(n)
	for i := range dv0.Rows {
		copy(dv0.Row(i), dv.Mat().Row(i))
	}
}

// gateGrad takes the gradient d of v_o·g_o to those of both: it makes g_o its own gradient,
// and d that of v_o.
func (p *hyenaPass) gateGrad(o int, d tensor.Mat) {
	gate := p.gate(o)
	runGates(p.x.Mat(), d, p.v[o])
	runGates(d, d, gate)
	for i := range gate.Rows {
		copy(gate.Row(i), p.x.Mat().Row(i))
	}
}

// implicitConvs are convolutions with an implicit filter.
type implicitConvs struct {
	*Hyena
	convs   []*nn.LongConv
	dtaps   tensor.Mat // of the implicit filter; empty if it is frozen
	scratch *tensor.Scratch
}

// frozen reports whether D and the implicit filter have no gradients.
func (c *implicitConvs) frozen(grads seqmix.Grads) bool {
	for _, q := range c.filter.Params() {
		if grads.Of(q) != nil {
			return false
		}
	}
	return grads.Of(c.d) == nil
}

func (c *implicitConvs) mix(o int, dst, src tensor.Seq) { c.convs[o].Mix(dst, src) }

func (c *implicitConvs) grad(o int, d, x tensor.Seq) {
	e, n := c.cfg.channels(), c.cfg.Order-1
	switch {
	case c.dtaps.Rows == 0:
		c.convs[o].Transpose(d, d)
	case c.cfg.Layout == OrderMajor || n == 1:
		c.convs[o].Backward(d, d, x, c.dtaps.Slice(o*e, (o+1)*e), tensor.Mat{})
	default:
		part := tape.Zeros(c.scratch, x.Len, e)
		c.convs[o].Backward(d, d, x, part, tensor.Mat{})
		for i := range part.Rows {
			row := c.dtaps.Row(i)
			for ch, v := range part.Row(i) {
				row[c.filterColumn(o, ch)] = v
			}
		}
	}
}

// finish adds the gradients of D and the implicit filter.
func (c *implicitConvs) finish(grads seqmix.Grads) {
	if c.dtaps.Rows == 0 {
		return
	}
	if dd := grads.Of(c.d); dd != nil {
		kernel.Add(dd, dd, c.dtaps.Row(0))
	}
	c.filter.Backward(c.dtaps, grads)
}
