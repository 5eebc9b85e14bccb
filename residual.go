package seqmix

import (
	"fmt"
	"iter"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// A Residual adds what a mixer makes of its input to the input:
//
//	dst = src + Mixer(Norm(src))
//
// Norm may be nil, which leaves it out. This is the pre-norm block of Mamba,
// Hyena, Llama and others; its parameters are called "norm." and "mixer." and the
// names that the parts give them.
type Residual struct {
	Norm  Mixer
	Mixer Mixer
}

// Dim returns the width of the mixer.
func (r *Residual) Dim() int { return r.Mixer.Dim() }

// Mix computes dst = src + Mixer(Norm(src)).
func (r *Residual) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("seqmix.Residual.Mix", dst, src, r.Dim())
	s := tensor.GetScratch()
	branch := s.TakeSeq(src.Batch, src.Len, src.Dim)
	if r.Norm == nil {
		r.Mixer.Mix(branch, src)
	} else {
		r.Norm.Mix(branch, src)
		r.Mixer.Mix(branch, branch)
	}
	tensor.AddSeq(dst, src, branch)
	tensor.PutScratch(s)
}

// Params yields the parameters of the norm and of the mixer.
func (r *Residual) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		if r.Norm != nil {
			for name, p := range r.Norm.Params() {
				if !yield("norm."+name, p) {
					return
				}
			}
		}
		for name, p := range r.Mixer.Params() {
			if !yield("mixer."+name, p) {
				return
			}
		}
	}
}

// parts returns the norm, if there is one, and the mixer.
func (r *Residual) parts() Stack {
	if r.Norm == nil {
		return Stack{r.Mixer}
	}
	return Stack{r.Norm, r.Mixer}
}

// NewStream returns a stream of the block.
func (r *Residual) NewStream(batch int) (Stream, error) {
	inner, err := r.parts().NewStream(batch)
	if err != nil {
		return nil, fmt.Errorf("residual block: %w", err)
	}
	return &residualStream{inner: inner, dim: r.Dim()}, nil
}

type residualStream struct {
	inner   Stream
	dim     int
	scratch tensor.Scratch
}

func (s *residualStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("seqmix.Residual.Mix", dst, src, s.dim)
	s.scratch.Reset()
	branch := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	s.inner.Mix(branch, src)
	tensor.AddSeq(dst, src, branch)
	s.scratch.Release()
}

// MixEach advances the streams with the temporary memory of s.
func (s *residualStream) MixEach(dst, src tensor.Seq, streams []Stream) {
	tensor.CheckMix("seqmix.Residual.Mix", dst, src, s.dim)
	s.scratch.Reset()
	branch := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	mixParts(branch, src, streams, func(t Stream) Stream { return t.(*residualStream).inner })
	tensor.AddSeq(dst, src, branch)
	s.scratch.Release()
}

func (s *residualStream) Reset() { s.inner.Reset() }

func (s *residualStream) Clone() Stream {
	return &residualStream{inner: s.inner.Clone(), dim: s.dim}
}

func (s *residualStream) AppendBinary(b []byte) ([]byte, error) {
	return appendStreams(b, "seqmix.Residual", []Stream{s.inner})
}

func (s *residualStream) UnmarshalBinary(data []byte) error {
	streams := []Stream{s.inner}
	err := unmarshalStreams(data, "seqmix.Residual", streams)
	s.inner = streams[0]
	return err
}

// Record records the block.
func (r *Residual) Record(dst, src tensor.Seq) (Tape, error) {
	tensor.CheckMix("seqmix.Residual.Record", dst, src, r.Dim())
	branch := tensor.GetSeq(src.Batch, src.Len, src.Dim)
	t := &residualTape{own: []tensor.Seq{branch}}
	input := src
	if dst.SameMemory(src) {
		input = tensor.GetSeq(src.Batch, src.Len, src.Dim)
		tensor.Copy(input, src)
		t.own = append(t.own, input)
	}
	inner, err := r.parts().Record(branch, input)
	if err != nil {
		return nil, fmt.Errorf("residual block: %w", err)
	}
	tensor.AddSeq(dst, src, branch)
	t.inner = inner.(*stackTape)
	return t, nil
}

type residualTape struct {
	inner *stackTape
	own   []tensor.Seq // what inner refers to
}

// Release gives back the memory of the block.
func (t *residualTape) Release() {
	Release(t.inner)
	tensor.PutSeq(t.own...)
	*t = residualTape{}
}

func (t *residualTape) Backward(dsrc, ddst tensor.Seq, grads Grads) {
	s := tensor.GetScratch()
	branch := s.TakeSeq(ddst.Batch, ddst.Len, ddst.Dim)
	first, back := t.inner.tapes[0], ddst
	for _, tape := range slices.Backward(t.inner.tapes[1:]) {
		tape.Backward(branch, back, grads)
		back = branch
	}
	if norm, ok := first.(addingTape); ok {
		norm.BackwardAndAdd(dsrc, back, ddst, grads)
	} else {
		first.Backward(branch, back, grads)
		tensor.AddSeq(dsrc, ddst, branch)
	}
	tensor.PutScratch(s)
}

// An addingTape can add something to its gradient on the way, which takes less time than to
// do it afterwards. Tapes of norms can.
type addingTape interface {
	// BackwardAndAdd is Backward that adds add to dsrc, which may be ddst or add.
	BackwardAndAdd(dsrc, ddst, add tensor.Seq, grads Grads)
}
