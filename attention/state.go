package attention

import (
	"fmt"
	"math"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// State returns a copy of the keys, rotated if there is a RoPE, and of the values of
// the positions that the last one saw, which are the last ones: both have shape
// (batch, positions, KVHeads, HeadDim).
func (s *MultiHeadStream) State() (keys, values *tensor.Tensor) {
	c := &s.cache
	first := s.firstKept(s.pos)
	n := s.pos - first
	keys, values = tensor.New(s.batch, n, c.kvHeads, c.headDim), tensor.New(s.batch, n, c.kvHeads, c.headDim)
	width := c.kvHeads * c.headDim
	for b := range s.batch {
		for i := range n {
			at := (b*n + i) * width
			c.read(keys.Data()[at:at+width], values.Data()[at:at+width], b, first+i)
		}
	}
	return keys, values
}

// firstKept returns the first position that is part of the state after pos of them.
func (s *MultiHeadStream) firstKept(pos int) int {
	if left := s.attend.mask.left; left >= 0 {
		return max(0, pos-1-left)
	}
	return 0
}

const multiHeadKind, multiHeadVersion = "attention.MultiHead", 1

// sizes returns what a saved state must agree with, and the number of positions.
func (s *MultiHeadStream) sizes(pos int) []int {
	return []int{s.batch, s.cache.kvHeads, s.cache.headDim, max(s.attend.mask.left, -1), pos}
}

// AppendBinary appends the state: the number of positions, what State returns, and that
// of the convolution.
func (s *MultiHeadStream) AppendBinary(b []byte) ([]byte, error) {
	keys, values := s.State()
	r := state.Record{
		Kind: multiHeadKind, Version: multiHeadVersion,
		Ints: s.sizes(s.pos), Floats: state.FloatsOf(keys.Data(), values.Data()),
	}
	if s.conv != nil {
		inner, err := s.conv.AppendBinary(nil)
		if err != nil {
			return b, err
		}
		r.Nested = [][]byte{inner}
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The number of sequences, of heads
// of keys, their width and the window must be those of the stream.
func (s *MultiHeadStream) UnmarshalBinary(saved []byte) error {
	r, err := state.DecodeAny(saved, multiHeadKind, multiHeadVersion)
	if err != nil {
		return fmt.Errorf("attention: %w", err)
	}
	pos, err := s.checkSaved(r)
	if err != nil {
		return fmt.Errorf("attention: %w", err)
	}
	conv, err := s.restoreConv(r)
	if err != nil {
		return fmt.Errorf("attention: %w", err)
	}
	first, width := s.firstKept(pos), s.cache.kvHeads*s.cache.headDim
	n := pos - first
	keys, values := tensor.NewSeq(s.batch, n, width), tensor.NewSeq(s.batch, n, width)
	r.Floats[0].CopyTo(keys.Data)
	r.Floats[1].CopyTo(values.Data)
	s.Reset()
	s.pos, s.conv = pos, conv
	s.cache.keep(first, pos)
	if n > 0 {
		s.store = store{cache: &s.cache, keys: rowsOf(keys), values: rowsOf(values), first: first, n: n}
		s.store.run()
		s.forget()
	}
	return nil
}

// restoreConv returns the stream of the convolution, if there is one, in its saved state.
func (s *MultiHeadStream) restoreConv(r *state.Record) (seqmix.Stream, error) {
	want := 0
	if s.conv != nil {
		want = 1
	}
	if len(r.Nested) != want {
		return nil, fmt.Errorf("saved state of a %s with %d convolutions, want %d", multiHeadKind, len(r.Nested), want)
	}
	if s.conv == nil {
		return nil, nil
	}
	conv := s.conv.Clone()
	return conv, conv.UnmarshalBinary(r.Nested[0])
}

// checkSaved returns the number of positions of a saved state that fits s.
func (s *MultiHeadStream) checkSaved(r *state.Record) (pos int, err error) {
	want := s.sizes(0)
	if len(r.Ints) == len(want) {
		pos = r.Ints[len(want)-1]
		want = s.sizes(pos)
	}
	if !slices.Equal(r.Ints, want) || pos < 0 || pos > math.MaxInt/2 {
		return 0, fmt.Errorf("saved state of a %s with sizes %v, want %v and any number of positions", multiHeadKind, r.Ints, want[:len(want)-1])
	}
	// What is claimed must be there, before anything is multiplied by it.
	n, width := pos-s.firstKept(pos), s.batch*s.cache.kvHeads*s.cache.headDim
	if len(r.Floats) != 2 || r.Floats[0].Len()%width != 0 || r.Floats[0].Len()/width != n || r.Floats[1].Len() != r.Floats[0].Len() {
		return 0, fmt.Errorf("saved state of a %s without the keys and values of %d positions", multiHeadKind, n)
	}
	return pos, nil
}
