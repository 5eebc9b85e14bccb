package ssm

import (
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A recurrentMixer is recorded in segments that hand on the state of its recurrence.
type recurrentMixer interface {
	Dim() int

	// beginning returns the state at the beginning of so many sequences.
	beginning(batch int) *seqmix.State

	// record records sequences that are in the state first, or at their beginning if
	// that is nil. state, unless it is nil, is that before src, and becomes that after
	// it, if src is not empty.
	record(dst, src tensor.Seq, first, state *seqmix.State) recurrentTape
}

// A recurrentTape is the memory of a record.
type recurrentTape interface {
	seqmix.Tape
	seqmix.Releaser

	// backward is Backward that takes gradients of states along.
	backward(op string, dsrc, ddst tensor.Seq, grads seqmix.Grads, d stateGrads)
}

// stateGrads are the gradients with respect to the state behind a segment, nil for
// zeros, and to that in front of it, which are zero at first; nil if there is none.
type stateGrads struct{ last, first *seqmix.State }

// recordSegment is RecordSegment of a mixer of this name.
func recordSegment(m recurrentMixer, name string, dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	op := "ssm." + name + ".RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	last := m.beginning(src.Batch)
	t := &recurrentSegment{op: "ssm." + name + ".BackwardSegment", begun: first != nil}
	for _, x := range last.Tensors {
		t.shapes = append(t.shapes, x.Shape())
	}
	first.Check(op, 0, t.shapes...)
	last.Position = first.At() + src.Len
	copyState(last, first)
	t.recurrentTape = m.record(dst, src, first, last)
	return t, last, nil
}

type recurrentSegment struct {
	recurrentTape
	op     string
	begun  bool // whether there was a first state
	shapes [][]int
}

func (t *recurrentSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check(t.op, 0, t.shapes...)
	d := stateGrads{last: dlast}
	if t.begun {
		d.first = newState(t.shapes)
	}
	t.backward(t.op, dsrc, ddst, grads, d)
	if t.begun && ddst.Len == 0 {
		copyState(d.first, dlast)
	}
	return d.first
}

// newState returns a state of zeros.
func newState(shapes [][]int) *seqmix.State {
	s := new(seqmix.State)
	for _, shape := range shapes {
		s.Tensors = append(s.Tensors, tensor.New(shape...))
	}
	return s
}

// copyState copies the tensors of src to dst, unless there are none.
func copyState(dst, src *seqmix.State) {
	if src == nil {
		return
	}
	for i, t := range src.Tensors {
		copy(dst.Tensors[i].Data(), t.Float32s())
	}
}

// statePart returns the part of tensor i of a state that belongs to n sequences, from
// the first on, in the same memory, or nil if there is no state.
func statePart(s *seqmix.State, i, first, n int) *tensor.Tensor {
	if s == nil {
		return nil
	}
	t := s.Tensors[i]
	shape := slices.Clone(t.Shape())
	size := t.Len() / shape[0]
	shape[0] = n
	return tensor.FromFloat32s(t.Float32s()[first*size:(first+n)*size], shape...)
}

// A segmentConv is the convolution of a segment of sequences. Its inputs begin with
// those of the state in front, if there is one: what they make is nobody's output.
type segmentConv struct {
	*nn.CausalConv1D
	inputs tensor.Seq
	past   int // positions of the state
}

// newSegmentConv returns the convolution of x behind past, of shape (sequences, K-1,
// channels), or from the beginning if that is nil. It may refer to x.
func newSegmentConv(c *nn.CausalConv1D, past *tensor.Tensor, x tensor.Seq, s *tensor.Scratch) segmentConv {
	if past == nil {
		return segmentConv{c, x, 0}
	}
	before := inputsOf(past)
	all := s.TakeSeq(x.Batch, before.Len+x.Len, x.Dim)
	tensor.Copy(all.Slice(0, before.Len), before)
	tensor.Copy(all.Slice(before.Len, all.Len), x)
	return segmentConv{c, all, before.Len}
}

// inputsOf returns the inputs of a convolution that are in a state, as sequences.
func inputsOf(t *tensor.Tensor) tensor.Seq {
	return tensor.SeqOf(t.Data(), t.Dim(0), t.Dim(1), t.Dim(2))
}

// convolve writes the outputs of the segment to dst.
func (c segmentConv) convolve(dst tensor.Seq, s *tensor.Scratch) {
	if c.past == 0 {
		c.Mix(dst, c.inputs)
		return
	}
	all := s.TakeSeq(dst.Batch, c.inputs.Len, dst.Dim)
	c.Mix(all, c.inputs)
	tensor.Copy(dst, all.Slice(c.past, all.Len))
}

// last returns those of the inputs x, of all positions, that a later state holds, and
// their place in such a state: in a short sequence there are fewer than K-1.
func (c segmentConv) last(x tensor.Seq, state *tensor.Tensor) (inputs, place tensor.Seq) {
	place = inputsOf(state)
	n := min(place.Len, x.Len)
	return x.Slice(x.Len-n, x.Len), place.Slice(place.Len-n, place.Len)
}

// keepLast makes the inputs in a state, which is zero at first, those behind the
// segment.
func (c segmentConv) keepLast(state *tensor.Tensor) {
	inputs, place := c.last(c.inputs, state)
	tensor.Copy(place, inputs)
}

// back makes d, the gradient of the outputs of the segment, that of its inputs. dlast and
// dfirst, which may be nil, are gradients of the inputs in the states behind and in
// front; the latter is written.
func (c segmentConv) back(d tensor.Seq, dlast, dfirst *tensor.Tensor, grads seqmix.Grads, s *tensor.Scratch) {
	all := d
	if c.past > 0 {
		all = s.TakeSeq(d.Batch, c.inputs.Len, d.Dim)
		clear(all.Data)
		tensor.Copy(all.Slice(c.past, all.Len), d)
	}
	c.Backward(all, all, c.inputs, grads)
	if dlast != nil {
		tail, more := c.last(all, dlast)
		tensor.AddSeq(tail, tail, more)
	}
	if c.past > 0 {
		tensor.Copy(d, all.Slice(c.past, all.Len))
	}
	if dfirst != nil {
		tensor.Copy(inputsOf(dfirst), all.Slice(0, c.past))
	}
}
