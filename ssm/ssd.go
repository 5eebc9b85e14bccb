package ssm

import (
	"fmt"
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An SSD holds what [StateSpaceDual] needs beside its input: the operation between the
// projections of [Mamba2], for mixers with projections of their own. There are H heads
// of P channels with N states for each channel; only A, Delta, B and C have to be
// given.
type SSD struct {
	// A, of shape (H), is the rate of each head, not its logarithm. Rates below zero
	// decay.
	A *tensor.Tensor

	// Delta is the step size, H wide. DeltaBias, of shape (H), is added to it; then,
	// if Softplus is set, its softplus is taken: log(1+exp(x)), and x above 20; and
	// what is outside of Limit becomes the nearer end of it.
	Delta     tensor.Seq
	DeltaBias *tensor.Tensor
	Softplus  bool
	Limit     Limit

	// B and C are G·N wide, G being the number of groups of heads, or one if Groups is
	// 0: head h uses group h/(H/G).
	B, C   tensor.Seq
	Groups int

	// D, of shape (H) or (H, P), is how much of the input passes by the states. It may
	// be nil.
	D *tensor.Tensor

	// Z, H·P wide, is the gate: the output is multiplied by SiLU(Z). The zero Seq
	// stands for none.
	Z tensor.Seq

	// State holds S before the first position and, afterwards, S after the last. Its
	// shape is (batch, H, P, N). Without one (nil), S begins with zeros.
	State *tensor.Tensor

	// Starts lists, for each sequence of the batch, the positions at which another
	// sequence begins that is packed into the same row: S becomes zero there. nil
	// stands for none.
	Starts [][]int
}

// A Limit is the range of step sizes: those outside become the nearer end. Max 0 stands
// for no upper end. As JSON it is an array of two numbers, the second of which may be
// null.
type Limit struct{ Min, Max float64 }

// apply limits all elements of v.
func (l Limit) apply(v []float32) {
	least, most := float32(l.Min), float32(l.Max)
	if most == 0 {
		most = float32(math.Inf(1))
	}
	for i, x := range v {
		if x < least {
			v[i] = least
		} else if x > most {
			v[i] = most
		}
	}
}

func (l Limit) validate() error {
	if !(l.Min >= 0) || math.IsNaN(l.Max) || l.Max != 0 && l.Max < l.Min {
		return fmt.Errorf("step sizes from %v to %v, want positive numbers in this order", l.Min, l.Max)
	}
	return nil
}

// StateSpaceDual computes, for each sequence, head h with its group g, and position t,
//
//	Δ      = min(max(softplus(Delta[t][h] + DeltaBias[h]), Min), Max)
//	S      = exp(A[h]·Δ)·S + Δ·src[t][h] ⊗ B[t][g]               P×N
//	dst[t] = (S · C[t][g] + D[h]·src[t][h]) · SiLU(Z[t][h])
//
// the state space duality (SSD) of Mamba-2 (arXiv:2405.21060, section 6),
// mamba_chunk_scan_combined in state-spaces/mamba. The result does not depend on a
// chunk length: the states are taken from position to position, with as few
// multiply-adds as chunks take.
//
// dst and src are H·P wide, head after head; dst may be src, and must not overlap
// anything else. It panics with a *tensor.ShapeError if shapes do not fit.
func StateSpaceDual(dst, src tensor.Seq, s SSD) {
	const op = "ssm.StateSpaceDual"
	z := s.check(op, src)
	tensor.CheckMix(op, dst, src, z.heads*z.p)
	r := ssdRuns.Get().(*ssdRun)
	r.run(dst, src, &s, z)
	r.block = ssdBlock{}
	ssdRuns.Put(r)
}

// check returns the dimensions of s. It panics unless all shapes fit.
func (s *SSD) check(op string, src tensor.Seq) headSizes {
	if s.A == nil {
		panic(op + ": no A")
	}
	h := s.A.Len()
	checkShape(op, s.A, h)
	z := headSizes{heads: h, groups: max(s.Groups, 1)}
	if h == 0 || src.Dim%h != 0 || h%z.groups != 0 || s.B.Dim%z.groups != 0 {
		panic(&tensor.ShapeError{Op: op, Got: []int{src.Dim, s.B.Dim, z.groups}, Want: []int{h, 1}})
	}
	z.p, z.n = src.Dim/h, s.B.Dim/z.groups
	tensor.CheckSeq(op, s.Delta, src.Batch, src.Len, h)
	checkShape(op, s.DeltaBias, h)
	tensor.CheckSeq(op, s.B, src.Batch, src.Len, z.groups*z.n)
	tensor.CheckSeq(op, s.C, src.Batch, src.Len, z.groups*z.n)
	if s.D != nil && s.D.Len() == h && len(s.D.Shape()) == 1 {
		checkShape(op, s.D, h)
	} else {
		checkShape(op, s.D, h, z.p)
	}
	if s.hasGate() {
		tensor.CheckSeq(op, s.Z, src.Batch, src.Len, src.Dim)
	}
	checkShape(op, s.State, src.Batch, h, z.p, z.n)
	if s.Starts != nil && len(s.Starts) != src.Batch {
		panic(&tensor.ShapeError{Op: op, Got: []int{len(s.Starts)}, Want: []int{src.Batch}})
	}
	for _, starts := range s.Starts {
		checkStarts(op, starts, src.Len)
	}
	if err := s.Limit.validate(); err != nil {
		panic(op + ": " + err.Error())
	}
	return z
}

// hasGate reports whether Z is more than the zero Seq.
func (s *SSD) hasGate() bool { return s.Z.Batch != 0 || s.Z.Len != 0 || s.Z.Dim != 0 }

// ssdRun is one call of StateSpaceDual.
type ssdRun struct {
	states  headStates
	block   ssdBlock
	scratch tensor.Scratch
	rates   []float64
	within  [1][]int
}

var ssdRuns = sync.Pool{New: func() any { return new(ssdRun) }}

func (r *ssdRun) run(dst, src tensor.Seq, s *SSD, z headSizes) {
	r.states.begin(z, src.Batch)
	r.states.reset(nil)
	if s.State != nil {
		r.states.pack(s.State.Float32s())
	}
	r.rates = r.rates[:0]
	for _, a := range s.A.Float32s() {
		r.rates = append(r.rates, float64(a))
	}
	for b := range src.Batch {
		var starts []int
		if s.Starts != nil {
			starts = s.Starts[b]
		}
		for t := 0; t < src.Len; t += blockPositions {
			end := min(t+blockPositions, src.Len)
			var within []int
			within, starts = splitStarts(starts, end)
			r.part(dst, src, s, b, t, end, within)
		}
	}
	if s.State != nil {
		r.states.unpack(s.State.Data(), false)
	}
}

// part computes positions t to end-1 of sequence b.
func (r *ssdRun) part(dst, src tensor.Seq, s *SSD, b, t, end int, starts []int) {
	rows := func(x tensor.Seq) tensor.Mat { return x.Sequence(b).Slice(t, end).Mat() }
	r.scratch.Reset()
	r.within[0] = relativeTo(t, starts, r.within[0])
	r.block = ssdBlock{
		headStates: &r.states, first: b, sequences: 1, length: end - t, starts: r.within[:],
		x: rows(dst), b: rows(s.B), c: rows(s.C), skip: skipOf(s.D, r.states.heads),
		ssdSteps: ssdSteps{delta: rows(s.Delta), deltaBias: paramlist.Data(s.DeltaBias), softplus: s.Softplus, limit: s.Limit, rates: r.rates},
	}
	tensor.Copy(dst.Sequence(b).Slice(t, end), src.Sequence(b).Slice(t, end))
	r.block.run(&r.scratch)
	if !s.hasGate() {
		return
	}
	y, z := r.block.x, rows(s.Z)
	for i := range y.Rows {
		kernel.SiLUMul(y.Row(i), z.Row(i), y.Row(i))
	}
}

// skipOf returns D, which has one element for each head or for each channel.
func skipOf(d *tensor.Tensor, heads int) ssdSkip {
	switch {
	case d == nil:
		return ssdSkip{}
	case d.Len() == heads:
		return ssdSkip{head: d.Float32s()}
	}
	return ssdSkip{channel: d.Float32s()}
}

// relativeTo returns starts counted from position t, in the memory of buf.
func relativeTo(t int, starts, buf []int) []int {
	buf = buf[:0]
	for _, p := range starts {
		buf = append(buf, p-t)
	}
	return buf
}
