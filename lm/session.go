package lm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// A Session is a model in the middle of a text. It takes tokens, any number at a time,
// and knows the scores of what could come next. It serves one goroutine at a time;
// different sessions of one model are independent.
type Session struct {
	model  *Model
	stream seqmix.Stream
	tokens []int     // all of them so far
	logits []float32 // after the last one; nil before the first
	fresh  bool      // whether logits belong to last
	last   []float32 // what the layers made of the last token

	scratch tensor.Scratch
}

// The number of positions that are read at a time: enough for matrix products to be
// efficient. The temporary memory is in proportion to it and to the width, so wide models,
// whose products are efficient with fewer, read so many elements at a time.
const (
	mostPositions  = 512
	leastPositions = 128
	readElements   = 1 << 19
)

// readPositions returns the number of positions that are read at a time.
func (m *Model) readPositions() int {
	return min(max(readElements/max(m.Dim(), 1), leastPositions), mostPositions)
}

// NewSession returns a session at the beginning of a text. The error wraps
// errors.ErrUnsupported if a layer does not stream.
func (m *Model) NewSession() (*Session, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	stream, err := m.Layers.NewStream(1)
	if err != nil {
		return nil, fmt.Errorf("lm: %w", err)
	}
	return &Session{model: m, stream: stream, last: make([]float32, m.Dim())}, nil
}

// Model returns the model.
func (s *Session) Model() *Model { return s.model }

// Tokens returns the tokens so far, which must not be changed.
func (s *Session) Tokens() []int { return s.tokens }

// Len returns the number of tokens so far.
func (s *Session) Len() int { return len(s.tokens) }

// Feed appends tokens: a prompt, or the one that was chosen. If one is not in the
// vocabulary, or if the text becomes longer than the model can take, the error says so
// and the session is as before.
func (s *Session) Feed(ids ...int) error {
	if err := s.model.checkIDs(ids, len(s.tokens)); err != nil {
		return err
	}
	for len(ids) > 0 {
		n := min(len(ids), s.model.readPositions())
		s.readLast(ids[:n])
		ids = ids[n:]
	}
	s.scratch.Release()
	return nil
}

// read runs the layers on checked tokens. What it returns is valid until the next call,
// or until scratch is released.
func (s *Session) read(ids []int) tensor.Seq {
	x := s.embed(ids)
	s.stream.Mix(x, x)
	return x
}

// readLast is read that leaves what the layers make of the last token in s.last, and
// computes no more than that needs.
func (s *Session) readLast(ids []int) {
	seqmix.MixLast(s.stream, tensor.SeqOf(s.last, 1, 1, len(s.last)), s.embed(ids))
}

// embed appends checked tokens, and returns what the layers are to read.
func (s *Session) embed(ids []int) tensor.Seq {
	s.scratch.Reset()
	x := s.scratch.TakeSeq(1, len(ids), s.model.Dim())
	s.model.embed(&s.scratch, x, ids, len(s.tokens))
	s.tokens = append(s.tokens, ids...)
	s.fresh = false
	return x
}

// Logits returns the scores of all tokens of the vocabulary, the logarithms of
// unnormalised probabilities, for the position after the last token. The slice is
// valid, and may be changed, until the session goes on. It is nil at the beginning of a
// text.
func (s *Session) Logits() []float32 {
	if len(s.tokens) == 0 {
		return nil
	}
	if s.fresh {
		return s.logits
	}
	s.scratch.Reset()
	h := s.scratch.TakeSeq(1, 1, s.model.Dim())
	copy(h.Data, s.last)
	s.model.finish(h)
	s.setLogits(func(dst tensor.Mat) { s.model.logits(&s.scratch, dst, h) })
	s.scratch.Release()
	return s.logits
}

// setLogits lets f compute the logits.
func (s *Session) setLogits(f func(tensor.Mat)) {
	n := s.model.vocabulary()
	if s.logits == nil {
		s.logits = make([]float32, n)
	}
	f(tensor.MatOf(s.logits, 1, n))
	s.fresh = true
}

// Reset returns to the beginning of a text.
func (s *Session) Reset() {
	s.stream.Reset()
	s.tokens, s.fresh = s.tokens[:0], false
}

// Fork returns an independent session in the same state: to try several continuations
// of one prompt, which is read once.
func (s *Session) Fork() *Session {
	return &Session{
		model: s.model, stream: s.stream.Clone(),
		tokens: slices.Clone(s.tokens), last: slices.Clone(s.last),
	}
}

const sessionKind, sessionVersion = "lm.Session", 1

// AppendBinary appends the state: a snapshot that UnmarshalBinary of a session of the
// same model reads, in this or another process. With mixers whose state is of a fixed
// size, so is the snapshot, but for the tokens; attention adds keys and values.
func (s *Session) AppendBinary(b []byte) ([]byte, error) {
	stream, err := s.stream.AppendBinary(nil)
	if err != nil {
		return b, fmt.Errorf("lm: %w", err)
	}
	var tokens []byte
	for _, id := range s.tokens {
		tokens = binary.AppendUvarint(tokens, uint64(id))
	}
	r := state.Record{
		Kind: sessionKind, Version: sessionVersion,
		Ints: []int{s.model.Dim(), s.model.vocabulary()}, Floats: state.FloatsOf(s.last),
		Nested: [][]byte{stream, tokens},
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a snapshot. If it fails, because the data is
// damaged or of another model, the session is as before.
func (s *Session) UnmarshalBinary(data []byte) error {
	r, err := state.Decode(data, sessionKind, sessionVersion, s.model.Dim(), s.model.vocabulary())
	if err == nil {
		err = r.WantFloats(len(s.last))
	}
	if err == nil && len(r.Nested) != 2 {
		err = fmt.Errorf("saved state of a %s with %d parts, want 2", sessionKind, len(r.Nested))
	}
	if err != nil {
		return fmt.Errorf("lm: %w", err)
	}
	tokens, err := decodeTokens(r.Nested[1])
	if err == nil {
		err = s.model.checkIDs(tokens, 0)
	}
	if err != nil {
		return fmt.Errorf("lm: saved state of a %s: %w", sessionKind, err)
	}
	if err := s.stream.UnmarshalBinary(r.Nested[0]); err != nil {
		return fmt.Errorf("lm: %w", err)
	}
	r.Floats[0].CopyTo(s.last)
	s.tokens, s.fresh = tokens, false
	return nil
}

func decodeTokens(b []byte) ([]int, error) {
	var tokens []int
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt32 {
			return nil, errors.New("damaged list of tokens")
		}
		tokens, b = append(tokens, int(v)), b[n:]
	}
	return tokens, nil
}
