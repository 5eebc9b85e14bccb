package seqmix

import (
	"fmt"
	"iter"
	"slices"

	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// A Stack applies mixers one after the other. All have the same width. The
// parameters of the i-th are called "i." and the name it gives them.
//
// A Stack streams if all its mixers do, and trains if all do. To put another mixer
// in the place of one, assign to the element.
type Stack []Mixer

// Dim returns the width of the first mixer, or 0 for an empty stack.
func (s Stack) Dim() int {
	if len(s) == 0 {
		return 0
	}
	return s[0].Dim()
}

// Mix computes dst = s[n-1](… s[1](s[0](src))). An empty stack copies.
func (s Stack) Mix(dst, src tensor.Seq) {
	if len(s) == 0 {
		tensor.Copy(dst, src)
		return
	}
	for _, m := range s {
		m.Mix(dst, src)
		src = dst
	}
}

// Params yields the parameters of all mixers.
func (s Stack) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for i, m := range s {
			for name, p := range m.Params() {
				if !yield(fmt.Sprintf("%d.%s", i, name), p) {
					return
				}
			}
		}
	}
}

// NewStream returns a Stream of Streams.
func (s Stack) NewStream(batch int) (Stream, error) {
	streams := make(stackStream, len(s))
	for i, m := range s {
		var err error
		if streams[i], err = NewStream(m, batch); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return streams, nil
}

type stackStream []Stream

func (s stackStream) Mix(dst, src tensor.Seq) {
	if len(s) == 0 {
		tensor.Copy(dst, src)
		return
	}
	for _, m := range s {
		m.Mix(dst, src)
		src = dst
	}
}

// MixEach advances the streams layer by layer.
func (s stackStream) MixEach(dst, src tensor.Seq, streams []Stream) {
	if len(s) == 0 {
		tensor.Copy(dst, src)
		return
	}
	for i := range s {
		mixParts(dst, src, streams, func(t Stream) Stream { return t.(stackStream)[i] })
		src = dst
	}
}

func (s stackStream) Reset() {
	for _, m := range s {
		m.Reset()
	}
}

func (s stackStream) Clone() Stream { return stackStream(cloneAll(s)) }

func (s stackStream) AppendBinary(b []byte) ([]byte, error) {
	return appendStreams(b, "seqmix.Stack", s)
}

func (s stackStream) UnmarshalBinary(data []byte) error {
	return unmarshalStreams(data, "seqmix.Stack", s)
}

func cloneAll(streams []Stream) []Stream {
	c := make([]Stream, len(streams))
	for i, s := range streams {
		c[i] = s.Clone()
	}
	return c
}

// appendStreams encodes streams as the records within one record of the given kind.
func appendStreams(b []byte, kind string, streams []Stream) ([]byte, error) {
	r := state.Record{Kind: kind, Version: 1, Nested: make([][]byte, len(streams))}
	for i, s := range streams {
		var err error
		if r.Nested[i], err = s.AppendBinary(nil); err != nil {
			return b, fmt.Errorf("%s: layer %d: %w", kind, i, err)
		}
	}
	return r.Append(b), nil
}

// unmarshalStreams is the inverse of appendStreams. It changes all of the streams
// or none: each is first decoded into a clone.
func unmarshalStreams(data []byte, kind string, streams []Stream) error {
	r, err := state.Decode(data, kind, 1)
	if err != nil {
		return fmt.Errorf("seqmix: %w", err)
	}
	if len(r.Nested) != len(streams) {
		return fmt.Errorf("seqmix: saved state of a %s of %d layers, want %d", kind, len(r.Nested), len(streams))
	}
	fresh := cloneAll(streams)
	for i, s := range fresh {
		if err := s.UnmarshalBinary(r.Nested[i]); err != nil {
			return fmt.Errorf("seqmix: layer %d: %w", i, err)
		}
	}
	copy(streams, fresh)
	return nil
}

// Record records all mixers.
func (s Stack) Record(dst, src tensor.Seq) (Tape, error) {
	t := new(stackTape)
	if len(s) == 0 {
		tensor.Copy(dst, src)
		return t, nil
	}
	if len(s) > 1 && dst.SameMemory(src) {
		input := tensor.GetSeq(src.Batch, src.Len, src.Dim)
		t.between = append(t.between, input)
		tensor.Copy(input, src)
		src = input
	}
	for i, m := range s {
		// Every layer but the last writes to memory of its own, because the next
		// one may refer to its input until Backward is done.
		out := dst
		if i < len(s)-1 {
			out = tensor.GetSeq(src.Batch, src.Len, src.Dim)
			t.between = append(t.between, out)
		}
		tape, err := Record(m, out, src)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		t.tapes = append(t.tapes, tape)
		src = out
	}
	return t, nil
}

type stackTape struct {
	tapes   []Tape
	between []tensor.Seq // what the layers take and give
}

func (t *stackTape) Backward(dsrc, ddst tensor.Seq, grads Grads) {
	if len(t.tapes) == 0 {
		tensor.Copy(dsrc, ddst)
		return
	}
	for _, tape := range slices.Backward(t.tapes) {
		tape.Backward(dsrc, ddst, grads)
		ddst = dsrc
	}
}

// Release gives back the memory of all layers.
func (t *stackTape) Release() {
	for _, tape := range t.tapes {
		Release(tape)
	}
	tensor.PutSeq(t.between...)
	*t = stackTape{}
}
