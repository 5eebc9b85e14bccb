package hyena

import (
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Stream is a [Hyena] in the middle of a batch of sequences. It computes what
// [Hyena.Mix] does, up to rounding: the long convolutions run online, see
// [nn.LongConvStream], at a cost of O(log² n) for each position and channel on average.
//
// The state grows with the sequence: (N-1)·e numbers for each position. A stream ends
// after as many positions as the filters have taps; Mix panics with a *tensor.ShapeError
// if there are more. It sees the parameters as they are when it is made or reset.
type Stream struct {
	mixer   *Hyena
	batch   int
	limit   int
	short   seqmix.Stream
	long    []*nn.LongConvStream
	scratch tensor.Scratch
}

// StreamUpTo returns a stream at the beginning of batch sequences of up to limit
// positions. Less than LMax saves the making of filters and memory.
func (m *Hyena) StreamUpTo(batch, limit int) (*Stream, error) {
	if batch < 1 || limit < 1 || limit > m.cfg.LMax {
		return nil, fmt.Errorf("hyena: a stream of %d sequences of up to %d positions, want at least one of 1 to %d", batch, limit, m.cfg.LMax)
	}
	short, err := m.short.NewStream(batch)
	if err != nil {
		return nil, fmt.Errorf("hyena: %w", err)
	}
	s := &Stream{mixer: m, batch: batch, limit: limit, short: short}
	for _, c := range m.bank().upTo(limit) {
		s.long = append(s.long, c.StreamUpTo(batch, limit))
	}
	return s, nil
}

// Len returns the number of positions so far.
func (s *Stream) Len() int { return s.long[0].Len() }

// Reset returns to the beginning of the sequences.
func (s *Stream) Reset() {
	s.short.Reset()
	for o, c := range s.mixer.bank().upTo(s.limit) {
		s.long[o].Rebase(c)
	}
}

// Clone returns an independent stream in the same state.
func (s *Stream) Clone() seqmix.Stream {
	c := &Stream{mixer: s.mixer, batch: s.batch, limit: s.limit, short: s.short.Clone()}
	for _, l := range s.long {
		c.long = append(c.long, l.Clone().(*nn.LongConvStream))
	}
	return c
}

// longest is how many positions are computed at a time, which bounds the temporary
// memory. It is a power of two, as the pieces of the long convolution are.
const longest = 1 << 14

// Mix computes the next positions.
func (s *Stream) Mix(dst, src tensor.Seq) {
	const op = "hyena.Stream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	s.mixer.checkLen(op, src, s.limit-s.Len())
	for t := 0; t < src.Len; {
		n := min(src.Len-t, longest-s.Len()%longest)
		s.scratch.Reset()
		s.mixer.operate(dst.Slice(t, t+n), src.Slice(t, t+n), s.short, (*streamConvs)(s), &s.scratch)
		t += n
	}
}

// MixEach computes the projections of all streams together.
func (s *Stream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	const op = "hyena.Stream.MixEach"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	for _, t := range streams {
		one := t.(*Stream)
		s.mixer.checkLen(op, src, one.limit-one.Len())
	}
	if src.Len > blockRows/8 {
		for i, t := range streams {
			t.Mix(dst.Sequence(i), src.Sequence(i))
		}
		return
	}
	m := s.mixer
	s.scratch.Reset()
	z := s.scratch.TakeSeq(src.Batch, src.Len, m.in.Out())
	v := s.scratch.TakeSeq(src.Batch, src.Len, m.out.In())
	gates := s.scratch.TakeSeq(src.Batch, src.Len, (m.cfg.Order-1)*v.Dim)
	m.in.ApplyMat(z.Mat(), gatherRows(src, s.scratch.Take(src.Batch*src.Len*src.Dim)))
	for i, t := range streams {
		one := t.(*Stream)
		m.filterAndGate(v.Sequence(i), gates.Sequence(i), z.Sequence(i), one.short)
		m.recur(v.Sequence(i), gates.Sequence(i), (*streamConvs)(one))
	}
	applyLinear(dst, m.out, v.Mat(), &s.scratch)
}

// streamConvs are the long convolutions of a stream.
type streamConvs Stream

func (s *streamConvs) convolve(o int, x tensor.Seq) { s.long[o].Mix(x, x) }

const streamKind, streamVersion = "hyena.Hyena", 1

func (s *Stream) sizes() []int {
	return []int{s.batch, s.mixer.cfg.channels(), s.mixer.cfg.Order, s.mixer.cfg.ShortFilter, s.limit}
}

// parts returns the streams that the state consists of.
func (s *Stream) parts() []seqmix.Stream {
	list := []seqmix.Stream{s.short}
	for _, l := range s.long {
		list = append(list, l)
	}
	return list
}

// AppendBinary appends the state.
func (s *Stream) AppendBinary(b []byte) ([]byte, error) {
	return appendParts(b, streamKind, streamVersion, s.sizes(), s.parts()...)
}

// UnmarshalBinary replaces the state by a saved one, of a stream of a mixer with the
// same sizes and with as many sequences.
func (s *Stream) UnmarshalBinary(saved []byte) error {
	fresh := s.Clone().(*Stream) // so that nothing changes if a part is damaged
	if err := restoreParts(saved, streamKind, streamVersion, s.sizes(), fresh.parts()...); err != nil {
		return err
	}
	for _, l := range fresh.long {
		if l.Len() != fresh.Len() {
			return fmt.Errorf("hyena: saved state of a %s whose parts are at positions %d and %d", streamKind, fresh.Len(), l.Len())
		}
	}
	s.short, s.long = fresh.short, fresh.long
	return nil
}
