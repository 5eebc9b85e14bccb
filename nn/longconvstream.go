package nn

import (
	"fmt"
	"math/bits"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// A LongConvStream is a causal [LongConv] in the middle of a batch of sequences. It
// computes the same convolution, without approximation, at an amortised cost of
// O(log² n) for a position and channel, n being the number of taps or, before so many,
// that of positions.
//
// This is an online convolution: after position t, with n = t+1 and V the largest power
// of two that divides n, one transform adds what the last V inputs contribute to the
// next V outputs. So each pair of an input and an output is met once. (Fischer and
// Stockmeyer, "Fast on-line integer multiplication", 1974; for Hyena, arXiv:2410.12982.)
// Transforms of less than 64 positions are replaced by a sum over the inputs since. A
// prompt is convolved in pieces as large as its length allows, whose ends add what the
// piece contributes to the positions after it. A position after which V is large takes
// longer than the others.
//
// The state holds one number for each channel and position, up to twice the number of
// taps: what is known of outputs to come, and the inputs in place of those that are out.
type LongConvStream struct {
	conv  *LongConv
	batch int
	limit int // positions, 0 for no limit
	n     int // positions so far
	rows  int // of each sequence in room
	room  []float32

	loop streamLoop
}

// StreamUpTo returns a stream at the beginning of batch sequences. If limit is not 0, so
// many positions are all that it takes, and room is made for no more. It panics if c has
// two sides, or if batch or limit are negative.
func (c *LongConv) StreamUpTo(batch, limit int) *LongConvStream {
	if !c.Causal() || batch < 0 || limit < 0 {
		panic(fmt.Sprintf("nn: a stream of %d sequences of %d positions of a convolution with %d taps backwards", batch, limit, c.back.Rows))
	}
	return &LongConvStream{conv: c, batch: batch, limit: limit}
}

// Len returns the number of positions so far.
func (s *LongConvStream) Len() int { return s.n }

// Reset returns to the beginning of the sequences.
func (s *LongConvStream) Reset() {
	s.n = 0
	clear(s.room)
}

// Rebase is Reset with another convolution of as many channels.
// It panics if c has two sides or another number of channels.
func (s *LongConvStream) Rebase(c *LongConv) {
	if !c.Causal() || c.Dim() != s.conv.Dim() {
		panic("nn: LongConvStream.Rebase to a convolution of another kind")
	}
	limit := s.tileLimit()
	if s.conv = c; s.tileLimit() != limit {
		s.rows, s.room = 0, nil
	}
	s.Reset()
}

// Clone returns an independent stream in the same state.
func (s *LongConvStream) Clone() seqmix.Stream {
	c := s.conv.StreamUpTo(s.batch, s.limit)
	c.n = s.n
	rows := s.savedRows(s.n)
	c.grow(s.rowsAt(s.n - 1))
	for b := range s.batch {
		copy(c.sequence(b), s.sequence(b)[:rows*s.conv.Dim()])
	}
	return c
}

// tileLimit is the length of the largest transforms: inputs farther back are out of
// reach of the taps.
func (s *LongConvStream) tileLimit() int {
	return max(minConvLen, 1<<bits.Len(uint(max(s.conv.Taps()-2, 0))))
}

// rowsAt returns how many rows the state has after n positions. Up to 2·tileLimit there
// is one for each position, later they are used in turn.
func (s *LongConvStream) rowsAt(n int) int {
	rows := 2 * s.tileLimit()
	if n < rows {
		rows = max(minConvLen, 1<<bits.Len(uint(max(n, 0))))
	}
	if s.limit > 0 {
		rows = min(rows, s.limit)
	}
	return rows
}

func (s *LongConvStream) sequence(b int) []float32 {
	n := s.rows * s.conv.Dim()
	return s.room[b*n : (b+1)*n]
}

// grow makes room for so many rows.
func (s *LongConvStream) grow(rows int) {
	old, oldRows, dim := s.room, s.rows, s.conv.Dim()
	if rows <= oldRows {
		return
	}
	s.rows = rows
	s.room = make([]float32, s.batch*rows*dim)
	for b := range s.batch {
		copy(s.sequence(b), old[b*oldRows*dim:(b+1)*oldRows*dim])
	}
}

// Mix computes the next positions. It panics with a *tensor.ShapeError if they are more
// than the limit.
func (s *LongConvStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.LongConvStream.Mix", dst, src, s.conv.Dim())
	tensor.CheckSeq("nn.LongConvStream.Mix", src, s.batch, -1, -1)
	if s.limit > 0 && src.Len > s.limit-s.n {
		panic(&tensor.ShapeError{Op: "nn.LongConvStream.Mix", Got: []int{src.Batch, src.Len, src.Dim}, Want: []int{s.batch, s.limit - s.n, src.Dim}})
	}
	for at := 0; at < src.Len; {
		left := src.Len - at
		aligned := s.n%minConvLen == 0
		if aligned {
			s.grow(s.rowsAt(s.n))
		}
		if aligned && s.n > 0 {
			s.tile()
		}
		step, m := sumStep, min(left, minConvLen-s.n%minConvLen)
		if aligned && left >= minConvLen {
			step, m = pieceStep, s.piece(left)
			s.grow(s.rowsAt(s.n + m - 1))
		}
		s.run(step, dst.Slice(at, at+m), src.Slice(at, at+m), m)
		s.n += m
		at += m
	}
}

// piece returns how many of the next positions are convolved at once: a power of two
// that divides the number of positions so far.
func (s *LongConvStream) piece(left int) int {
	m := min(1<<(bits.Len(uint(left))-1), s.tileLimit())
	if s.n > 0 {
		m = min(m, s.n&-s.n)
	}
	return m
}

// tile adds what the last inputs contribute to the next outputs.
func (s *LongConvStream) tile() {
	v := min(s.n&-s.n, s.tileLimit())
	outputs := v
	if s.limit > 0 {
		outputs = min(outputs, s.limit-s.n)
	}
	s.loop.outputs = outputs
	s.run(tileStep, tensor.Seq{}, tensor.Seq{Batch: s.batch, Dim: s.conv.Dim()}, v)
}

type convStep uint8

const (
	sumStep   convStep = iota // few positions, summed up
	pieceStep                 // many positions, transformed
	tileStep                  // outputs to come
)

// streamLoop is one step of a stream.
type streamLoop struct {
	stream   *LongConvStream
	step     convStep
	dst, src tensor.Seq
	spectrum convSpectrum
	outputs  int // of a tile
}

func (s *LongConvStream) run(step convStep, dst, src tensor.Seq, m int) {
	l := &s.loop
	l.stream, l.step, l.dst, l.src = s, step, dst, src
	grain := 1
	switch step {
	case pieceStep:
		l.spectrum = s.conv.spectrum(wholeSpectrum, m)
	case tileStep:
		l.spectrum = s.conv.spectrum(tileSpectrum, m)
	default:
		grain = sumGrain/(m*minConvLen/2*convStrip) + 1
	}
	par.Do(s.batch*l.strips(), grain, l)
	l.dst, l.src = tensor.Seq{}, tensor.Seq{}
}

func (l *streamLoop) strips() int { return (l.stream.conv.Dim() + convStrip - 1) / convStrip }

// Run computes strips lo to hi-1. Those with the same channels follow each other.
func (l *streamLoop) Run(lo, hi int) {
	s := tensor.GetScratch()
	for i := lo; i < hi; i++ {
		at := i / l.stream.batch * convStrip
		u := streamStrip{streamLoop: l, b: i % l.stream.batch, at: at, width: min(convStrip, l.stream.conv.Dim()-at)}
		s.Reset()
		switch l.step {
		case sumStep:
			u.sum(s)
		case pieceStep:
			u.piece(s)
		case tileStep:
			u.tile(s)
		}
	}
	tensor.PutScratch(s)
}

// A streamStrip is some channels of one sequence.
type streamStrip struct {
	*streamLoop
	b, at, width int
}

// row returns the row of a position.
func (u *streamStrip) row(position int) []float32 {
	return u.rowsFrom(position)[:u.width]
}

func (u *streamStrip) rowsFrom(position int) []float32 {
	s := u.stream
	return s.sequence(u.b)[position%s.rows*s.conv.Dim()+u.at:]
}

func (u *streamStrip) sum(scratch *tensor.Scratch) {
	s := u.stream
	h, dim := s.conv.fwd, s.conv.Dim()
	known := scratch.Take(u.width)
	for t := range u.src.Len {
		n := s.n + t
		row := u.row(n)
		copy(known, row)
		copy(row, u.src.At(u.b, t)[u.at:])
		inputs := min(n%minConvLen+1, h.Rows)
		kernel.ConvRow(u.dst.At(u.b, t)[u.at:], known, u.rowsFrom(n+1-inputs), dim, h.Data[u.at:], h.Stride, inputs, u.width)
	}
}

func (u *streamStrip) piece(scratch *tensor.Scratch) {
	s := u.stream
	n := u.src.Len
	y := scratch.Take(n * convStrip)
	u.transform(y, u.src.Data[u.b*u.src.Stride+u.at:], n, scratch)
	for t := range n {
		row, out := u.row(s.n+t), y[t*convStrip:][:u.width]
		kernel.Add(out, out, row)
		copy(row, u.src.At(u.b, t)[u.at:])
		copy(u.dst.At(u.b, t)[u.at:], out)
	}
}

func (u *streamStrip) tile(scratch *tensor.Scratch) {
	s := u.stream
	v := u.spectrum.plan.Len()
	y := scratch.Take(v * convStrip)
	u.transform(y, u.rowsFrom(s.n-v), v, scratch)
	for t := range u.outputs {
		row, more := u.row(s.n+t), y[t*convStrip:][:u.width]
		if v == s.tileLimit() {
			copy(row, more) // there was an input, or nothing
		} else {
			kernel.Add(row, row, more)
		}
	}
}

// transform convolves n rows of the strip.
func (u *streamStrip) transform(dst, src []float32, n int, scratch *tensor.Scratch) {
	temp, room := scratch.Take(u.spectrum.plan.ScratchLen()), scratch.Take(u.spectrum.room())
	for c := 0; c < u.width; c += convBlock {
		unit := convUnit{
			plan: u.spectrum.plan, dim: u.stream.conv.Dim(), width: min(convBlock, u.width-c),
			spectrum: u.spectrum.block((u.at+c)/convBlock, room), scratch: temp, causal: u.spectrum.causal(),
		}
		unit.convolve(dst[c:], convStrip, src[c:], n, false)
	}
}

const longConvKind, longConvVersion = "nn.LongConv", 1

func (s *LongConvStream) sizes() []int { return []int{s.batch, s.conv.Dim(), s.tileLimit(), s.limit} }

// savedRows returns how many rows of a sequence tell the state after n positions.
func (s *LongConvStream) savedRows(n int) int {
	if n <= minConvLen {
		return n
	}
	return s.rowsAt(n - 1)
}

// AppendBinary appends the state.
func (s *LongConvStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: longConvKind, Version: longConvVersion, Ints: append(s.sizes(), s.n)}
	for i := range s.batch {
		r.Floats = append(r.Floats, state.FloatsOf(s.sequence(i)[:s.savedRows(s.n)*s.conv.Dim()])...)
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences and of
// channels and the limit must be those of the stream, and that of taps about the same.
func (s *LongConvStream) UnmarshalBinary(saved []byte) error {
	r, err := state.DecodeAny(saved, longConvKind, longConvVersion)
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	n, err := s.check(r)
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	s.Reset()
	s.n = n
	s.grow(s.rowsAt(n - 1))
	for i, f := range r.Floats {
		f.CopyTo(s.sequence(i)[:f.Len()])
	}
	return nil
}

// check returns the number of positions of a saved state.
func (s *LongConvStream) check(r *state.Record) (n int, err error) {
	sizes := s.sizes()
	if len(r.Ints) == len(sizes)+1 {
		n = r.Ints[len(sizes)]
	}
	if n < 0 || int64(n) > 1<<48 || s.limit > 0 && n > s.limit {
		return 0, fmt.Errorf("saved state of a %s after %d positions", r.Kind, n)
	}
	for i, v := range append(sizes, n) {
		if len(r.Ints) <= i || r.Ints[i] != v {
			return 0, fmt.Errorf("saved state of a %s with sizes %v, want %v and the number of positions", r.Kind, r.Ints, sizes)
		}
	}
	lengths := make([]int, s.batch)
	for i := range lengths {
		lengths[i] = s.savedRows(n) * s.conv.Dim()
	}
	return n, r.WantFloats(lengths...)
}

// Inputs returns the last n inputs of each sequence, oldest first, with zeros for those
// before the beginning. n must not be above the number of taps less one.
func (s *LongConvStream) Inputs(n int) tensor.Seq {
	if n > s.conv.Taps()-1 {
		panic(fmt.Sprintf("nn: %d inputs of a stream with %d taps", n, s.conv.Taps()))
	}
	seq := tensor.NewSeq(s.batch, n, s.conv.Dim())
	dim := s.conv.Dim()
	for b := range s.batch {
		for i := max(0, n-s.n); i < n; i++ {
			copy(seq.At(b, i), s.sequence(b)[(s.n-n+i)%s.rows*dim:])
		}
	}
	return seq
}
