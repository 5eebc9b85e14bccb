package modes

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// A Stream is one whose state is that of a [System].
type Stream interface {
	seqmix.Stream
	State() *tensor.Tensor
	SetState(*tensor.Tensor)
}

// Record takes s, which is at the beginning, through src from the state first on, and
// returns the state after it.
func Record(s Stream, dst, src tensor.Seq, first *seqmix.State) *seqmix.State {
	if first != nil {
		s.SetState(first.Tensors[0])
	}
	s.Mix(dst, src)
	return &seqmix.State{Position: first.At() + src.Len, Tensors: []*tensor.Tensor{s.State()}}
}

// A Tape is a segment of a mixer that is a [System].
type Tape struct {
	Op    string // that panics are from
	Src   tensor.Seq
	First *seqmix.State
	Shape []int // of the state

	// Inner is the tape of the segment on its own: from zeros, with nothing after it.
	Inner seqmix.Tape

	System   func() System
	AddGrads func(channels [][]Mode, grads seqmix.Grads)
}

// BackwardSegment computes the gradients: see [seqmix.SegmentTape].
func (t *Tape) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check(t.Op, 0, t.Shape)
	tensor.CheckSeq(t.Op, ddst, t.Src.Batch, t.Src.Len, t.Src.Dim)
	tensor.CheckMix(t.Op, dsrc, ddst, t.Src.Dim)
	if t.First == nil && dlast == nil {
		t.Inner.Backward(dsrc, ddst, grads)
		return nil
	}
	s := Segment{System: t.System(), Src: t.Src, DDst: ddst, First: values(t.First), DLast: values(dlast)}
	var dfirst *seqmix.State
	if t.First != nil {
		dfirst = &seqmix.State{Tensors: []*tensor.Tensor{tensor.New(t.Shape...)}}
	}
	if channels := s.Back(values(dfirst)); len(grads) > 0 {
		t.AddGrads(channels, grads)
	}
	t.Inner.Backward(dsrc, ddst, grads)
	s.AddInput(dsrc)
	return dfirst
}

// values returns the numbers of a state, which may be nil.
func values(s *seqmix.State) []float32 {
	if s == nil {
		return nil
	}
	return s.Tensors[0].Float32s()
}
