package lm

import (
	"fmt"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// stepper is the temporary memory of Step.
type stepper struct {
	scratch tensor.Scratch
	streams []seqmix.Stream
}

var steppers = sync.Pool{New: func() any { return new(stepper) }}

// Step feeds one token to each of several sessions of one model, and computes the
// logits of all: the weights are read once. The results are those of Feed and Logits of
// each session, bit for bit. If a token does not fit its session, the error says which,
// and all sessions are as before. No session may occur twice.
func Step(sessions []*Session, ids []int) error {
	if len(sessions) != len(ids) {
		return fmt.Errorf("lm: %d tokens for %d sessions", len(ids), len(sessions))
	}
	if len(sessions) == 0 {
		return nil
	}
	m := sessions[0].model
	for i, s := range sessions {
		if s.model != m {
			return fmt.Errorf("lm: session %d is of another model", i)
		}
		if err := m.checkIDs(ids[i:i+1], len(s.tokens)); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
	}
	t := steppers.Get().(*stepper)
	t.step(m, sessions, ids)
	steppers.Put(t)
	return nil
}

func (t *stepper) step(m *Model, sessions []*Session, ids []int) {
	t.scratch.Reset()
	x := t.scratch.TakeSeq(len(sessions), 1, m.Dim())
	for i, s := range sessions {
		m.embed(&t.scratch, x.Sequence(i), ids[i:i+1], len(s.tokens))
		t.streams = append(t.streams, s.stream)
	}
	seqmix.MixEach(x, x, t.streams)
	clear(t.streams)
	t.streams = t.streams[:0]

	for i, s := range sessions {
		copy(s.last, x.At(i, 0))
		s.tokens = append(s.tokens, ids[i])
	}
	m.finish(x)
	logits := tensor.MatOf(t.scratch.Take(len(sessions)*m.vocabulary()), len(sessions), m.vocabulary())
	m.logits(&t.scratch, logits, x)
	for i, s := range sessions {
		s.setLogits(func(dst tensor.Mat) { copy(dst.Data, logits.Row(i)) })
	}
	t.scratch.Release()
}
