package ssm

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/modes"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// lti is what the mixers of linear time-invariant systems have in common.
type lti struct {
	dim           int
	names         *systemNames
	stateShape    []int // of a sequence, without the channels
	bidirectional bool
	derive        func() *ltiTables
	params        []*tensor.Tensor // what derive depends on
	derived       memo.Memo[*ltiTables]
}

// systemNames are what a system is called in messages and saved states, made once.
type systemNames struct{ kind, mix, stream, segment string }

func namesOf(kind string) *systemNames {
	return &systemNames{kind: kind, mix: kind + ".Mix", stream: kind + ".NewStream.Mix", segment: kind + ".RecordSegment"}
}

// ltiTables are what an LTI mixer computes with instead of its parameters: one system
// from the past and, if the mixer is bidirectional, one from the future. They are not
// changed once they are made, but for the convolution, which is remembered.
type ltiTables struct {
	forward, backward recurrence

	// response returns the first n values of the impulse response of a channel,
	// without D, of the forward or the backward system.
	response func(backward bool, channel, n int) []float64

	// system returns the forward system for gradients, if its states are modes. It is
	// made once.
	system func() modes.System

	conv atomic.Pointer[nn.LongConv]
}

func (l *lti) tables() *ltiTables { return l.derived.Get(l.derive, l.params...) }

// mix computes whole sequences: by convolution or by recurrence, whichever takes less
// time.
func (l *lti) mix(dst, src tensor.Seq) {
	tensor.CheckMix(l.names.mix, dst, src, l.dim)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	switch t := l.tables(); {
	case convolutionPays(t.cost(), l.dim, src.Len):
		t.convolution(src.Len).Mix(dst, src)
	case t.backward != nil:
		l.mixBothWays(t, dst, src)
	default:
		l.recur(t.forward, dst, src)
	}
}

func (t *ltiTables) cost() float64 {
	if t.backward != nil {
		return t.forward.cost() + t.backward.cost()
	}
	return t.forward.cost()
}

// mixBothWays computes whole sequences by two recurrences. The future is the past of
// the reversed sequence, and its last position is the one before the present.
func (l *lti) mixBothWays(t *ltiTables, dst, src tensor.Seq) {
	s := tensor.GetScratch()
	future := s.TakeSeq(src.Batch, src.Len, src.Dim)
	for b := range src.Batch {
		for i := range src.Len {
			copy(future.At(b, src.Len-1-i), src.At(b, i))
		}
	}
	l.recur(t.backward, future, future)
	l.recur(t.forward, dst, src)
	for b := range src.Batch {
		for i := range src.Len - 1 {
			y := dst.At(b, i)
			tensor.Add(y, y, future.At(b, src.Len-2-i))
		}
	}
	tensor.PutScratch(s)
}

// recur computes whole sequences by a recurrence.
func (l *lti) recur(rec recurrence, dst, src tensor.Seq) {
	s := ltiStreams.Get().(*LTIStream)
	s.begin(l, rec, src.Batch)
	s.run(dst, src, 0)
	s.system, s.rec = nil, nil
	ltiStreams.Put(s)
}

// streaming returns the recurrence of a stream, or an error if there can be none.
func (l *lti) streaming(batch int) (recurrence, error) {
	if batch < 1 {
		return nil, fmt.Errorf("ssm: a stream of %d sequences", batch)
	}
	if l.bidirectional {
		return nil, fmt.Errorf("%s of both directions: %w", l.names.kind, errors.ErrUnsupported)
	}
	return l.tables().forward, nil
}

func (l *lti) newStream(batch int) (seqmix.Stream, error) {
	rec, err := l.streaming(batch)
	if err != nil {
		return nil, err
	}
	s := new(LTIStream)
	s.begin(l, rec, batch)
	return s, nil
}

// kernel returns the first n values of the impulse responses.
func (l *lti) kernel(n int) *tensor.Tensor {
	t := l.tables()
	shape := []int{l.dim, n}
	if t.backward != nil {
		shape = []int{2, l.dim, n}
	}
	k := tensor.New(shape...)
	v := k.Data()
	for i := range len(v) / max(n, 1) {
		for j, x := range t.response(i >= l.dim, i%l.dim, n) {
			v[i*n+j] = float32(x)
		}
	}
	return k
}
