package hyena

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Stream is a [Hyena] in the middle of a batch of sequences. It computes what
// [Hyena.Mix] does, up to rounding: the long convolutions run online, see
// [nn.LongConvStream], at a cost of O(log² n) for each position and channel on average.
// The state grows with the sequence: (N-1)·e numbers for each position.
//
// A Stream of a [Distilled] runs recurrences instead, whose cost and state do not grow.
//
// A stream ends after as many positions as the filters have taps; Mix panics with a
// *tensor.ShapeError if there are more. It sees the parameters as they are when it is
// made or reset.
type Stream struct {
	mixer   *Hyena
	source  convSource
	batch   int
	limit   int // positions, 0 for no limit
	n       int // positions so far
	short   seqmix.Stream
	long    []seqmix.Stream
	scratch tensor.Scratch
}

// convSource makes the streams of the long convolutions.
type convSource interface {
	kind() string
	streams(batch, limit int) ([]seqmix.Stream, error)
	reset(long []seqmix.Stream, limit int)
}

// StreamUpTo returns a stream at the beginning of batch sequences of up to limit
// positions. Less than LMax saves the making of filters and memory.
func (m *Hyena) StreamUpTo(batch, limit int) (*Stream, error) {
	if limit < 1 || limit > m.cfg.LMax {
		return nil, fmt.Errorf("hyena: a stream of up to %d positions, want 1 to %d", limit, m.cfg.LMax)
	}
	return m.stream(m, batch, limit)
}

func (m *Hyena) stream(source convSource, batch, limit int) (*Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("hyena: a stream of %d sequences", batch)
	}
	short, err := m.short.NewStream(batch)
	long, err2 := source.streams(batch, limit)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("hyena: %w", err)
	}
	return &Stream{mixer: m, source: source, batch: batch, limit: limit, short: short, long: long}, nil
}

func (m *Hyena) kind() string { return "hyena.Hyena" }

func (m *Hyena) streams(batch, limit int) ([]seqmix.Stream, error) {
	var list []seqmix.Stream
	for _, c := range m.bank().upTo(limit) {
		list = append(list, c.StreamUpTo(batch, limit))
	}
	return list, nil
}

func (m *Hyena) reset(long []seqmix.Stream, limit int) {
	for o, c := range m.bank().upTo(limit) {
		long[o].(*nn.LongConvStream).Rebase(c)
	}
}

// Len returns the number of positions so far.
func (s *Stream) Len() int { return s.n }

// Reset returns to the beginning of the sequences.
func (s *Stream) Reset() {
	s.n = 0
	s.short.Reset()
	s.source.reset(s.long, s.limit)
}

// Clone returns an independent stream in the same state.
func (s *Stream) Clone() seqmix.Stream {
	c := &Stream{mixer: s.mixer, source: s.source, batch: s.batch, limit: s.limit, n: s.n, short: s.short.Clone()}
	for _, l := range s.long {
		c.long = append(c.long, l.Clone())
	}
	return c
}

// check panics if src does not fit.
func (s *Stream) check(op string, src tensor.Seq) {
	if s.limit > 0 {
		s.mixer.checkLen(op, src, s.limit-s.n)
	}
}

// longest is how many positions are computed at a time, which bounds the temporary
// memory. It is a power of two, as the pieces of the long convolution are.
const longest = 1 << 14

// Mix computes the next positions.
func (s *Stream) Mix(dst, src tensor.Seq) {
	const op = "hyena.Stream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	s.check(op, src)
	for t := 0; t < src.Len; {
		n := min(src.Len-t, longest-s.n%longest)
		s.scratch.Reset()
		s.mixer.operate(dst.Slice(t, t+n), src.Slice(t, t+n), s.short, (*streamConvs)(s), &s.scratch)
		s.n += n
		t += n
	}
	s.scratch.Release()
}

// MixEach computes the projections of all streams together.
func (s *Stream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	const op = "hyena.Stream.MixEach"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	for _, t := range streams {
		t.(*Stream).check(op, src)
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
		one.n += src.Len
	}
	applyLinear(dst, m.out, v.Mat(), &s.scratch)
	s.scratch.Release()
}

// streamConvs are the long convolutions of a stream.
type streamConvs Stream

func (s *streamConvs) convolve(o int, x tensor.Seq) { s.long[o].Mix(x, x) }

const streamVersion = 1

func (s *Stream) sizes() []int {
	return []int{s.batch, s.mixer.cfg.channels(), s.mixer.cfg.Order, s.mixer.cfg.ShortFilter, s.limit}
}

// parts returns the streams that the state consists of.
func (s *Stream) parts() []seqmix.Stream { return append([]seqmix.Stream{s.short}, s.long...) }

// AppendBinary appends the state.
func (s *Stream) AppendBinary(b []byte) ([]byte, error) {
	return appendParts(b, s.source.kind(), streamVersion, append(s.sizes(), s.n), s.parts()...)
}

// UnmarshalBinary replaces the state by a saved one, of a stream of a mixer with the
// same sizes and with as many sequences.
func (s *Stream) UnmarshalBinary(saved []byte) error {
	fresh := s.Clone().(*Stream) // so that nothing changes if a part is damaged
	more, err := restoreParts(saved, s.source.kind(), streamVersion, s.sizes(), 1, fresh.parts()...)
	if err != nil {
		return err
	}
	n := more[0]
	if n < 0 || s.limit > 0 && n > s.limit {
		return fmt.Errorf("hyena: saved state of a %s after %d positions", s.source.kind(), n)
	}
	for _, l := range fresh.long {
		if l, ok := l.(*nn.LongConvStream); ok && l.Len() != n {
			return fmt.Errorf("hyena: saved state of a %s after %d positions with a part after %d", s.source.kind(), n, l.Len())
		}
	}
	s.short, s.long, s.n = fresh.short, fresh.long, n
	return nil
}
