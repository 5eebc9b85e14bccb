package ssm

import (
	"errors"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: the input, that of the system and its
// output.
func (m *S4Block) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.S4Block.Record", dst, src, m.Dim())
	t := &s4BlockTape{block: m, src: keep(dst, src)}
	err := t.record(dst, src, func(w, v tensor.Seq) (err error) {
		t.system, err = seqmix.Record(m.layer, w, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// record is Record with what records the system.
func (t *s4BlockTape) record(dst, src tensor.Seq, system func(w, v tensor.Seq) error) error {
	m, v := t.block, t.src
	if m.input != nil {
		v = tensor.NewSeq(src.Batch, src.Len, m.layer.Dim())
		m.input.Apply(v, src)
	}
	t.w = tensor.NewSeq(src.Batch, src.Len, m.layer.Dim())
	if err := system(t.w, v); err != nil {
		return err
	}
	eachGroup(src, func(first, n int) {
		s := tensor.GetScratch()
		_, wide := t.project(first, n, s)
		out := sequences(dst, first, n)
		for i := range wide.Rows {
			row, x := out.At(i/src.Len, i%src.Len), wide.Row(i)
			nn.Sigmoid.Gate(row, x[:len(row)], x[len(row):])
		}
		tensor.PutScratch(s)
	})
	return nil
}

// s4BlockTape is the memory of a Record.
type s4BlockTape struct {
	block  *S4Block
	src, w tensor.Seq // w is the output of the system
	system seqmix.Tape
}

// project returns GELU(w) and what the output projection makes of it, of n sequences.
func (t *s4BlockTape) project(first, n int, s *tensor.Scratch) (x, wide tensor.Mat) {
	w := sequences(t.w, first, n).Mat()
	x, wide = takeMat(s, w.Rows, w.Cols), takeMat(s, w.Rows, t.block.output.Out())
	eachRow(w.Rows, w.Cols, func(i int) { kernel.GELU(x.Row(i), w.Row(i)) })
	t.block.output.ApplyMat(wide, x)
	return x, wide
}

// Backward computes the gradients of what Record computed.
func (t *s4BlockTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, grads, t.system.Backward)
}

// backward is Backward with that of the system.
func (t *s4BlockTape) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads, system func(dsrc, ddst tensor.Seq, grads seqmix.Grads)) {
	const op = "ssm.S4Block.Backward"
	m := t.block
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	dw := tensor.NewSeq(t.w.Batch, t.w.Len, t.w.Dim)
	eachGroup(ddst, func(first, n int) {
		s := tensor.GetScratch()
		t.outputBack(sequences(dw, first, n).Mat(), sequences(ddst, first, n), first, grads, s)
		tensor.PutScratch(s)
	})
	if m.input == nil {
		system(dsrc, dw, grads)
		return
	}
	system(dw, dw, grads)
	m.input.Backward(dsrc, dw, t.src, grads)
}

// outputBack takes the gradient of the output back to that of the system, dw.
func (t *s4BlockTape) outputBack(dw tensor.Mat, ddst tensor.Seq, first int, grads seqmix.Grads, s *tensor.Scratch) {
	x, wide := t.project(first, ddst.Batch, s)
	d := t.block.Dim()
	dwide := takeMat(s, wide.Rows, wide.Cols)
	eachRow(wide.Rows, wide.Cols, func(i int) {
		dy, y, g := ddst.At(i/ddst.Len, i%ddst.Len), wide.Row(i), dwide.Row(i)
		kernel.SigmoidMul(g[:d], y[d:], dy)
		kernel.Mul(g[d:], dy, y[:d])
		kernel.SigmoidGrad(g[d:], y[d:], g[d:])
	})
	addLinearGrads(t.block.output, dwide, x, grads)
	tensor.MatMul(dw, dwide, t.block.output.Weight)
	w := sequences(t.w, first, ddst.Batch).Mat()
	eachRow(dw.Rows, dw.Cols, func(i int) { kernel.GELUGrad(dw.Row(i), w.Row(i), dw.Row(i)) })
}

// Record is Mix that keeps what Backward needs: the input, that of the convolution, the
// gate and what the block keeps.
func (m *GatedS4) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.GatedS4.Record", dst, src, m.Dim())
	t := &gatedS4Tape{mixer: m, src: keep(dst, src)}
	err := t.record(dst, src, func(u, x tensor.Seq) error {
		m.conv.Mix(u, x)
		return nil
	}, func(y, u tensor.Seq) (err error) {
		t.block, err = m.block.Record(y, u)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// record is Record with what records the convolution and the block.
func (t *gatedS4Tape) record(dst, src tensor.Seq, conv, block func(dst, src tensor.Seq) error) error {
	m := t.mixer
	e := m.cfg.DInner
	wide := func() tensor.Seq { return tensor.NewSeq(src.Batch, src.Len, e) }
	t.x, t.z, t.y = wide(), wide(), wide()
	xz := tensor.NewSeq(src.Batch, src.Len, 2*e)
	m.inProj.Apply(xz, src)
	copyMat(t.x.Mat(), xz.Mat().Slice(0, e))
	copyMat(t.z.Mat(), xz.Mat().Slice(e, 2*e))
	u := wide()
	if err := errors.Join(conv(u, t.x), block(t.y, u)); err != nil {
		return err
	}
	m.outProj.Apply(dst, t.gated())
	return nil
}

// gatedS4Tape is the memory of a Record.
type gatedS4Tape struct {
	mixer   *GatedS4
	src     tensor.Seq
	x, z, y tensor.Seq // halves of the input projection, output of the block
	block   seqmix.Tape
}

func (t *gatedS4Tape) gated() tensor.Seq {
	g := tensor.NewSeq(t.y.Batch, t.y.Len, t.y.Dim)
	eachRow(t.y.Batch*t.y.Len, t.y.Dim, func(i int) {
		b, p := i/t.y.Len, i%t.y.Len
		kernel.SiLUMul(g.At(b, p), t.z.At(b, p), t.y.At(b, p))
	})
	return g
}

// Backward computes the gradients of what Record computed.
func (t *gatedS4Tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, grads, func(d tensor.Seq) { t.mixer.conv.Backward(d, d, t.x, grads) }, func(d tensor.Seq) { t.block.Backward(d, d, grads) })
}

// backward is Backward with what takes gradients back through the convolution and the
// block, in place.
func (t *gatedS4Tape) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads, conv, block func(d tensor.Seq)) {
	const op = "ssm.GatedS4.Backward"
	m, e := t.mixer, t.mixer.cfg.DInner
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	dgated, dz := tensor.NewSeq(ddst.Batch, ddst.Len, e), tensor.NewSeq(ddst.Batch, ddst.Len, e)
	m.outProj.Backward(dgated, ddst, t.gated(), grads)
	y := tensor.NewSeq(ddst.Batch, ddst.Len, e)
	tensor.Copy(y, t.y)
	gateGrads(dgated, dz, y, t.z)
	block(dgated)
	conv(dgated)
	dxz := tensor.NewSeq(ddst.Batch, ddst.Len, 2*e)
	copyMat(dxz.Mat().Slice(0, e), dgated.Mat())
	copyMat(dxz.Mat().Slice(e, 2*e), dz.Mat())
	m.inProj.Backward(dsrc, dxz, t.src, grads)
}
