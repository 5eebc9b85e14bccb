package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: the input, what in_proj makes of it and
// the output of the states. States are computed again, one for every 64 positions of a
// head at a time.
func (m *Mamba2) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.Mamba2.Record", dst, src, m.Dim())
	return m.record(dst, src, nil, nil), nil
}

func (m *Mamba2) record(dst, src tensor.Seq, first, state *seqmix.State) recurrentTape {
	t := &mamba2Tape{
		mixer: m, src: keep(dst, src), first: first,
		proj: tensor.GetSeq(src.Batch, src.Len, m.cfg.projWidth()), y: tensor.GetSeq(src.Batch, src.Len, m.cfg.DSSM),
	}
	eachGroup(src, func(first, n int) { t.record(sequences(dst, first, n), first, state) })
	return t
}

// mamba2Tape is the memory of a Record.
type mamba2Tape struct {
	mixer *Mamba2
	src   tensor.Seq
	proj  tensor.Seq // what in_proj makes of src
	y     tensor.Seq // of the states, in front of the gate
	first *seqmix.State
}

// Release gives back what the tape keeps.
func (t *mamba2Tape) Release() {
	tensor.PutSeq(t.proj, t.y)
	*t = mamba2Tape{}
}

func (t *mamba2Tape) record(dst tensor.Seq, first int, state *seqmix.State) {
	m, n := t.mixer, dst.Batch
	s := m.borrow(n)
	if state != nil {
		s.SetState(statePart(state, 0, first, n), statePart(state, 1, first, n))
	}
	s.scratch.Reset()
	kept := sequences(t.proj, first, n).Mat()
	m.inProj.ApplyMat(kept, rowmat.Gather(sequences(t.src, first, n), &s.scratch))
	proj := takeMat(&s.scratch, kept.Rows, kept.Cols)
	copyMat(proj, kept)
	s.advance(proj, 0, n, &s.scratch)
	copyMat(sequences(t.y, first, n).Mat(), m.cfg.split(proj).x)
	mixed := s.gate(proj)
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = takeMat(&s.scratch, mixed.Rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, mixed)
	rowmat.Scatter(dst, out)
	if state != nil {
		conv, states := s.State()
		copy(statePart(state, 0, first, n).Data(), conv.Data())
		copy(statePart(state, 1, first, n).Data(), states.Data())
	}
	s.giveBack()
}

// Backward computes the gradients of what Record computed.
func (t *mamba2Tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward("ssm.Mamba2.Backward", dsrc, ddst, grads, stateGrads{})
}

func (t *mamba2Tape) backward(op string, dsrc, ddst tensor.Seq, grads seqmix.Grads, d stateGrads) {
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, t.mixer.Dim())
	tensor.CheckMix(op, dsrc, ddst, t.mixer.Dim())
	eachGroup(ddst, func(first, n int) {
		s := tensor.GetScratch()
		p := &mamba2Pass{
			mamba2Tape: t, from: first, sequences: n, length: t.src.Len, Scratch: s, grads: grads, states: d,
			src: sequences(t.src, first, n), proj: sequences(t.proj, first, n).Mat(), y: sequences(t.y, first, n).Mat(),
		}
		p.back(sequences(dsrc, first, n), sequences(ddst, first, n))
		tensor.PutScratch(s)
	})
	if t.src.Len == 0 && t.first == nil && d.last != nil {
		t.addInitialGrads(grads, d.last.Tensors[1].Float32s())
	}
}

// addInitialGrads adds the gradients of states at the beginning of sequences.
func (t *mamba2Tape) addInitialGrads(grads seqmix.Grads, d []float32) {
	if g := gradOf(grads, t.mixer.initStates); g != nil {
		addRows(g, tensor.MatOf(d, len(d)/len(g), len(g)))
	}
}

// A mamba2Pass takes some sequences of a tape back.
type mamba2Pass struct {
	*mamba2Tape
	*tensor.Scratch
	from, sequences, length int
	src                     tensor.Seq
	proj, y                 tensor.Mat
	dproj                   tensor.Mat
	grads                   seqmix.Grads
	states                  stateGrads
}

// part returns the part of tensor i of a state that belongs to the pass.
func (p *mamba2Pass) part(s *seqmix.State, i int) *tensor.Tensor {
	return statePart(s, i, p.from, p.sequences)
}

