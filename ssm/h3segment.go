package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/modes"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state are the two tensors of [H3Stream.State].
func (m *H3) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "ssm.H3.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	first.Check(op, 0, m.shift.statesOf(src.Batch), m.system.statesOf(src.Batch))
	t := &h3Segment{h3Tape: m.recordKeys(dst, src), first: valuesOf(tensorOf(first, 0))}
	last := &seqmix.State{Position: first.At() + src.Len}
	last.Tensors = append(last.Tensors, m.shift.recordStates(t.shifted, t.k, t.first))
	t.heads(t.shifted.Mat(), t.v.Mat(), t.y.Mat()).run(false)
	system, diagonal, err := m.system.recordModes(t.y, t.y, tensorOf(first, 1), m)
	if err != nil {
		return nil, nil, err
	}
	t.diagonal, last.Tensors = system, append(last.Tensors, diagonal.Tensors...)
	m.o.Apply(dst, t.output())
	return t, last, nil
}

// tensorOf returns tensor i of a state, which may be nil, as a state of its own.
func tensorOf(s *seqmix.State, i int) *seqmix.State {
	if s == nil {
		return nil
	}
	return &seqmix.State{Position: s.Position, Tensors: s.Tensors[i : i+1]}
}

type h3Segment struct {
	*h3Tape
	first    []float32 // states of the shift
	diagonal seqmix.SegmentTape
}

func (t *h3Segment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	m := t.mixer
	dlast.Check("ssm.H3.BackwardSegment", 0, m.shift.statesOf(t.src.Batch), m.system.statesOf(t.src.Batch))
	var diagonal, shift *seqmix.State
	t.backward(dsrc, ddst, grads, func(dy tensor.Seq) {
		diagonal = t.diagonal.BackwardSegment(dy, dy, tensorOf(dlast, 1), grads)
	}, func(dk tensor.Seq) {
		shift = m.shift.segmentBack(dk, dk, t.k, m.skipK, t.first, valuesOf(tensorOf(dlast, 0)), grads)
	})
	if t.first == nil {
		return nil
	}
	return &seqmix.State{Tensors: append(shift.Tensors, diagonal.Tensors...)}
}

// modes returns those of the heads, again and again for their products.
func (m *H3) modes() modes.System {
	s := m.ssm.modes()
	heads := s.Channels
	for range m.cfg.HeadDim*m.cfg.HeadDim - 1 {
		s.Channels = append(s.Channels, heads...)
	}
	return s
}

// addModeGrads adds the gradients of the diagonal systems: that of a head answers for all
// products of it.
func (m *H3) addModeGrads(channels [][]modes.Mode, grads seqmix.Grads) {
	heads := m.ssm.Dim()
	for ch, list := range channels[heads:] {
		for n, g := range list {
			sum := &channels[ch%heads][n]
			sum.Pole, sum.B, sum.C = sum.Pole+g.Pole, sum.B+g.B, sum.C+g.C
		}
	}
	m.ssm.addModeGrads(channels[:heads], grads)
}

func (m *H3) addSkipGrads(d []float32, grads seqmix.Grads) {
	heads := m.ssm.Dim()
	sum := make([]float32, heads)
	for ; len(d) > 0; d = d[heads:] {
		kernel.Add(sum, sum, d[:heads])
	}
	addRow(grads, m.ssm.d, sum)
}
