package ssm

import (
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A Trapezoid holds what [TrapezoidalScan] needs beside its input: the operation
// between the projections of [Mamba3] without MIMO, for mixers with projections of
// their own. There are H heads of P channels with N states for each channel.
type Trapezoid struct {
	// LogDecay, H wide, is A·Δ, the logarithm of the decay of each head. Delta, H
	// wide, is the step size Δ itself. Trap, H wide, is λ before its sigmoid.
	LogDecay, Delta, Trap tensor.Seq

	// B and C are G·N wide, G being the number of groups of heads, or one if Groups is
	// 0: head h uses group h/(H/G). BBias and CBias, of shape (H, N), are added for
	// each head.
	B, C         tensor.Seq
	Groups       int
	BBias, CBias *tensor.Tensor

	// Angles, the same number for each head and H times that wide, turn as many pairs
	// of neighbouring states, by π·tanh(angle)·Δ at each position.
	Angles tensor.Seq

	// D, of shape (H), is how much of the input passes by the states. It may be nil.
	D *tensor.Tensor

	// Z, H·P wide, is the gate: the output is multiplied by SiLU(Z). The zero Seq
	// stands for none.
	Z tensor.Seq

	// State is that before the first position and, afterwards, that after the last.
	// Without one (nil) it begins with zeros. All parts have to be given.
	State *Mamba3State
}

// TrapezoidalScan computes, for each sequence, head and position,
//
//	λ      = sigmoid(Trap)
//	θ      = θ + π·tanh(Angles)·Δ
//	k, q   = turn(θ, B + BBias), turn(θ, C + CBias)
//	S      = exp(LogDecay)·(S + (1-λ)·Δ·v' ⊗ k') + λ·Δ·src ⊗ k
//	dst    = (S·q + D·src) · SiLU(Z)
//
// where v' and k' are src and k at the position before: the exponential-trapezoidal
// rule of Mamba-3 (arXiv:2603.15569), mamba3_siso_combined in state-spaces/mamba.
//
// dst and src are H·P wide, head after head; dst may be src, and must not overlap
// anything else. It panics with a *tensor.ShapeError if shapes do not fit.
func TrapezoidalScan(dst, src tensor.Seq, s Trapezoid) {
	const op = "ssm.TrapezoidalScan"
	tensor.CheckMix(op, dst, src, src.Dim)
	z, r := s.check(op, src)
	run := trapezoidRuns.Get().(*trapezoidRun)
	run.run(dst, src, &s, z, r)
	run.block = rotaryBlock{}
	trapezoidRuns.Put(run)
}

// check returns the dimensions of s. It panics unless all shapes fit.
func (s *Trapezoid) check(op string, src tensor.Seq) (headSizes, rotarySizes) {
	h, groups := s.Delta.Dim, max(s.Groups, 1)
	if h < 1 || src.Dim%h != 0 || h%groups != 0 || s.B.Dim < groups || s.B.Dim%groups != 0 || s.Angles.Dim%h != 0 {
		panic(&tensor.ShapeError{Op: op, Got: []int{src.Dim, s.B.Dim, s.Angles.Dim, groups}, Want: []int{h, groups, h, groups}})
	}
	z := headSizes{heads: h, p: src.Dim / h, groups: h, n: s.B.Dim / groups}
	r := rotarySizes{keyGroups: groups, rank: 1, turning: s.Angles.Dim / h}
	for _, rows := range []tensor.Seq{s.LogDecay, s.Delta, s.Trap} {
		tensor.CheckSeq(op, rows, src.Batch, src.Len, h)
	}
	tensor.CheckSeq(op, s.B, src.Batch, src.Len, groups*z.n)
	tensor.CheckSeq(op, s.C, src.Batch, src.Len, groups*z.n)
	tensor.CheckSeq(op, s.Angles, src.Batch, src.Len, h*r.turning)
	if 2*r.turning > z.n {
		panic(&tensor.ShapeError{Op: op, Got: []int{h, r.turning}, Want: []int{h, z.n / 2}})
	}
	if s.BBias == nil || s.CBias == nil {
		panic(op + ": no biases of B and C")
	}
	checkShape(op, s.BBias, h, z.n)
	checkShape(op, s.CBias, h, z.n)
	checkShape(op, s.D, h)
	if s.hasGate() {
		tensor.CheckSeq(op, s.Z, src.Batch, src.Len, src.Dim)
	}
	if s.State != nil {
		if s.State.Angle == nil || s.State.SSM == nil || s.State.K == nil || s.State.V == nil {
			panic(op + ": a state without all its parts")
		}
		s.State.check(op, z, r, src.Batch)
	}
	return z, r
}

// hasGate reports whether Z is more than the zero Seq.
func (s *Trapezoid) hasGate() bool { return s.Z.Batch != 0 || s.Z.Len != 0 || s.Z.Dim != 0 }

// trapezoidRun is one call of TrapezoidalScan.
type trapezoidRun struct {
	states  rotaryStates
	block   rotaryBlock
	scratch tensor.Scratch
}

var trapezoidRuns = sync.Pool{New: func() any { return new(trapezoidRun) }}

func (p *trapezoidRun) run(dst, src tensor.Seq, s *Trapezoid, z headSizes, r rotarySizes) {
	p.states.begin(z, r, src.Batch)
	p.states.reset()
	if s.State != nil {
		p.states.set(*s.State)
	}
	for b := range src.Batch {
		for t := 0; t < src.Len; t += blockPositions {
			p.part(dst, src, s, b, t, min(t+blockPositions, src.Len))
		}
	}
	if s.State == nil {
		return
	}
	after := p.states.export(nil)
	s.State.Angle.SetFloat32s(after.Angle.Data())
	s.State.SSM.SetFloat32s(after.SSM.Data())
	s.State.K.SetFloat32s(after.K.Data())
	s.State.V.SetFloat32s(after.V.Data())
}

// part computes positions t to end-1 of sequence b.
func (p *trapezoidRun) part(dst, src tensor.Seq, s *Trapezoid, b, t, end int) {
	rows := func(x tensor.Seq) tensor.Mat { return x.Sequence(b).Slice(t, end).Mat() }
	p.scratch.Reset()
	angles := p.scratch.TakeSeq(1, end-t, s.Angles.Dim)
	tensor.Copy(angles, s.Angles.Sequence(b).Slice(t, end))
	kernel.Tanh(angles.Data, angles.Data)
	kernel.Scale(angles.Data, math.Pi, angles.Data)
	p.block = rotaryBlock{
		rotaryStates: &p.states, first: b, sequences: 1, length: end - t,
		x: rows(src), out: rows(dst), b: rows(s.B), c: rows(s.C), angles: angles.Mat(),
		rotarySteps:   rotarySteps{delta: rows(s.Delta), rate: rows(s.LogDecay), trap: rows(s.Trap)},
		rotaryWeights: rotaryWeights{bBias: s.BBias.Float32s(), cBias: s.CBias.Float32s(), d: paramlist.Data(s.D)},
	}
	if s.hasGate() {
		p.block.z = rows(s.Z)
	}
	p.block.run()
	p.scratch.Release()
}
