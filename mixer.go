package seqmix

import (
	"encoding"
	"errors"
	"fmt"
	"iter"

	"github.com/seqmix/seqmix/tensor"
)

// A Mixer maps a batch of sequences of vectors to one of the same shape. Selective
// state spaces, long convolutions, linear and softmax attention are Mixers, and so
// are the parts around them: norms, MLPs, residual blocks and whole stacks.
//
// A Mixer only reads its parameters, so one may serve many goroutines at once.
type Mixer interface {
	// Dim returns the width of the vectors.
	Dim() int

	// Mix computes dst from src, whole sequences at a time, each of the batch on
	// its own. dst may be src; it must not overlap src otherwise. Mix panics with
	// a *tensor.ShapeError if dst or src do not fit.
	Mix(dst, src tensor.Seq)

	// Params yields the parameters in a fixed order, each under the name it has in
	// the public checkpoints of this kind of mixer. The tensors are the mixer's own.
	Params() iter.Seq2[string, *tensor.Tensor]
}

// A Streamer is a Mixer whose output at a position depends on that position and the
// ones before it only, so that it can run while the sequence arrives.
type Streamer interface {
	Mixer

	// NewStream returns a Stream at the beginning of batch sequences. The error
	// wraps errors.ErrUnsupported if this mixer, as configured, does not stream.
	NewStream(batch int) (Stream, error)
}

// A Stream is a mixer in the middle of a batch of sequences. It owns the state it
// carries from call to call and its temporary memory, and serves one goroutine at
// a time; different Streams of one Mixer are independent.
type Stream interface {
	// Mix computes the next src.Len positions. Any number of calls give what one
	// call on the concatenation of their inputs would: decoding a token is Mix with
	// Len 1, reading a prompt is Mix with the prompt. The rules for dst and src are
	// those of Mixer.Mix; src.Batch must be the batch of the stream. In steady
	// state Mix allocates nothing.
	Mix(dst, src tensor.Seq)

	// Reset returns to the beginning of the sequences.
	Reset()

	// Clone returns an independent Stream in the same state: to branch, to roll
	// back, to search.
	Clone() Stream

	// AppendBinary appends the state in a form that UnmarshalBinary of a Stream of
	// the same mixer and batch reads, in this or in another process.
	encoding.BinaryAppender

	// UnmarshalBinary replaces the state by a saved one. If it fails, because the
	// data is damaged or belongs to something else, the state is unchanged.
	encoding.BinaryUnmarshaler
}

// A Trainer is a Mixer that can be differentiated.
type Trainer interface {
	Mixer

	// Record is Mix that keeps what the backward pass needs, on the Tape and not in
	// the Mixer. src and the parameters must not change until Backward is done,
	// unless dst is src: what is needed of src is then kept as a copy. The error
	// wraps errors.ErrUnsupported if this mixer, as configured, is not trainable.
	Record(dst, src tensor.Seq) (Tape, error)
}

// A Tape is the memory of one Record.
type Tape interface {
	// Backward computes, from the gradient ddst of a loss with respect to dst, the
	// gradient dsrc with respect to src, and adds those with respect to parameters
	// to grads. dsrc may be ddst. It may be called more than once.
	Backward(dsrc, ddst tensor.Seq, grads Grads)
}

// A Releaser is a [Tape] or [SegmentTape] that can give back the memory it keeps.
type Releaser interface {
	// Release gives the memory back, for tapes to come. Nobody uses the tape after it.
	Release()
}

// Release releases a [Tape] or a [SegmentTape] if it is a [Releaser]. To do so when its
// gradients are known is not a duty: what is not released is garbage, which is collected.
// But training that does so allocates little from one step to the next.
func Release(tape any) {
	if r, ok := tape.(Releaser); ok {
		r.Release()
	}
}

// Grads holds gradients, keyed by the parameter itself: the contributions of tied
// parameters add up, and a parameter that is not in the map is frozen and costs
// nothing.
type Grads map[*tensor.Tensor]*tensor.Tensor

// NewGrads returns zero gradients for all parameters of m but the constants among them,
// see [tensor.Tensor.SetConstant]: those are as good as frozen.
func NewGrads(m Mixer) Grads {
	g := Grads{}
	for _, p := range m.Params() {
		if g[p] == nil && !p.IsConstant() {
			g[p] = tensor.New(p.Shape()...)
		}
	}
	return g
}

// Of returns the elements of the gradient of p, or nil if p is frozen.
func (g Grads) Of(p *tensor.Tensor) []float32 {
	if t := g[p]; t != nil {
		return t.Data()
	}
	return nil
}

// NewStream returns m.NewStream(batch) if m is a [Streamer], and an error that
// wraps errors.ErrUnsupported if not. A batch below 1 is an error too.
func NewStream(m Mixer, batch int) (Stream, error) {
	s, ok := m.(Streamer)
	if !ok {
		return nil, fmt.Errorf("seqmix: %T does not stream: %w", m, errors.ErrUnsupported)
	}
	if batch < 1 {
		return nil, fmt.Errorf("seqmix: a stream of %d sequences", batch)
	}
	return s.NewStream(batch)
}

// Record returns m.Record(dst, src) if m is a [Trainer], and an error that wraps
// errors.ErrUnsupported if not.
func Record(m Mixer, dst, src tensor.Seq) (Tape, error) {
	t, ok := m.(Trainer)
	if !ok {
		return nil, fmt.Errorf("seqmix: %T cannot be trained: %w", m, errors.ErrUnsupported)
	}
	return t.Record(dst, src)
}

// Pack packs the weights of m (see [tensor.NewWeight]) into the order in which the
// kernels read them. It is done once, after loading and before the first Mix, and
// while nobody else uses m. Results do not change by it, speed does.
func Pack(m Mixer) {
	for _, p := range m.Params() {
		if p.IsWeight() {
			p.Pack()
		}
	}
}

// Compact is [Pack] into less memory, without loss, which makes a mixer faster whose weights
// the caches of the processor do not hold: see [tensor.Tensor.Compact].
func Compact(m Mixer) {
	for _, p := range m.Params() {
		if p.IsWeight() {
			p.Compact()
		}
	}
}
