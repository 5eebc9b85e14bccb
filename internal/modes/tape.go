package modes

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
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

// A Tape is a segment of a mixer that is a [System], and D times the input.
type Tape struct {
	Op    string // that panics are from
	Src   tensor.Seq
	First *seqmix.State
	Shape []int // of the state

	// Alone is the tape of a segment that begins with zeros and after which nothing comes.
	Alone seqmix.Tape

	System    func() System
	Transpose func(dsrc, ddst tensor.Seq)                 // the gradient of the input of such a segment
	AddGrads  func(channels [][]Mode, grads seqmix.Grads) // adds those of the parameters
	AddSkip   func(d []float32, grads seqmix.Grads)       // adds that of D
}

// BackwardSegment computes the gradients: see [seqmix.SegmentTape].
func (t *Tape) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check(t.Op, 0, t.Shape)
	tensor.CheckSeq(t.Op, ddst, t.Src.Batch, t.Src.Len, t.Src.Dim)
	tensor.CheckMix(t.Op, dsrc, ddst, t.Src.Dim)
	if t.First == nil && dlast == nil {
		t.Alone.Backward(dsrc, ddst, grads)
		return nil
	}
	s := Segment{System: t.System(), Src: t.Src, DDst: ddst, First: values(t.First), DLast: values(dlast)}
	empty := ddst.Len == 0 || ddst.Batch == 0
	if len(grads) > 0 && !empty {
		s.DTaps = tensor.MatOf(make([]float32, ddst.Len*ddst.Dim), ddst.Len, ddst.Dim)
		nn.TapGradient(s.DTaps, ddst, t.Src)
		t.AddSkip(s.DTaps.Row(0), grads)
	}
	var dfirst *seqmix.State
	if t.First != nil {
		dfirst = &seqmix.State{Tensors: []*tensor.Tensor{tensor.New(t.Shape...)}}
	}
	if channels := s.Back(values(dfirst)); len(grads) > 0 {
		t.AddGrads(channels, grads)
	}
	if !empty {
		t.Transpose(dsrc, ddst)
		s.AddInput(dsrc)
	}
	return dfirst
}

// values returns the numbers of a state, which may be nil.
func values(s *seqmix.State) []float32 {
	if s == nil {
		return nil
	}
	return s.Tensors[0].Float32s()
}
