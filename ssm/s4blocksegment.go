package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
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
// The state has two parts: the last inputs of the convolution, (batch, positions, E) with
// up to K-1 positions, and the state of the block. [GatedS4Stream.State] returns the
// tensors of both.
func (m *GatedS4) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "ssm.GatedS4.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	first.Check(op, 2)
	t := &gatedS4Segment{gatedS4Tape: gatedS4Tape{mixer: m, src: keep(dst, src)}, begun: first != nil}
	last := &seqmix.State{Position: first.At() + src.Len, Parts: make([]*seqmix.State, 2)}
	err := t.record(dst, src, func(u, x tensor.Seq) (err error) {
		t.conv, last.Parts[0], err = seqmix.RecordSegment(m.conv, u, x, tape.Part(first, 0))
		return err
	}, func(y, u tensor.Seq) (err error) {
		t.block, last.Parts[1], err = m.block.RecordSegment(y, u, tape.Part(first, 1))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return t, last, nil
}

type gatedS4Segment struct {
	gatedS4Tape
	conv, block seqmix.SegmentTape
	begun       bool // whether there was a first state
}

func (t *gatedS4Segment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check("ssm.GatedS4.BackwardSegment", 2)
	dfirst := &seqmix.State{Parts: make([]*seqmix.State, 2)}
	t.backward(dsrc, ddst, grads, func(d tensor.Seq) {
		dfirst.Parts[0] = t.conv.BackwardSegment(d, d, tape.Part(dlast, 0), grads)
	}, func(d tensor.Seq) {
		dfirst.Parts[1] = t.block.BackwardSegment(d, d, tape.Part(dlast, 1), grads)
	})
	if !t.begun {
		return nil
	}
	return dfirst
}
