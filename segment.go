package seqmix

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// A State is what a mixer carries from one segment of a batch of sequences to the next,
// in numbers that gradients flow through, or the gradient of a loss with respect to
// them. What the numbers are is said by RecordSegment of each mixer. nil stands for the
// beginning of the sequences, and, as a gradient, for zeros.
//
// A State may be made by hand, as one that is learned; it then has the shapes of one that
// RecordSegment returns.
type State struct {
	Position int              // number of positions before
	Tensors  []*tensor.Tensor // float32; the first dimension is that of the batch
	Parts    []*State         // of the mixers that a mixer is made of
}

// A SegmentTrainer is a Trainer that is differentiated piece by piece: backpropagation
// through time, truncated where no gradient is handed on. Use it through [RecordSegment].
type SegmentTrainer interface {
	Trainer

	// RecordSegment is Record of the next positions of sequences that are in the state
	// first, which is not changed. It returns the state after them as well.
	RecordSegment(dst, src tensor.Seq, first *State) (SegmentTape, *State, error)
}

// A SegmentTape is the memory of one RecordSegment.
type SegmentTape interface {
	// BackwardSegment is Backward of a [Tape] with dlast, the gradient with respect to
	// the state after the segment; it is not changed. It returns the gradient with
	// respect to the state before the segment, or nil if that was nil.
	BackwardSegment(dsrc, ddst tensor.Seq, dlast *State, grads Grads) (dfirst *State)
}

// RecordSegment records a segment of sequences of m, which are in the state first: with
// the gradients of one segment's first state as those of the last state of the segment
// before, the gradients of segments are those of the whole.
//
//	var state *seqmix.State // the beginning
//	for i := range segments {
//		tapes[i], state, err = seqmix.RecordSegment(m, dst[i], src[i], state)
//	}
//	var dstate *seqmix.State // zeros
//	for i := len(segments) - 1; i >= 0; i-- {
//		dstate = tapes[i].BackwardSegment(dsrc[i], ddst[i], dstate, grads)
//	}
//
// To truncate, hand on nil for dstate. To keep no more than one tape, go back through
// each segment before the next one.
//
// A [SegmentTrainer] does as it says. Of any other [Trainer] that streams, the state
// consists of the inputs so far, (batch, positions, width), which are recorded once more
// in front of src: this is what long convolutions come to, which have no smaller state,
// and costs as much as the whole sequence up to there. Where the stream has a method
// Reach() int, which says how many inputs before a position its output there depends on
// at the most, no more than these are kept; with 0 the mixer has no state. In all other
// cases the error wraps errors.ErrUnsupported.
func RecordSegment(m Mixer, dst, src tensor.Seq, first *State) (SegmentTape, *State, error) {
	if s, ok := m.(SegmentTrainer); ok {
		return s.RecordSegment(dst, src, first)
	}
	trainer, ok := m.(Trainer)
	if !ok {
		return nil, nil, fmt.Errorf("seqmix: %T cannot be trained: %w", m, errors.ErrUnsupported)
	}
	stream, err := NewStream(m, 1)
	if err != nil {
		return nil, nil, fmt.Errorf("seqmix: segments of what does not stream: %w", err)
	}
	t := &historyTape{reach: -1}
	if r, ok := stream.(interface{ Reach() int }); ok {
		t.reach = r.Reach()
	}
	last, err := t.record(trainer, dst, src, first)
	return t, last, err
}

// historyTape is a segment of a mixer whose state are the inputs before.
type historyTape struct {
	inner Tape
	reach int          // how many inputs before a position count; negative for all
	past  int          // inputs in the first state
	kept  int          // in the last
	own   []tensor.Seq // what inner refers to
	begun bool         // whether there was a first state
}

func (t *historyTape) record(m Trainer, dst, src tensor.Seq, first *State) (*State, error) {
	tensor.CheckMix("seqmix.RecordSegment", dst, src, m.Dim())
	last := &State{Position: first.At() + src.Len}
	var history tensor.Seq
	if first != nil {
		t.begun = true
		history = t.history(first, src)
	}
	input, output := src, dst
	t.past = history.Len
	if t.past > 0 {
		input = tensor.GetSeq(src.Batch, t.past+src.Len, src.Dim)
		output = tensor.GetSeq(src.Batch, input.Len, src.Dim)
		t.own = []tensor.Seq{input, output}
		tensor.Copy(input.Slice(0, t.past), history)
		tensor.Copy(input.Slice(t.past, input.Len), src)
	}
	t.kept = input.Len
	if t.reach >= 0 {
		t.kept = min(t.kept, t.reach)
	}
	if t.reach != 0 {
		x := tensor.New(src.Batch, t.kept, src.Dim)
		tensor.Copy(tensor.SeqOf(x.Data(), src.Batch, t.kept, src.Dim), input.Slice(input.Len-t.kept, input.Len))
		last.Tensors = []*tensor.Tensor{x}
	}
	var err error
	if t.inner, err = m.Record(output, input); err != nil {
		return nil, err
	}
	if t.past > 0 {
		tensor.Copy(dst, output.Slice(t.past, output.Len))
	}
	return last, nil
}

