package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: the input and four vectors of about E
// channels for each position, and the states at every 32nd.
func (m *Mamba) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.Mamba.Record", dst, src, m.Dim())
	return m.record(dst, src, nil, nil), nil
}

func (m *Mamba) record(dst, src tensor.Seq, first, state *seqmix.State) recurrentTape {
	e, low := m.cfg.DInner, int(m.cfg.DTRank)+2*m.cfg.DState
	t := &mambaTape{
		mixer: m, src: keep(dst, src), first: first,
		x: tensor.GetSeq(src.Batch, src.Len, e), z: tensor.GetSeq(src.Batch, src.Len, e), y: tensor.GetSeq(src.Batch, src.Len, e),
		low:    tensor.GetSeq(src.Batch, src.Len, low),
		starts: tensor.GetSeq(src.Batch, 1, m.startsLen(src.Len)),
	}
	eachGroup(src, func(first, n int) {
		s := tensor.GetScratch()
		t.pass(first, n).record(sequences(dst, first, n), state, s)
		tensor.PutScratch(s)
	})
	return t
}

// startsLen returns the number of elements of the states kept of a sequence.
func (m *Mamba) startsLen(length int) int {
	return (length + kernel.ScanSegment - 1) / kernel.ScanSegment * m.stateLen()
}

// mambaTape is the memory of a Record. What is cheap to compute from it is computed
// again on the way back.
type mambaTape struct {
	mixer  *Mamba
	src    tensor.Seq
	x, z   tensor.Seq // halves of the input projection
	low    tensor.Seq // what x_proj gives
	y      tensor.Seq // of the scan, in front of the gate
	starts tensor.Seq // of each sequence: see kernel.Scan
	first  *seqmix.State
}

// Release gives back what the tape keeps.
func (t *mambaTape) Release() {
	tensor.PutSeq(t.x, t.z, t.low, t.y, t.starts)
	*t = mambaTape{}
}

// A mambaPass is some sequences of a tape on their way.
type mambaPass struct {
	*mambaTape
	from, sequences, length int
	src, x, z, y, low       tensor.Seq
	starts                  []float32
	conv                    segmentConv
	u                       tensor.Mat // behind it
	states                  tensor.Mat // in channel blocks, or their gradients: a row for each sequence
	normal                  tensor.Mat // low behind the inner norms
	raw, delta              tensor.Mat // in front of the softplus and behind it
	dy, du, ddelta          tensor.Mat
	dlow, dbc               tensor.Mat
	da, dd                  tensor.Mat // a row for each sequence
}

// pass returns n sequences, from the first on.
func (t *mambaTape) pass(first, n int) *mambaPass {
	size := t.mixer.startsLen(t.src.Len)
	part := func(s tensor.Seq) tensor.Seq { return sequences(s, first, n) }
	return &mambaPass{
		mambaTape: t, from: first, sequences: n, length: t.src.Len,
		src: part(t.src), x: part(t.x), z: part(t.z), y: part(t.y), low: part(t.low),
		starts: t.starts.Data[first*size : (first+n)*size],
	}
}

// part returns the part of tensor i of a state that belongs to the pass.
func (p *mambaPass) part(s *seqmix.State, i int) *tensor.Tensor {
	return statePart(s, i, p.from, p.sequences)
}

func (p *mambaPass) record(dst tensor.Seq, state *seqmix.State, s *tensor.Scratch) {
	m := p.mixer
	e, rows := m.cfg.DInner, p.sequences*p.length
	xz := takeMat(s, rows, 2*e)
	m.inProj.ApplyMat(xz, rowmat.Gather(p.src, s))
	copyMat(p.x.Mat(), xz.Slice(0, e))
	copyMat(p.z.Mat(), xz.Slice(e, 2*e))
	p.prepare(true, s)
	p.takeStates(p.part(state, 1), s)
	par.Do(p.sequences*p.strips(), scanGrain/(p.length*stripWidth)+1, par.Func(p.scan))
	if state != nil {
		p.conv.keepLast(p.part(state, 0))
		p.giveStates(p.part(state, 1))
	}
	gated := takeMat(s, rows, e)
	p.gate(gated)
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = takeMat(s, rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, gated)
	rowmat.Scatter(dst, out)
}

// prepare computes what the scan reads. If low is not known yet, it is computed too.
func (p *mambaPass) prepare(first bool, s *tensor.Scratch) {
	m, rows := p.mixer, p.sequences*p.length
	e, rank := m.cfg.DInner, int(m.cfg.DTRank)
	p.u, p.raw, p.delta = takeMat(s, rows, e), takeMat(s, rows, e), takeMat(s, rows, e)
	p.conv = newSegmentConv(m.conv, p.part(p.first, 0), p.x, s)
	p.conv.convolve(seqOf(p.u, p.sequences), s)
	p.normal = p.low.Mat()
	if first {
		m.xProj.ApplyMat(p.normal, p.u)
	}
	if m.dtNorm != nil {
		p.normal = takeMat(s, rows, p.low.Dim)
		copyMat(p.normal, p.low.Mat())
		m.normalise(p.normal)
	}
	m.dtProj.ApplyMat(p.raw, p.normal.Slice(0, rank))
	eachRow(rows, e, func(i int) { kernel.Softplus(p.delta.Row(i), p.raw.Row(i)) })
}