func (p *mamba2Pass) back(dsrc, ddst tensor.Seq) {
	m, rows := p.mixer, p.proj.Rows
	p.dproj = takeMat(p.Scratch, rows, p.proj.Cols)
	dmixed, mixed := takeMat(p.Scratch, rows, m.cfg.DInner), takeMat(p.Scratch, rows, m.cfg.DInner)
	parts := m.cfg.split(p.proj)
	gate := mamba2Gate{mlp: m.cfg.mlpWidth(), norm: m.norm, mixed: mixed, branch: parts.branch, y: p.y, z: parts.z}
	eachRow(rows, mixed.Cols, func(i int) { gate.Run(i, i+1) })
	dout := rowmat.Gather(ddst, p.Scratch)
	addLinearGrads(m.outProj, dout, mixed, p.grads)
	tensor.MatMul(dmixed, dout, m.outProj.Weight)

	dy := takeMat(p.Scratch, rows, m.cfg.DSSM)
	p.gateBack(dmixed, dy)
	p.statesBack(dy)
	addLinearGrads(m.inProj, p.dproj, rowmat.Gather(p.src, p.Scratch), p.grads)
	din := rowmat.Of(dsrc)
	if din.Data == nil {
		din = takeMat(p.Scratch, rows, dsrc.Dim)
	}
	tensor.MatMul(din, p.dproj, m.inProj.Weight)
	rowmat.Scatter(dsrc, din)
}

// gateBack computes, from the gradient of the input of out_proj, that of the output of
// the states, dy, and those of the gate and of the branch that passes by.
func (p *mamba2Pass) gateBack(dmixed, dy tensor.Mat) {
	m, mlp := p.mixer, p.mixer.cfg.mlpWidth()
	parts, grads := m.cfg.split(p.proj), m.cfg.split(p.dproj)
	dgated := dmixed.Slice(mlp, dmixed.Cols)
	if mlp > 0 {
		eachRow(dmixed.Rows, mlp, func(i int) {
			d, branch, dbranch := dmixed.Row(i)[:mlp], parts.branch.Row(i), grads.branch.Row(i)
			kernel.SiLUMul(dbranch[mlp:], branch[:mlp], d)
			kernel.Mul(d, d, branch[mlp:])
			kernel.SiLUGrad(dbranch[:mlp], branch[:mlp], d)
		})
	}
	if m.norm != nil {
		m.norm.backward(dy, grads.z, dgated, p.y, parts.z, p.grads)
		return
	}
	eachRow(dy.Rows, dy.Cols, func(i int) {
		kernel.Mul(dy.Row(i), dgated.Row(i), p.y.Row(i))
		kernel.SiLUGrad(grads.z.Row(i), parts.z.Row(i), dy.Row(i))
		kernel.SiLUMul(dy.Row(i), parts.z.Row(i), dgated.Row(i))
	})
}

// statesBack takes the gradient dy of the output of the states back through them and
// the convolution.
func (p *mamba2Pass) statesBack(dy tensor.Mat) {
	m, c, rows := p.mixer, &p.mixer.cfg, p.proj.Rows
	parts, grads := c.split(p.proj), c.split(p.dproj)
	before, after, d := takeMat(p.Scratch, rows, c.convWidth()), takeMat(p.Scratch, rows, c.convWidth()), takeMat(p.Scratch, rows, c.convWidth())
	copyMat(before, parts.xbc)
	conv := newSegmentConv(m.conv, p.part(p.first, 0), seqOf(before, p.sequences), p.Scratch)
	conv.convolve(seqOf(after, p.sequences), p.Scratch)
	keys, z := c.keyWidth(), c.heads()
	tables := m.tables()
	k := &ssdBack{
		headSizes: z, sequences: p.sequences, length: p.length, skip: skipOf(m.d, z.heads),
		ssdSteps: ssdSteps{delta: parts.delta, deltaBias: m.dtBias.Data(), softplus: true, limit: c.DTLimit, rates: tables.rates},
		x:        after.Slice(0, c.DSSM), b: after.Slice(c.DSSM, c.DSSM+keys), c: after.Slice(c.DSSM+keys, c.DSSM+2*keys),
		dy: dy, dx: d.Slice(0, c.DSSM), db: d.Slice(c.DSSM, c.DSSM+keys), dc: d.Slice(c.DSSM+keys, c.DSSM+2*keys),
		ddelta: grads.delta,
	}
	k.initial, k.dlast, k.dinitial = paramlist.Data(p.part(p.first, 1)), paramlist.Data(p.part(p.states.last, 1)), paramlist.Data(p.part(p.states.first, 1))
	begins := m.initStates != nil && p.first == nil
	if begins {
		k.initial, k.repeated = m.initStates.Data(), true
		k.dinitial = p.Take(p.sequences * z.plainLen())
		clear(k.dinitial)
	}
	k.run(p.Scratch)
	k.addRateGrads(p.grads.Of(m.aLog), tables.rates) // A is -exp(A_log), and so is its derivative
	k.addSkipGrads(p.grads.Of(m.d))
	if g := p.grads.Of(m.dtBias); g != nil {
		addRows(g, grads.delta)
	}
	if begins {
		p.addInitialGrads(p.grads, k.dinitial)
	}
	conv.back(seqOf(d, p.sequences), p.part(p.states.last, 0), p.part(p.states.first, 0), p.grads, p.Scratch)
	copyMat(grads.xbc, d)
}
