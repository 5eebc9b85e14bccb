package monarch

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// NewStream returns a *[MixerStream] at the beginning of batch sequences of up to LMax
// positions. If the mixer is bidirectional, the error wraps errors.ErrUnsupported.
func (m *Mixer) NewStream(batch int) (seqmix.Stream, error) {
	s, err := m.StreamUpTo(batch, m.cfg.LMax)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// StreamUpTo is NewStream for sequences of up to limit positions. Less than LMax saves
// the making of filters and memory.
func (m *Mixer) StreamUpTo(batch, limit int) (*MixerStream, error) {
	if *m.cfg.Bidirectional {
		return nil, fmt.Errorf("monarch: a stream of a mixer that sees later positions: %w", errors.ErrUnsupported)
	}
	if batch < 1 || limit < 1 || limit > m.cfg.LMax {
		return nil, fmt.Errorf("monarch: a stream of %d sequences of up to %d positions, want at least one of 1 to %d", batch, limit, m.cfg.LMax)
	}
	short, err := m.short.NewStream(batch)
	if err != nil {
		return nil, fmt.Errorf("monarch: %w", err)
	}
	s := &MixerStream{mixer: m, batch: batch, limit: limit, short: short}
	for _, f := range m.filters() {
		s.long = append(s.long, f.bank().upTo(limit).StreamUpTo(batch, limit))
	}
	return s, nil
}

// A MixerStream is a causal [Mixer] in the middle of a batch of sequences. It computes what
// [Mixer.Mix] does, up to rounding: the long convolutions run online, see
// [nn.LongConvStream], at a cost of O(log² n) for each position and channel on average.
//
// The state grows with the sequence: d numbers for each position and long convolution. A
// stream ends after as many positions as it was made for; Mix panics with a
// *tensor.ShapeError if there are more. It sees the parameters as they are when it is
// made or reset.
type MixerStream struct {
	mixer   *Mixer
	batch   int
	limit   int
	short   seqmix.Stream
	long    []*nn.LongConvStream
	scratch tensor.Scratch
	each    [3]eachPart
}

// Len returns the number of positions so far.
func (s *MixerStream) Len() int { return s.long[0].Len() }

// Reset returns to the beginning of the sequences.
func (s *MixerStream) Reset() {
	s.short.Reset()
	for i, f := range s.mixer.filters() {
		s.long[i].Rebase(f.bank().upTo(s.limit))
	}
}

// Clone returns an independent stream in the same state.
func (s *MixerStream) Clone() seqmix.Stream {
	c := &MixerStream{mixer: s.mixer, batch: s.batch, limit: s.limit, short: s.short.Clone()}
	for _, l := range s.long {
		c.long = append(c.long, l.Clone().(*nn.LongConvStream))
	}
	return c
}

// longest is how many positions are computed at a time, which bounds the temporary
// memory. It is a power of two, as the pieces of the long convolution are.
const longest = 1 << 14

// Mix computes the next positions.
func (s *MixerStream) Mix(dst, src tensor.Seq) {
	const op = "monarch.MixerStream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	checkLen(op, src, s.limit-s.Len())
	long := [2]mixable{s.long[0]}
	if len(s.long) > 1 {
		long[1] = s.long[1]
	}
	for t := 0; t < src.Len; {
		n := min(src.Len-t, longest-s.Len()%longest)
		s.scratch.Reset()
		s.mixer.mix(dst.Slice(t, t+n), src.Slice(t, t+n), s.short, long, &s.scratch)
		t += n
	}
	s.scratch.Release()
}

// togetherLen is how many positions of each stream are computed together at most. With more,
// the products are efficient anyway.
const togetherLen = blockRows / 8

// MixEach computes the projections of all streams together: see [seqmix.MixEach].
func (s *MixerStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	const op = "monarch.MixerStream.MixEach"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	for _, t := range streams {
		checkLen(op, src, t.(*MixerStream).limit-t.(*MixerStream).Len())
	}
	if src.Len > togetherLen {
		for i, t := range streams {
			t.Mix(dst.Sequence(i), src.Sequence(i))
		}
		return
	}
	if src.Len == 0 {
		return
	}
	for i := range s.each {
		s.each[i] = eachPart{streams, i}
	}
	s.scratch.Reset()
	s.mixer.mix(dst, src, &s.each[0], [2]mixable{&s.each[1], &s.each[2]}, &s.scratch)
	s.each = [3]eachPart{}
	s.scratch.Release()
}

// An eachPart is one part of each of several streams of one sequence: the short convolution,
// or one of the long ones.
type eachPart struct {
	streams []seqmix.Stream
	part    int
}

// Mix computes sequence i by the part of stream i.
func (e *eachPart) Mix(dst, src tensor.Seq) {
	for i, t := range e.streams {
		t := t.(*MixerStream)
		if e.part == 0 {
			t.short.Mix(dst.Sequence(i), src.Sequence(i))
		} else {
			t.long[e.part-1].Mix(dst.Sequence(i), src.Sequence(i))
		}
	}
}

const mixerKind, mixerVersion = "monarch.Mixer", 1

func (s *MixerStream) sizes() []int {
	return []int{s.batch, s.mixer.cfg.Dim, len(s.long), s.limit}
}

// parts returns the streams that the state consists of.
func (s *MixerStream) parts() []seqmix.Stream {
	list := []seqmix.Stream{s.short}
	for _, l := range s.long {
		list = append(list, l)
	}
	return list
}

// AppendBinary appends the state.
func (s *MixerStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: mixerKind, Version: mixerVersion, Ints: s.sizes()}
	for _, p := range s.parts() {
		saved, err := p.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("monarch: %w", err)
		}
		r.Nested = append(r.Nested, saved)
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one, of a stream of a mixer with the
// same sizes and with as many sequences.
func (s *MixerStream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, mixerKind, mixerVersion, s.sizes()...)
	if err != nil {
		return fmt.Errorf("monarch: %w", err)
	}
	fresh := s.Clone().(*MixerStream) // so that nothing changes if a part is damaged
	parts := fresh.parts()
	if len(r.Nested) != len(parts) {
		return fmt.Errorf("monarch: saved state of a %s with %d parts, want %d", r.Kind, len(r.Nested), len(parts))
	}
	for i, p := range parts {
		if err := p.UnmarshalBinary(r.Nested[i]); err != nil {
			return fmt.Errorf("monarch: %w", err)
		}
	}
	for _, l := range fresh.long {
		if l.Len() != fresh.Len() {
			return fmt.Errorf("monarch: saved state of a %s whose parts are at positions %d and %d", r.Kind, fresh.Len(), l.Len())
		}
	}
	s.short, s.long = fresh.short, fresh.long
	return nil
}
