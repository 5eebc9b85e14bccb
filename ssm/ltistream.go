package ssm

import (
	"fmt"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// An LTIStream is an [S4D], an [S4] or a [Modal] in the middle of a batch of sequences.
// It sees the parameters as they are when it is made or reset.
type LTIStream struct {
	system *lti
	rec    recurrence
	batch  int
	state  []float32

	dst, src tensor.Seq
	first    int
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *LTIStream) begin(system *lti, rec recurrence, batch int) {
	s.system, s.rec, s.batch = system, rec, batch
	s.state = resize(s.state, batch*rec.stateLen())
	clear(s.state)
}

// ltiStreams holds the streams that whole sequences are computed with.
var ltiStreams = sync.Pool{New: func() any { return new(LTIStream) }}

// Reset returns to the beginning of the sequences.
func (s *LTIStream) Reset() { s.begin(s.system, s.system.tables().forward, s.batch) }

// Clone returns an independent stream in the same state.
func (s *LTIStream) Clone() seqmix.Stream {
	c := new(LTIStream)
	c.begin(s.system, s.rec, s.batch)
	copy(c.state, s.state)
	return c
}

// Mix computes the next positions.
func (s *LTIStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix(s.system.names.stream, dst, src, s.system.dim)
	tensor.CheckSeq(s.system.names.stream, src, s.batch, -1, -1)
	s.run(dst, src, 0)
}

// ltiGrain is the number of nanoseconds from which it is worth splitting.
const ltiGrain = 4000

// run advances sequence first of the stream and the ones after it, as many as src has.
func (s *LTIStream) run(dst, src tensor.Seq, first int) {
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s.dst, s.src, s.first = dst, src, first
	grain := ltiGrain/(s.rec.cost()*float64(src.Len*ltiBlock)) + 1
	par.Do(src.Batch*ltiBlocks(s.rec), int(min(grain, 1<<20)), s)
	s.dst, s.src = tensor.Seq{}, tensor.Seq{}
}

// Run computes blocks lo to hi-1 of channels, those of sequence 0 first.
func (s *LTIStream) Run(lo, hi int) {
	n, size := ltiBlocks(s.rec), s.rec.stateLen()
	for lo < hi {
		b, from := lo/n, lo%n
		to := min(n, from+hi-lo)
		s.rec.run(s.dst.Sequence(b).Mat(), s.src.Sequence(b).Mat(), s.state[(s.first+b)*size:(s.first+b+1)*size], from, to)
		lo += to - from
	}
}

// State returns a copy of the state. Its shape is (batch, H, N/2, 2) for a system of H
// channels and N states, of which one of each conjugate pair is kept, as a real and an
// imaginary part. For an [S4D] whose states are real it is (batch, H, N), and for a
// [Modal] of P pairs and R real poles (batch, H, 2·P+R), pairs first.
func (s *LTIStream) State() *tensor.Tensor {
	t := tensor.New(s.shape()...)
	v, size := t.Data(), s.rec.stateLen()
	for b := range s.batch {
		n := len(v) / s.batch
		s.rec.exportState(v[b*n:(b+1)*n], s.state[b*size:(b+1)*size])
	}
	return t
}

// SetState replaces the state by one of the shape that State returns. It panics with a
// *tensor.ShapeError if it has another.
func (s *LTIStream) SetState(t *tensor.Tensor) {
	checkShape("ssm.LTIStream.SetState", t, s.shape()...)
	v, size := t.Float32s(), s.rec.stateLen()
	for b := range s.batch {
		n := len(v) / s.batch
		s.rec.importState(s.state[b*size:(b+1)*size], v[b*n:(b+1)*n])
	}
}

func (s *LTIStream) shape() []int { return s.system.statesOf(s.batch) }

// AppendBinary appends the state. It is saved as the recurrence holds it, so that a
// stream which reads it continues bit for bit.
func (s *LTIStream) AppendBinary(b []byte) ([]byte, error) {
	r := s.record()
	return r.Append(b), nil
}

func (s *LTIStream) record() state.Record {
	return state.Record{
		Kind: s.system.names.kind, Version: 1,
		Ints:   append(s.shape(), s.rec.stateLen()),
		Floats: state.FloatsOf(s.state),
	}
}

// UnmarshalBinary replaces the state by a saved one, of a stream with as many sequences
// of a mixer with as many channels and states.
func (s *LTIStream) UnmarshalBinary(saved []byte) error {
	want := s.record()
	r, err := state.Decode(saved, want.Kind, want.Version, want.Ints...)
	if err == nil {
		err = r.WantFloats(len(s.state))
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	r.Floats[0].CopyTo(s.state)
	return nil
}