func (p *mambaPass) strips() int { return (p.mixer.cfg.DInner + stripWidth - 1) / stripWidth }

// blocks returns the blocks of channels of a strip and the sequence it is of.
func (p *mambaPass) blocks(i int) (sequence, lo, hi int) {
	n := p.strips()
	from := i % n * stripWidth
	to := min(from+stripWidth, p.mixer.cfg.DInner)
	return i / n, from / kernel.ScanBlock, (to + kernel.ScanBlock - 1) / kernel.ScanBlock
}

// arguments returns those of the scan of a sequence.
func (p *mambaPass) arguments(sequence int) kernel.Scan {
	m, row := p.mixer, sequence*p.length
	rank, n, size := int(m.cfg.DTRank), m.cfg.DState, m.startsLen(p.length)
	from := func(a tensor.Mat, col int) []float32 { return a.Data[row*a.Stride+col:] }
	return kernel.Scan{
		L: p.length, E: m.cfg.DInner, N: n,
		U: from(p.u, 0), LdU: p.u.Stride, Delta: from(p.delta, 0), LdDelta: p.delta.Stride,
		A: m.tables().rates, D: m.d.Data(),
		B: from(p.normal, rank), LdB: p.normal.Stride, C: from(p.normal, rank+n), LdC: p.normal.Stride,
		Starts: p.starts[sequence*size : (sequence+1)*size],
	}
}

// scan computes y and starts of strips lo to hi-1.
func (p *mambaPass) scan(lo, hi int) {
	for i := lo; i < hi; i++ {
		sequence, from, to := p.blocks(i)
		scan := p.arguments(sequence)
		scan.State = p.states.Row(sequence)
		scan.Y, scan.LdY = p.y.Sequence(sequence).Data, p.y.Dim
		kernel.SelectiveScan(&scan, from, to)
	}
}

// gate writes the output of the scan behind its gate.
func (p *mambaPass) gate(dst tensor.Mat) {
	y, z := p.y.Mat(), p.z.Mat()
	eachRow(dst.Rows, dst.Cols, func(i int) { kernel.SiLUMul(dst.Row(i), z.Row(i), y.Row(i)) })
}

// Backward computes the gradients of what Record computed.
func (t *mambaTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward("ssm.Mamba.Backward", dsrc, ddst, grads, stateGrads{})
}

func (t *mambaTape) backward(op string, dsrc, ddst tensor.Seq, grads seqmix.Grads, d stateGrads) {
	m := t.mixer
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	e, n := m.cfg.DInner, m.cfg.DState
	da, dd := make([]float32, m.stateLen()), make([]float32, e)
	eachGroup(ddst, func(first, n int) {
		s := tensor.GetScratch()
		p := t.pass(first, n)
		p.back(sequences(dsrc, first, n), sequences(ddst, first, n), grads, d, s)
		addRows(da, p.da)
		addRows(dd, p.dd)
		tensor.PutScratch(s)
	})
	if g := grads.Of(m.aLog); g != nil {
		rates, a := make([]float32, e*n), make([]float32, e*n)
		kernel.UnpackState(a, da, e, n)
		kernel.Exp(rates, m.aLog.Data())
		kernel.Mul(a, a, rates)
		kernel.Sub(g, g, a) // A is -exp(A_log), and so is its derivative
	}
	if g := grads.Of(m.d); g != nil {
		kernel.Add(g, g, dd)
	}
}

