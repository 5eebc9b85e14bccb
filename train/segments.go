package train

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Segments say how sequences are divided that are too long for one tape: into segments of
// Len positions and a rest, between which the model carries its state, as
// [seqmix.RecordSegment] says,
//
//	y[i], s[i+1] = model(x[i], s[i])        s[0]: the beginning
//
// The loss of a batch is that of whole sequences in any case. Its gradient is too, to
// rounding, unless Truncate is set: with Truncate k, the states s[k], s[2k], s[3k] … are
// taken for constants (backpropagation through time, truncated). Truncate 1 detaches the
// state behind every segment.
//
// In memory is the tape of one segment, and the states since the last one that is a
// constant. For these are computed first, without tapes, and segments are recorded once
// more on the way back: all but the last one before such a state. So with Truncate 1 each
// is recorded once.
//
// The model begins anew with each sequence of each batch: nothing is carried from one step
// of a [Run] to the next, and nothing has to be saved with it. What is to be carried over is
// to be in one sequence.
//
// Every layer has to take segments, else the error wraps errors.ErrUnsupported. Those
// whose state is their past, long convolutions and attention, have it in memory, once for
// each of these states; the former compute it again for each segment.
type Segments struct {
	Len      int // positions of a segment; 0 for whole sequences
	Truncate int // segments that a gradient goes back through; 0 for all
}

func (s Segments) check() error {
	if s.Len < 0 || s.Truncate < 0 || s.Len == 0 && s.Truncate > 0 {
		return fmt.Errorf("train: segments of %d positions, truncated after %d of them", s.Len, s.Truncate)
	}
	return nil
}

// divide reports whether sequences of this length are divided.
func (s Segments) divide(length int) bool { return s.Len > 0 && length > s.Len }

// A boundary is what a segment begins with.
type boundary struct {
	at    int // position
	state *seqmix.State
	draws []rand.PCG // see shard.drop
}

// A recording is a segment on its way forth.
type recording struct {
	x, h  tensor.Seq
	tape  seqmix.SegmentTape
	after boundary
}

// release gives back the memory of the segment, but not the state behind it.
func (r *recording) release() {
	seqmix.Release(r.tape)
	tensor.PutSeq(r.x, r.h)
}

// runSegments is run of sequences that are divided.
func (s *shard) runSegments() (score Score, err error) {
	whole := s.batch
	defer func() { s.batch, s.at = whole, 0 }()
	if s.scale == 0 {
		return s.scoreSegments(whole)
	}
	next := boundary{draws: s.draws()}
	var begun []boundary // since the last state that is a constant
	for next.at < whole.Len {
		begun = append(begun, next)
		if next.at+s.segments.Len >= whole.Len || len(begun) == s.segments.Truncate {
			var part Score
			if part, next, err = s.back(whole, begun); err != nil {
				return Score{}, err
			}
			score.Add(part)
			begun = begun[:0]
			continue
		}
		r, err := s.record(whole, next)
		if err != nil {
			return Score{}, err
		}
		r.release()
		next = r.after
	}
	return score, nil
}

// back records segments, the last first, and goes back through them. It returns what comes
// after the last.
func (s *shard) back(whole Batch, segments []boundary) (score Score, after boundary, err error) {
	var dstate *seqmix.State
	for i, b := range slices.Backward(segments) {
		r, err := s.record(whole, b)
		if err != nil {
			return Score{}, boundary{}, err
		}
		if i == len(segments)-1 {
			after = r.after
		}
		score.Add(s.backward(r.h, func(dh tensor.Seq) {
			dstate = r.tape.BackwardSegment(dh, dh, dstate, s.grads)
		}))
		r.release()
	}
	return score, after, nil
}

// take makes the positions from at on the batch of the shard: a segment, or the rest.
func (s *shard) take(whole Batch, at int) (end int) {
	end = min(at+s.segments.Len, whole.Len)
	s.batch, s.at = whole, at
	s.batch.IDs, s.batch.Labels, s.batch.Len = nil, nil, end-at
	for b := range whole.Size() {
		row := b * whole.Len
		s.batch.IDs = append(s.batch.IDs, whole.IDs[row+at:row+end]...)
		s.batch.Labels = append(s.batch.Labels, whole.Labels[row+at:row+end]...)
	}
	return end
}

// record records the segment that begins with b.
func (s *shard) record(whole Batch, b boundary) (*recording, error) {
	end := s.take(whole, b.at)
	size, n, dim := s.batch.Size(), s.batch.Len, s.model.Dim()
	s.scratch.Reset()
	r := &recording{x: tensor.GetSeq(size, n, dim), h: tensor.GetSeq(size, n, dim)}
	r.after = boundary{at: end, draws: slices.Clone(b.draws)}
	err := s.embed(r.x)
	if err == nil {
		s.drop(r.x, r.after.draws)
		r.tape, r.after.state, err = seqmix.RecordSegment(s.layers(), r.h, r.x, b.state)
	}
	if err != nil {
		return nil, fmt.Errorf("train: segment at position %d: %w", b.at, err)
	}
	return r, nil
}

// scoreSegments scores sequences without gradients.
func (s *shard) scoreSegments(whole Batch) (score Score, err error) {
	stream, err := seqmix.NewStream(s.layers(), whole.Size())
	if err != nil {
		return Score{}, fmt.Errorf("train: %w", err)
	}
	for at := 0; at < whole.Len; {
		at = s.take(whole, at)
		s.scratch.Reset()
		x := tensor.GetSeq(s.batch.Size(), s.batch.Len, s.model.Dim())
		if err = s.embed(x); err != nil {
			return Score{}, err
		}
		stream.Mix(x, x)
		score.Add(s.head(x, tensor.Seq{}))
		tensor.PutSeq(x)
	}
	return score, nil
}
