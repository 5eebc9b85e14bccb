package ssm

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: the input, what in_proj makes of it and
// the outputs of the states, of all ranks. States are computed again, one for every 64
// keys of a head at a time.
func (m *Mamba3) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.Mamba3.Record", dst, src, m.Dim())
	return m.record(dst, src, nil, nil), nil
}

func (m *Mamba3) record(dst, src tensor.Seq, first, state *seqmix.State) recurrentTape {
	t := &mamba3Tape{
		mixer: m, src: keep(dst, src), first: first,
		proj: tensor.GetSeq(src.Batch, src.Len, m.cfg.projWidth()), y: tensor.GetSeq(src.Batch, src.Len, m.cfg.rank()*m.cfg.DInner),
	}
	eachGroup(src, func(first, n int) { t.record(sequences(dst, first, n), first, state) })
	return t
}

// mamba3Tape is the memory of a Record.
type mamba3Tape struct {
	mixer *Mamba3
	src   tensor.Seq
	proj  tensor.Seq // what in_proj makes of src
	y     tensor.Seq // of the states, in front of the gates, rank by rank
	first *seqmix.State
}

// Release gives back what the tape keeps.
func (t *mamba3Tape) Release() {
	tensor.PutSeq(t.proj, t.y)
	*t = mamba3Tape{}
}

func (t *mamba3Tape) record(dst tensor.Seq, first int, state *seqmix.State) {
	m, n := t.mixer, dst.Batch
	s := tensor.GetScratch()
	kept := sequences(t.proj, first, n).Mat()
	m.inProj.ApplyMat(kept, rowmat.Gather(sequences(t.src, first, n), s))
	p := t.pass(first, n, s)
	k := p.block()
	k.z, k.open, k.out = p.parts.z, p.y, p.parts.x
	k.run()
	if state != nil {
		mamba3Part(state, first, n).copyFrom(k.export(paramlist.Data(m.mimoX)))
	}
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = takeMat(s, kept.Rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, p.parts.x)
	rowmat.Scatter(dst, out)
	tensor.PutScratch(s)
}

// A mamba3Pass is some sequences of a tape on their way.
type mamba3Pass struct {
	*mamba3Tape
	*tensor.Scratch
	from, sequences, length int
	src                     tensor.Seq
	raw, y                  tensor.Mat
	proj                    tensor.Mat // raw, with B and C normalised and speeds for angles
	parts                   mamba3Parts
	grads                   seqmix.Grads
	states                  stateGrads
	dproj, dy               tensor.Mat
}

func (t *mamba3Tape) pass(first, n int, s *tensor.Scratch) *mamba3Pass {
	m := t.mixer
	p := &mamba3Pass{
		mamba3Tape: t, Scratch: s, from: first, sequences: n, length: t.src.Len,
		src: sequences(t.src, first, n), raw: sequences(t.proj, first, n).Mat(), y: sequences(t.y, first, n).Mat(),
	}
	p.proj = takeMat(s, p.raw.Rows, p.raw.Cols)
	copyMat(p.proj, p.raw)
	p.parts = m.cfg.split(p.proj)
	par.Do(p.raw.Rows, convGrain/(2*m.cfg.keyWidth())+1, &mamba3Norms{m, p.parts})
	return p
}

// block returns the block of the way forth, without gates, from the states in front.
func (p *mamba3Pass) block() rotaryBlock {
	m, q := p.mixer, p.parts
	states := new(rotaryStates)
	z, r := m.cfg.sizes()
	states.begin(z, r, p.sequences)
	states.reset()
	if p.first != nil {
		states.set(mamba3Part(p.first, p.from, p.sequences))
	}
	return rotaryBlock{
		rotaryStates: states, sequences: p.sequences, length: p.length,
		x: q.x, b: q.b, c: q.c, angles: q.angles,
		rotarySteps: rotarySteps{
			delta: q.delta, deltaBias: m.dtBias.Data(), rate: q.rate, floor: m.cfg.AFloor, act: m.cfg.AActivation, trap: q.trap,
		},
		rotaryWeights: m.weights(tensor.Mat{}),
	}
}

