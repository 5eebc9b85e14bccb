package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of the system in the middle, see [S4.RecordSegment] and
// [S4D.RecordSegment].
func (m *S4Block) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	tensor.CheckMix("ssm.S4Block.RecordSegment", dst, src, m.Dim())
	t := &s4BlockSegment{s4BlockTape: s4BlockTape{block: m, src: keep(dst, src)}}
	var last *seqmix.State
	err := t.record(dst, src, func(w, v tensor.Seq) (err error) {
		t.system, last, err = seqmix.RecordSegment(m.layer, w, v, first)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return t, last, nil
}

type s4BlockSegment struct {
	s4BlockTape
	system seqmix.SegmentTape
}

func (t *s4BlockSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) (dfirst *seqmix.State) {
	t.backward(dsrc, ddst, grads, func(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
		dfirst = t.system.BackwardSegment(dsrc, ddst, dlast, grads)
	})
	return dfirst
}

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state are the two tensors of [GatedS4Stream.State].
func (m *GatedS4) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "ssm.GatedS4.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	t := &gatedS4Segment{gatedS4Tape: gatedS4Tape{mixer: m, src: keep(dst, src)}, begun: first != nil}
	t.shapes = [][]int{{src.Batch, m.cfg.DConv - 1, m.cfg.DInner}, m.block.system.statesOf(src.Batch)}
	first.Check(op, 0, t.shapes...)
	last := newState(t.shapes)
	last.Position = first.At() + src.Len
	err := t.record(dst, src, func(u, x tensor.Seq) error {
		t.conv = newSegmentConv(m.conv, firstTensor(first), x, new(tensor.Scratch))
		t.conv.keepLast(last.Tensors[0])
		s := tensor.GetScratch()
		t.conv.convolve(u, s)
		tensor.PutScratch(s)
		return nil
	}, func(y, u tensor.Seq) error {
		tape, state, err := m.block.RecordSegment(y, u, tensorOf(first, 1))
		if err != nil {
			return err
		}
		t.block, last.Tensors[1] = tape, state.Tensors[0]
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return t, last, nil
}

// firstTensor returns the first tensor of a state, or nil if there is no state.
func firstTensor(s *seqmix.State) *tensor.Tensor {
	if s == nil {
		return nil
	}
	return s.Tensors[0]
}

type gatedS4Segment struct {
	gatedS4Tape
	conv   segmentConv
	block  seqmix.SegmentTape
	begun  bool // whether there was a first state
	shapes [][]int
}

func (t *gatedS4Segment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check("ssm.GatedS4.BackwardSegment", 0, t.shapes...)
	var dfirst *seqmix.State
	if t.begun {
		dfirst = newState(t.shapes)
	}
	t.backward(dsrc, ddst, grads, func(d tensor.Seq) {
		s := tensor.GetScratch()
		t.conv.back(d, firstTensor(dlast), firstTensor(dfirst), grads, s)
		tensor.PutScratch(s)
	}, func(d tensor.Seq) {
		system := t.block.BackwardSegment(d, d, tensorOf(dlast, 1), grads)
		if t.begun {
			dfirst.Tensors[1] = system.Tensors[0]
		}
	})
	return dfirst
}
