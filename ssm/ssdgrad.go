package ssm

import (
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// SSDGrads are the gradients of a loss with respect to the arguments of
// [StateSpaceDual], each of the shape of what it belongs to.
type SSDGrads struct {
	// Those of parameters are added to; nil is left out.
	A, DeltaBias, D *tensor.Tensor

	// Those of sequences are written. Z is used if there is a gate.
	Delta, B, C, Z tensor.Seq

	// State holds the gradient with respect to the state after the last position and,
	// afterwards, that with respect to the state before the first. Without one (nil) the
	// former is zero: so a long sequence is taken back piece by piece, the last first.
	State *tensor.Tensor
}

// StateSpaceDualGrad computes, from the gradient ddst of a loss with respect to the
// result of [StateSpaceDual], the gradient dsrc with respect to src and those of g with
// respect to the arguments. s.State is the state before the first position, and is not
// changed. It computes matrix products for chunks of 64 positions, and keeps one state
// for each of them (arXiv:2405.21060, section 6).
//
// dsrc may be ddst; gradients must not overlap anything else. It panics with a
// *tensor.ShapeError if shapes do not fit.
func StateSpaceDualGrad(dsrc, ddst, src tensor.Seq, s SSD, g SSDGrads) {
	const op = "ssm.StateSpaceDualGrad"
	z := s.check(op, src)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, src.Dim)
	tensor.CheckMix(op, dsrc, ddst, src.Dim)
	g.check(op, &s)
	dy := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(dy, ddst)
	if s.hasGate() {
		s.gateGrad(dy, g.Z, src)
	}
	for b := range src.Batch {
		s.gradOf(b, z, dsrc, dy, src, &g)
	}
}

// check panics unless all shapes fit those of s.
func (g *SSDGrads) check(op string, s *SSD) {
	same := func(grad, of *tensor.Tensor) {
		if grad != nil && of != nil {
			checkShape(op, grad, of.Shape()...)
		}
	}
	same(g.A, s.A)
	same(g.DeltaBias, s.DeltaBias)
	same(g.D, s.D)
	same(g.State, s.State)
	tensor.CheckSeq(op, g.Delta, s.Delta.Batch, s.Delta.Len, s.Delta.Dim)
	tensor.CheckSeq(op, g.B, s.B.Batch, s.B.Len, s.B.Dim)
	tensor.CheckSeq(op, g.C, s.C.Batch, s.C.Len, s.C.Dim)
	if s.hasGate() {
		tensor.CheckSeq(op, g.Z, s.Z.Batch, s.Z.Len, s.Z.Dim)
	}
}

// gateGrad makes dy the gradient in front of the gate and writes that of the gate.
func (s *SSD) gateGrad(dy, dz, src tensor.Seq) {
	y, open := tensor.NewSeq(src.Batch, src.Len, src.Dim), *s
	open.Z = tensor.Seq{}
	if s.State != nil {
		open.State = tensor.FromFloat32s(slices.Clone(s.State.Float32s()), s.State.Shape()...)
	}
	StateSpaceDual(y, src, open)
	gateGrads(dy, dz, y, s.Z)
}

// gateGrads computes the gradients of y·SiLU(z) from that for it, dy: dy becomes that
// of y.
func gateGrads(dy, dz, y, z tensor.Seq) {
	for b := range y.Batch {
		eachRow(y.Len, y.Dim, func(t int) {
			dy, y, z := dy.At(b, t), y.At(b, t), z.At(b, t)
			kernel.Mul(y, y, dy)
			kernel.SiLUGrad(dz.At(b, t), z, y)
			kernel.SiLUMul(dy, z, dy)
		})
	}
}

// gradOf computes the gradients of sequence b.
func (s *SSD) gradOf(b int, z headSizes, dsrc, dy, src tensor.Seq, g *SSDGrads) {
	rows := func(x tensor.Seq) tensor.Mat { return x.Sequence(b).Mat() }
	k := &ssdBack{
		headSizes: z, sequences: 1, length: src.Len, skip: skipOf(s.D, z.heads),
		ssdSteps: ssdSteps{delta: rows(s.Delta), deltaBias: paramlist.Data(s.DeltaBias), softplus: s.Softplus, limit: s.Limit, rates: float64sOf(s.A)},
		x:        rows(src), b: rows(s.B), c: rows(s.C), dy: rows(dy), dx: rows(dsrc),
		ddelta: rows(g.Delta), db: rows(g.B), dc: rows(g.C),
	}
	if s.Starts != nil {
		k.starts = s.Starts[b : b+1]
	}
	size := z.plainLen()
	part := func(t *tensor.Tensor) []float32 { return t.Data()[b*size : (b+1)*size] }
	if s.State != nil {
		k.initial = part(s.State)
	}
	if g.State != nil {
		k.dlast, k.dinitial = slices.Clone(part(g.State)), part(g.State)
		clear(k.dinitial)
		if k.initial == nil {
			k.initial = make([]float32, size)
		}
	}
	scratch := tensor.GetScratch()
	k.run(scratch)
	k.addRateGrads(paramlist.Data(g.A), nil)
	k.addSkipGrads(paramlist.Data(g.D))
	if g.DeltaBias != nil {
		addRows(g.DeltaBias.Data(), k.ddelta)
	}
	tensor.PutScratch(scratch)
}

func float64sOf(t *tensor.Tensor) []float64 {
	var v []float64
	for _, x := range t.Float32s() {
		v = append(v, float64(x))
	}
	return v
}