// Backward computes the gradients of what Record computed.
func (t *mamba3Tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward("ssm.Mamba3.Backward", dsrc, ddst, grads, stateGrads{})
}

func (t *mamba3Tape) backward(op string, dsrc, ddst tensor.Seq, grads seqmix.Grads, d stateGrads) {
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, t.mixer.Dim())
	tensor.CheckMix(op, dsrc, ddst, t.mixer.Dim())
	eachGroup(ddst, func(first, n int) {
		s := tensor.GetScratch()
		p := t.pass(first, n, s)
		p.grads, p.states = grads, d
		p.back(sequences(dsrc, first, n), sequences(ddst, first, n))
		tensor.PutScratch(s)
	})
}

func (p *mamba3Pass) back(dsrc, ddst tensor.Seq) {
	m, rows, e := p.mixer, p.raw.Rows, p.mixer.cfg.DInner
	p.dproj, p.dy = takeMat(p.Scratch, rows, p.raw.Cols), takeMat(p.Scratch, rows, p.y.Cols)
	dout, mixed, dmixed := rowmat.Gather(ddst, p.Scratch), takeMat(p.Scratch, rows, e), takeMat(p.Scratch, rows, e)
	tensor.MatMul(dmixed, dout, m.outProj.Weight)
	p.gatesBack(mixed, dmixed)
	addLinearGrads(m.outProj, dout, mixed, p.grads)
	p.statesBack()
	addLinearGrads(m.inProj, p.dproj, rowmat.Gather(p.src, p.Scratch), p.grads)
	din := rowmat.Of(dsrc)
	if din.Data == nil {
		din = takeMat(p.Scratch, rows, dsrc.Dim)
	}
	tensor.MatMul(din, p.dproj, m.inProj.Weight)
	rowmat.Scatter(dsrc, din)
}

// ofRank returns the weights of a rank for all channels, of w of shape (heads, rank, p).
func (m *Mamba3) ofRank(w []float32, r int, s *tensor.Scratch) []float32 {
	p, rank := m.cfg.HeadDim, m.cfg.rank()
	v := s.Take(m.cfg.DInner)
	for h := range m.cfg.DInner / p {
		copy(v[h*p:(h+1)*p], w[(h*rank+r)*p:])
	}
	return v
}

// addOfRank adds the sums of the columns of m to what belongs to rank r in grad.
func (p *mamba3Pass) addOfRank(grad []float32, m tensor.Mat, r int) {
	if grad == nil {
		return
	}
	width, rank := p.mixer.cfg.HeadDim, p.mixer.cfg.rank()
	sum := p.Take(m.Cols)
	clear(sum)
	addRows(sum, m)
	for h := range m.Cols / width {
		at := grad[(h*rank+r)*width:][:width]
		kernel.Add(at, at, sum[h*width:(h+1)*width])
	}
}

// gatesBack computes the input of out_proj, mixed, again, and takes the gradient of it
// back to the outputs of the states and the gates.
func (p *mamba3Pass) gatesBack(mixed, dmixed tensor.Mat) {
	m, e, dz := p.mixer, p.mixer.cfg.DInner, p.mixer.cfg.split(p.dproj).z
	if m.mimoX == nil {
		p.gateForth(mixed, p.y, p.parts.z)
		p.gateBack(p.dy, dz, dmixed, p.y, p.parts.z)
		return
	}
	out, dgated, gate, dgate := takeMat(p.Scratch, mixed.Rows, e), takeMat(p.Scratch, mixed.Rows, e), takeMat(p.Scratch, mixed.Rows, e), takeMat(p.Scratch, mixed.Rows, e)
	clear(mixed.Data)
	for i := range dz.Rows {
		clear(dz.Row(i))
	}
	for r := range m.cfg.rank() {
		y, dy := p.y.Slice(r*e, (r+1)*e), p.dy.Slice(r*e, (r+1)*e)
		wz, wo := m.ofRank(m.mimoZ.Data(), r, p.Scratch), m.ofRank(m.mimoO.Data(), r, p.Scratch)
		eachRow(gate.Rows, e, func(i int) { kernel.Mul(gate.Row(i), p.parts.z.Row(i), wz) })
		p.gateForth(out, y, gate)
		eachRow(out.Rows, e, func(i int) {
			kernel.MulAdd(mixed.Row(i), out.Row(i), wo)
			kernel.Mul(out.Row(i), out.Row(i), dmixed.Row(i))
			kernel.Mul(dgated.Row(i), dmixed.Row(i), wo)
		})
		p.addOfRank(gradOf(p.grads, m.mimoO), out, r)
		p.gateBack(dy, dgate, dgated, y, gate)
		eachRow(dgate.Rows, e, func(i int) {
			kernel.MulAdd(dz.Row(i), dgate.Row(i), wz)
			kernel.Mul(dgate.Row(i), dgate.Row(i), p.parts.z.Row(i))
		})
		p.addOfRank(gradOf(p.grads, m.mimoZ), dgate, r)
	}
}

