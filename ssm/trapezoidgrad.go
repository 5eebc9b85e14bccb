package ssm

import (
	"math"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// TrapezoidGrads are the gradients of a loss with respect to the arguments of
// [TrapezoidalScan], each of the shape of what it belongs to.
type TrapezoidGrads struct {
	// Those of sequences are written. Z is used if there is a gate.
	LogDecay, Delta, Trap, B, C, Angles, Z tensor.Seq

	// Those of parameters are added to; nil is left out.
	BBias, CBias, D *tensor.Tensor

	// State holds the gradient with respect to the state after the last position, all
	// parts of it, and, afterwards, that with respect to the state before the first.
	// Without one (nil) the former is zero.
	State *Mamba3State
}

// TrapezoidalScanGrad computes, from the gradient ddst of a loss with respect to the
// result of [TrapezoidalScan], the gradient dsrc with respect to src and those of g with
// respect to the arguments. s.State is the state before the first position, and is not
// changed.
//
// dsrc may be ddst; gradients must not overlap anything else. It panics with a
// *tensor.ShapeError if shapes do not fit.
func TrapezoidalScanGrad(dsrc, ddst, src tensor.Seq, s Trapezoid, g TrapezoidGrads) {
	const op = "ssm.TrapezoidalScanGrad"
	z, r := s.check(op, src)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, src.Dim)
	tensor.CheckMix(op, dsrc, ddst, src.Dim)
	g.check(op, &s, z, r)
	dy := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(dy, ddst)
	if s.hasGate() {
		s.gateGrad(dy, g.Z, src)
	}
	run := &trapezoidBack{Trapezoid: &s, grads: &g, headSizes: z, rotarySizes: r, dsrc: dsrc, dy: dy, src: src}
	run.states.begin(z, r, 1)
	for b := range src.Batch {
		run.sequence(b)
	}
}

// check panics unless all shapes fit those of s.
func (g *TrapezoidGrads) check(op string, s *Trapezoid, z headSizes, r rotarySizes) {
	for _, x := range [][2]tensor.Seq{{g.LogDecay, s.LogDecay}, {g.Delta, s.Delta}, {g.Trap, s.Trap}, {g.B, s.B}, {g.C, s.C}, {g.Angles, s.Angles}, {g.Z, s.Z}} {
		if x[1].Dim > 0 {
			tensor.CheckSeq(op, x[0], x[1].Batch, x[1].Len, x[1].Dim)
		}
	}
	checkShape(op, g.BBias, z.heads, z.n)
	checkShape(op, g.CBias, z.heads, z.n)
	checkShape(op, g.D, z.heads)
	if g.State != nil {
		if g.State.Angle == nil || g.State.SSM == nil || g.State.K == nil || g.State.V == nil {
			panic(op + ": the gradient of a state without all its parts")
		}
		g.State.check(op, z, r, s.Delta.Batch)
	}
}

// gateGrad makes dy the gradient in front of the gate and writes that of the gate.
func (s *Trapezoid) gateGrad(dy, dz, src tensor.Seq) {
	y, open := tensor.NewSeq(src.Batch, src.Len, src.Dim), *s
	open.Z = tensor.Seq{}
	if s.State != nil {
		open.State = &Mamba3State{Angle: cloneOf(s.State.Angle), SSM: cloneOf(s.State.SSM), K: cloneOf(s.State.K), V: cloneOf(s.State.V)}
	}
	TrapezoidalScan(y, src, open)
	gateGrads(dy, dz, y, s.Z)
}

func cloneOf(t *tensor.Tensor) *tensor.Tensor {
	return tensor.FromFloat32s(slices.Clone(t.Float32s()), t.Shape()...)
}

// trapezoidBack takes one sequence after the other back.
type trapezoidBack struct {
	*Trapezoid
	headSizes
	rotarySizes
	grads         *TrapezoidGrads
	states        rotaryStates
	dsrc, dy, src tensor.Seq
}

func (k *trapezoidBack) sequence(b int) {
	scratch := tensor.GetScratch()
	rows := func(x tensor.Seq) tensor.Mat { return x.Sequence(b).Mat() }
	speeds := takeMat(scratch, k.src.Len, k.Angles.Dim)
	copyMat(speeds, rows(k.Angles))
	kernel.Tanh(speeds.Data, speeds.Data)
	kernel.Scale(speeds.Data, math.Pi, speeds.Data)
	k.states.reset()
	g := k.grads
	back := &rotaryBack{
		rotaryBlock: rotaryBlock{
			rotaryStates: &k.states, sequences: 1, length: k.src.Len,
			x: rows(k.src), b: rows(k.B), c: rows(k.C), angles: speeds,
			rotarySteps:   rotarySteps{delta: rows(k.Delta), rate: rows(k.LogDecay), trap: rows(k.Trap)},
			rotaryWeights: rotaryWeights{bBias: k.BBias.Float32s(), cBias: k.CBias.Float32s(), d: paramlist.Data(k.D)},
		},
		dy: rows(k.dy), dx: rows(k.dsrc), ddelta: rows(g.Delta), drate: rows(g.LogDecay), dtrap: rows(g.Trap),
		db: rows(g.B), dc: rows(g.C), dspeeds: rows(g.Angles),
	}
	if k.State != nil {
		k.states.set(sequenceState(k.State, b))
		back.initial.ssm = sequenceState(k.State, b).SSM.Data()
	}
	if g.State != nil {
		back.first = gradsOf(sequenceState(g.State, b))
		back.last = rotaryGrads{slices.Clone(back.first.ssm), slices.Clone(back.first.keys), slices.Clone(back.first.values), slices.Clone(back.first.angles)}
		clear(back.first.ssm)
		if back.initial.ssm == nil {
			back.initial.ssm = make([]float32, len(back.first.ssm))
		}
	}
	back.run(scratch)
	for i := range speeds.Rows {
		d := back.dspeeds.Row(i)
		kernel.TanhGrad(d, rows(k.Angles).Row(i), d)
		kernel.Scale(d, math.Pi, d)
	}
	k.addParams(back)
	tensor.PutScratch(scratch)
}

// addParams adds the gradients of parameters.
func (k *trapezoidBack) addParams(back *rotaryBack) {
	for _, x := range []struct {
		grad *tensor.Tensor
		rows tensor.Mat
	}{{k.grads.BBias, back.dbBias}, {k.grads.CBias, back.dcBias}, {k.grads.D, back.dd}} {
		if x.grad != nil {
			addRows(x.grad.Data(), x.rows)
		}
	}
}

// sequenceState returns the part of a state that belongs to sequence b, of rank 1.
func sequenceState(s *Mamba3State, b int) Mamba3State {
	part := func(t *tensor.Tensor) *tensor.Tensor {
		shape := slices.Clone(t.Shape())
		size := t.Len() / shape[0]
		shape[0] = 1
		return tensor.FromFloat32s(t.Data()[b*size:(b+1)*size], shape...)
	}
	return Mamba3State{Angle: part(s.Angle), SSM: part(s.SSM), K: part(s.K), V: part(s.V)}
}

// gradsOf returns the elements of a state of rank 1.
func gradsOf(s Mamba3State) rotaryGrads {
	return rotaryGrads{ssm: s.SSM.Data(), keys: s.K.Data(), values: s.V.Data(), angles: s.Angle.Data()}
}
