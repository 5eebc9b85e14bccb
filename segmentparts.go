package seqmix

import (
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment records a segment of all mixers. The parts of the state are theirs.
func (s Stack) RecordSegment(dst, src tensor.Seq, first *State) (SegmentTape, *State, error) {
	first.Check("seqmix.Stack.RecordSegment", len(s))
	t := &stackSegment{tapes: make([]SegmentTape, len(s)), begun: first != nil}
	last := &State{Position: first.At() + src.Len, Parts: make([]*State, len(s))}
	if len(s) == 0 {
		tensor.Copy(dst, src)
	}
	if len(s) > 1 && dst.SameMemory(src) {
		src = t.keep(src)
		tensor.Copy(src, dst)
	}
	for i, m := range s {
		out := dst
		if i < len(s)-1 { // what the next one may refer to
			out = t.keep(src)
		}
		var err error
		if t.tapes[i], last.Parts[i], err = RecordSegment(m, out, src, first.part(i)); err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		src = out
	}
	return t, last, nil
}

type stackSegment struct {
	tapes   []SegmentTape
	between []tensor.Seq
	begun   bool // whether there was a first state
}

// keep returns a sequence of the shape of s, which the tape keeps.
func (t *stackSegment) keep(s tensor.Seq) tensor.Seq {
	kept := tensor.GetSeq(s.Batch, s.Len, s.Dim)
	t.between = append(t.between, kept)
	return kept
}

// Release gives back the memory of all layers.
func (t *stackSegment) Release() {
	for _, tape := range t.tapes {
		Release(tape)
	}
	tensor.PutSeq(t.between...)
	*t = stackSegment{}
}

func (t *stackSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *State, grads Grads) *State {
	dlast.Check("seqmix.Stack.BackwardSegment", len(t.tapes))
	if len(t.tapes) == 0 {
		tensor.Copy(dsrc, ddst)
	}
	dfirst := &State{Parts: make([]*State, len(t.tapes))}
	for i := len(t.tapes) - 1; i >= 0; i-- {
		dfirst.Parts[i] = t.tapes[i].BackwardSegment(dsrc, ddst, dlast.part(i), grads)
		ddst = dsrc
	}
	if !t.begun {
		return nil
	}
	return dfirst
}

// RecordSegment records a segment of the block. The parts of the state are those of the
// norm, if there is one, and of the mixer.
func (r *Residual) RecordSegment(dst, src tensor.Seq, first *State) (SegmentTape, *State, error) {
	tensor.CheckMix("seqmix.Residual.RecordSegment", dst, src, r.Dim())
	branch, input := tensor.GetSeq(src.Batch, src.Len, src.Dim), src
	own := []tensor.Seq{branch}
	if dst.SameMemory(src) {
		input = tensor.GetSeq(src.Batch, src.Len, src.Dim)
		tensor.Copy(input, src)
		own = append(own, input)
	}
	inner, last, err := r.parts().RecordSegment(branch, input, first)
	if err != nil {
		return nil, nil, fmt.Errorf("residual block: %w", err)
	}
	tensor.AddSeq(dst, src, branch)
	return &residualSegment{inner, own}, last, nil
}

type residualSegment struct {
	inner SegmentTape
	own   []tensor.Seq // what inner refers to
}

// Release gives back the memory of the block.
func (t *residualSegment) Release() {
	Release(t.inner)
	tensor.PutSeq(t.own...)
	*t = residualSegment{}
}

func (t *residualSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *State, grads Grads) *State {
	s := tensor.GetScratch()
	branch := s.TakeSeq(ddst.Batch, ddst.Len, ddst.Dim)
	dfirst := t.inner.BackwardSegment(branch, ddst, dlast, grads)
	tensor.AddSeq(dsrc, ddst, branch)
	tensor.PutScratch(s)
	return dfirst
}

// part returns part i of s, which may be nil.
func (s *State) part(i int) *State {
	if s == nil {
		return nil
	}
	return s.Parts[i]
}
