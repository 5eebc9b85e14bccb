package main

import (
	"math"
	"slices"
	"time"

	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// row is what is measured in one format.
type row struct {
	size   int     // bytes of the parameters
	sum    float64 // of the logarithms of the probabilities of the tokens
	tokens int
	speed  float64 // tokens a second
}

// perplexity is exp of minus the mean logarithm.
func (r row) perplexity() float64 { return math.Exp(-r.sum / float64(r.tokens)) }

// measure predicts the text, and writes so many tokens. done is told how many tokens
// were predicted.
func measure(m *textmodel.Model, t text, decode int, done func(int)) (row, error) {
	var r row
	_, r.size = m.Size()
	for _, piece := range t.pieces {
		scores, err := m.Score(piece)
		if err != nil {
			return r, err
		}
		for _, s := range scores[t.before-1:] {
			r.sum += s
			r.tokens++
		}
		done(len(piece) - t.before)
	}
	var err error
	r.speed, err = decodeSpeed(m, t.pieces[0], decode)
	return r, err
}

// decodeSpeed feeds tokens one by one, over and over if the piece is short, and returns
// the speed at the median of their times: the machine may have other things to do.
func decodeSpeed(m *textmodel.Model, piece []int, n int) (float64, error) {
	s, err := m.NewSession()
	if err != nil {
		return 0, err
	}
	times := make([]time.Duration, n)
	for i := range times {
		if i%len(piece) == 0 {
			s.Reset()
		}
		begin := time.Now()
		if err := s.Feed(piece[i%len(piece)]); err != nil {
			return 0, err
		}
		s.Logits()
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return 1 / times[n/2].Seconds(), nil
}