// gateForth applies the norm, if there is one, and the gate z to y.
func (p *mamba3Pass) gateForth(dst, y, z tensor.Mat) {
	norm := p.mixer.norm
	eachRow(dst.Rows, dst.Cols, func(i int) {
		if norm != nil {
			norm.row(dst.Row(i), y.Row(i), z.Row(i))
		} else {
			kernel.SiLUMul(dst.Row(i), z.Row(i), y.Row(i))
		}
	})
}

// gateBack computes the gradients of y and z from that of what gateForth computed.
func (p *mamba3Pass) gateBack(dy, dz, d, y, z tensor.Mat) {
	if norm := p.mixer.norm; norm != nil {
		norm.backward(dy, dz, d, y, z, p.grads)
		return
	}
	eachRow(y.Rows, y.Cols, func(i int) {
		kernel.Mul(dy.Row(i), d.Row(i), y.Row(i))
		kernel.SiLUGrad(dz.Row(i), z.Row(i), dy.Row(i))
		kernel.SiLUMul(dy.Row(i), z.Row(i), d.Row(i))
	})
}

// statesBack takes the gradient of the outputs of the states back to what in_proj made.
func (p *mamba3Pass) statesBack() {
	m, q, raw := p.mixer, p.mixer.cfg.split(p.dproj), p.mixer.cfg.split(p.raw)
	k := &rotaryBack{
		rotaryBlock: p.block(), dy: p.dy,
		dx: q.x, ddelta: q.delta, drate: q.rate, dtrap: q.trap, db: q.b, dc: q.c, dspeeds: q.angles,
	}
	p.loadStates(k)
	k.run(p.Scratch)
	p.storeStates(k)
	add := func(param *tensor.Tensor, rows tensor.Mat) {
		if g := gradOf(p.grads, param); g != nil {
			addRows(g, rows)
		}
	}
	add(m.dtBias, q.delta)
	add(m.d, k.dd)
	add(m.bBias, k.dbBias)
	add(m.cBias, k.dcBias)
	add(m.mimoX, k.dMimo)
	p.normBack(m.bNorm, q.b, raw.b)
	p.normBack(m.cNorm, q.c, raw.c)
	eachRow(q.angles.Rows, q.angles.Cols, func(i int) {
		kernel.TanhGrad(q.angles.Row(i), raw.angles.Row(i), q.angles.Row(i))
		kernel.Scale(q.angles.Row(i), math.Pi, q.angles.Row(i))
	})
}

// normBack takes the gradient d of keys or queries back through their norm, in place.
func (p *mamba3Pass) normBack(n *nn.RMSNorm, d, x tensor.Mat) {
	dy, in := takeMat(p.Scratch, d.Rows, d.Cols), takeMat(p.Scratch, d.Rows, d.Cols)
	copyMat(dy, d)
	copyMat(in, x)
	vectors := len(dy.Data) / n.Dim()
	g := tensor.SeqOf(dy.Data, 1, vectors, n.Dim())
	n.Backward(g, g, tensor.SeqOf(in.Data, 1, vectors, n.Dim()), p.grads)
	copyMat(d, dy)
}