// Release gives back the memory of the mixer.
func (t *historyTape) Release() {
	Release(t.inner)
	tensor.PutSeq(t.own...)
	t.inner, t.own = nil, nil
}

// history returns the inputs in a state.
func (t *historyTape) history(s *State, src tensor.Seq) tensor.Seq {
	s.Check("seqmix.RecordSegment", 0, t.shapes(src, -1)...)
	if t.reach == 0 {
		return tensor.Seq{}
	}
	x := s.Tensors[0]
	history := tensor.SeqOf(x.Float32s(), src.Batch, x.Shape()[1], src.Dim)
	if t.reach >= 0 {
		tensor.CheckSeq("seqmix.RecordSegment: state", history, -1, min(history.Len, t.reach), -1)
	}
	return history
}

func (t *historyTape) BackwardSegment(dsrc, ddst tensor.Seq, dlast *State, grads Grads) *State {
	const op = "seqmix.BackwardSegment"
	tensor.CheckMix(op, dsrc, ddst, dsrc.Dim)
	dlast.Check(op, 0, t.shapes(ddst, t.kept)...)
	if t.reach == 0 || t.past == 0 && (dlast == nil || t.kept == 0) {
		t.inner.Backward(dsrc, ddst, grads)
		return t.first(ddst)
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	d := s.TakeSeq(ddst.Batch, t.past+ddst.Len, ddst.Dim)
	clear(d.Data)
	tensor.Copy(d.Slice(t.past, d.Len), ddst)
	t.inner.Backward(d, d, grads)
	if dlast != nil {
		tail := d.Slice(d.Len-t.kept, d.Len)
		tensor.AddSeq(tail, tail, tensor.SeqOf(dlast.Tensors[0].Float32s(), ddst.Batch, t.kept, ddst.Dim))
	}
	tensor.Copy(dsrc, d.Slice(t.past, d.Len))
	first := t.first(ddst)
	if first != nil && len(first.Tensors) > 0 {
		tensor.Copy(tensor.SeqOf(first.Tensors[0].Data(), ddst.Batch, t.past, ddst.Dim), d.Slice(0, t.past))
	}
	return first
}

// shapes returns those of the tensors of a state of n inputs.
func (t *historyTape) shapes(s tensor.Seq, n int) [][]int {
	if t.reach == 0 {
		return nil
	}
	return [][]int{{s.Batch, n, s.Dim}}
}

// first returns a gradient of the first state that is zero, or nil if there is none.
func (t *historyTape) first(s tensor.Seq) *State {
	if !t.begun {
		return nil
	}
	d := new(State)
	for _, shape := range t.shapes(s, t.past) {
		d.Tensors = append(d.Tensors, tensor.New(shape...))
	}
	return d
}

// Check panics with a *tensor.ShapeError unless s is nil or has tensors of the given
// shapes, in which -1 stands for any number, and so many parts. op is the function that
// was called. It is there for those who write a [SegmentTrainer].
func (s *State) Check(op string, parts int, shapes ...[]int) {
	if s == nil {
		return
	}
	if len(s.Tensors) != len(shapes) || len(s.Parts) != parts {
		panic(&tensor.ShapeError{Op: op + ": tensors and parts of a state", Got: []int{len(s.Tensors), len(s.Parts)}, Want: []int{len(shapes), parts}})
	}
	for i, t := range s.Tensors {
		got := t.Shape()
		fits := len(got) == len(shapes[i])
		for j := 0; fits && j < len(got); j++ {
			fits = shapes[i][j] < 0 || shapes[i][j] == got[j]
		}
		if !fits {
			panic(&tensor.ShapeError{Op: op + ": tensor of a state", Got: got, Want: shapes[i]})
		}
	}
}

// At returns the number of positions before s, which may be nil.
func (s *State) At() int {
	if s == nil {
		return 0
	}
	return s.Position
}

// Reach is 0: see [RecordSegment].
func (s *statelessStream) Reach() int { return 0 }