func (p *mambaPass) back(dsrc, ddst tensor.Seq, grads seqmix.Grads, d stateGrads, s *tensor.Scratch) {
	m, rows := p.mixer, p.sequences*p.length
	e, n, rank := m.cfg.DInner, m.cfg.DState, int(m.cfg.DTRank)
	p.prepare(false, s)
	dout := rowmat.Gather(ddst, s)
	gated, dxz := takeMat(s, rows, e), takeMat(s, rows, 2*e)
	p.gate(gated)
	addLinearGrads(m.outProj, dout, gated, grads)
	tensor.MatMul(gated, dout, m.outProj.Weight)
	p.dy = takeMat(s, rows, e)
	p.gateBack(gated, dxz.Slice(e, 2*e))

	p.du, p.ddelta, p.dlow = gated, takeMat(s, rows, e), takeMat(s, rows, rank+2*n)
	p.dbc = takeMat(s, p.strips()*rows, 2*n)
	p.da, p.dd = takeMat(s, p.sequences, m.stateLen()), takeMat(s, p.sequences, e)
	if d.last != nil || d.first != nil {
		p.takeStates(p.part(d.last, 1), s)
	}
	par.Do(p.sequences*p.strips(), 1, par.Func(p.scanBack))
	if d.first != nil {
		p.giveStates(p.part(d.first, 1))
	}
	p.sumStrips()
	eachRow(rows, e, func(i int) { kernel.SigmoidMul(p.ddelta.Row(i), p.raw.Row(i), p.ddelta.Row(i)) })
	addLinearGrads(m.dtProj, p.ddelta, p.normal.Slice(0, rank), grads)
	tensor.MatMul(p.dlow.Slice(0, rank), p.ddelta, m.dtProj.Weight)
	p.normsBack(grads, s)
	addLinearGrads(m.xProj, p.dlow, p.u, grads)
	tensor.MatMulAdd(p.du, p.dlow, m.xProj.Weight)

	p.conv.back(seqOf(p.du, p.sequences), p.part(d.last, 0), p.part(d.first, 0), grads, s)
	copyMat(dxz.Slice(0, e), p.du)
	addLinearGrads(m.inProj, dxz, rowmat.Gather(p.src, s), grads)
	din := rowmat.Of(dsrc)
	if din.Data == nil {
		din = takeMat(s, rows, dsrc.Dim)
	}
	tensor.MatMul(din, dxz, m.inProj.Weight)
	rowmat.Scatter(dsrc, din)
}

// gateBack computes, from the gradient for the gated output, those for the output, dy,
// and for z.
func (p *mambaPass) gateBack(dgated, dz tensor.Mat) {
	y, z := p.y.Mat(), p.z.Mat()
	eachRow(dgated.Rows, dgated.Cols, func(i int) {
		kernel.Mul(p.dy.Row(i), dgated.Row(i), y.Row(i))
		kernel.SiLUGrad(dz.Row(i), z.Row(i), p.dy.Row(i))
		kernel.SiLUMul(p.dy.Row(i), z.Row(i), dgated.Row(i))
	})
}

// scanBack takes strips lo to hi-1 back through the scan. What a strip adds to the
// gradients of B and C lies in rows of its own.
func (p *mambaPass) scanBack(lo, hi int) {
	m, n := p.mixer, p.mixer.cfg.DState
	s := tensor.GetScratch()
	scratch := s.Take(kernel.ScanGradScratchLen(p.length, n, stripWidth/kernel.ScanBlock))
	for i := lo; i < hi; i++ {
		sequence, from, to := p.blocks(i)
		row := sequence * p.length
		size := kernel.ScanBlock * n
		da, dd := p.da.Row(sequence), p.dd.Row(sequence)
		clear(da[from*size : to*size])
		clear(dd[from*kernel.ScanBlock : min(to*kernel.ScanBlock, len(dd))])
		dbc := p.dbc.SliceRows(i*p.length, (i+1)*p.length)
		clear(dbc.Data[:p.length*dbc.Stride])
		g := kernel.ScanGrad{
			Scan: p.arguments(sequence),
			DY:   p.dy.Data[row*p.dy.Stride:], LdDY: p.dy.Stride,
			DU: p.du.Data[row*p.du.Stride:], LdDU: p.du.Stride,
			DDelta: p.ddelta.Data[row*p.ddelta.Stride:], LdDDelta: p.ddelta.Stride,
			DA: da, DD: dd,
			DB: dbc.Data, LdDB: dbc.Stride, DC: dbc.Data[n:], LdDC: dbc.Stride,
			Scratch: scratch,
		}
		g.State = g.Starts[:m.stateLen()]
		if p.states.Rows > 0 {
			g.DState = p.states.Row(sequence)
		}
		kernel.SelectiveScanGrad(&g, from, to)
	}
	tensor.PutScratch(s)
}

// sumStrips adds up what the strips add to the gradients of B and C.
func (p *mambaPass) sumStrips() {
	rank, strips := int(p.mixer.cfg.DTRank), p.strips()
	eachRow(p.dlow.Rows, strips*p.dbc.Cols, func(i int) {
		sum := p.dlow.Row(i)[rank:]
		sequence, t := i/p.length, i%p.length
		copy(sum, p.dbc.Row(sequence*strips*p.length+t))
		for k := 1; k < strips; k++ {
			kernel.Add(sum, sum, p.dbc.Row((sequence*strips+k)*p.length+t))
		}
	})
}

// normsBack takes the gradient of low back through the inner norms.
func (p *mambaPass) normsBack(grads seqmix.Grads, s *tensor.Scratch) {
	m := p.mixer
	if m.dtNorm == nil {
		return
	}
	rank, n, low := int(m.cfg.DTRank), m.cfg.DState, p.low.Mat()
	normBackward(m.dtNorm, p.dlow.Slice(0, rank), low.Slice(0, rank), grads, s)
	normBackward(m.bNorm, p.dlow.Slice(rank, rank+n), low.Slice(rank, rank+n), grads, s)
	normBackward(m.cNorm, p.dlow.Slice(rank+n, rank+2*n), low.Slice(rank+n, rank+2*n), grads, s)
}
