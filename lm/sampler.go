package lm

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A Sampler chooses the next token. The zero value always takes the most likely one.
// Its steps, in this order: repeated tokens are made less likely, the logits are divided
// by the temperature, and of the tokens only the likeliest are kept, of which one is
// drawn.
//
// A Sampler serves one goroutine at a time.
type Sampler struct {
	// Temperature divides the logits. 0 stands for the most likely token always.
	Temperature float64

	// TopK keeps so many of the likeliest tokens; 0 for all.
	TopK int

	// TopP keeps the likeliest tokens, as many as are needed for their probabilities to
	// add up to this (arXiv:1904.09751); 0 for all.
	TopP float64

	// MinP keeps the tokens that are at least so likely, times the likeliest
	// (arXiv:2407.01082).
	MinP float64

	// RepetitionPenalty divides positive and multiplies negative logits of tokens that
	// are among the last RepetitionWindow (arXiv:1909.05858); 0 or 1 for none.
	RepetitionPenalty float64
	RepetitionWindow  int // 0 for the whole text

	// Seed makes draws that can be repeated.
	Seed uint64

	rand       *rand.Rand
	candidates []candidate
	logits     []float32
}

type candidate struct {
	id int
	p  float32 // logit, then probability
}

// Check returns an error if a field has a value that makes no sense.
func (s *Sampler) Check() error {
	switch {
	case !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("lm: temperature %v, want 0 or more", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("lm: top-k %d, want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("lm: top-p %v, want 0 to 1", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return fmt.Errorf("lm: min-p %v, want 0 to 1", s.MinP)
	case !(s.RepetitionPenalty >= 0) || math.IsInf(s.RepetitionPenalty, 0):
		return fmt.Errorf("lm: repetition penalty %v, want 0 or more", s.RepetitionPenalty)
	case s.RepetitionWindow < 0:
		return fmt.Errorf("lm: repetition window %d, want 0 or more", s.RepetitionWindow)
	}
	return nil
}

// errNoNumber is for models whose weights or states are damaged.
var errNoNumber = errors.New("lm: the logits are not numbers: the weights hold NaN or infinities, or the state overflowed")

// Sample returns a token for logits, after the tokens so far. Of equal logits the first
// counts as the largest.
func (s *Sampler) Sample(logits []float32, tokens []int) (int, error) {
	if err := s.Check(); err != nil {
		return 0, err
	}
	logits = s.penalize(logits, tokens)
	best, err := argMax(logits)
	if err != nil || s.Temperature == 0 {
		return best, err
	}
	s.keep(logits, logits[best])
	return s.draw(), nil
}

// argMax returns the index of the largest logit.
func argMax(logits []float32) (int, error) {
	best := -1
	for i, v := range logits {
		if v != v || math.IsInf(float64(v), 1) {
			return 0, errNoNumber
		}
		if best < 0 || v > logits[best] {
			best = i
		}
	}
	if best < 0 || math.IsInf(float64(logits[best]), -1) {
		return 0, errNoNumber
	}
	return best, nil
}

// penalize returns the logits with those of repeated tokens made smaller.
func (s *Sampler) penalize(logits []float32, tokens []int) []float32 {
	if s.RepetitionPenalty == 0 || s.RepetitionPenalty == 1 {
		return logits
	}
	if w := s.RepetitionWindow; w > 0 && len(tokens) > w {
		tokens = tokens[len(tokens)-w:]
	}
	s.logits = append(s.logits[:0], logits...)
	for _, id := range tokens {
		if id < 0 || id >= len(logits) {
			continue
		}
		// From the logits that were given: a token is made less likely once, however
		// often it occurs.
		v := float64(logits[id])
		if v > 0 {
			v /= s.RepetitionPenalty
		} else {
			v *= s.RepetitionPenalty
		}
		s.logits[id] = float32(v)
	}
	return s.logits
}

// keep makes candidates of the likeliest tokens, most likely first, with probabilities
// in proportion to e^(logit/Temperature).
func (s *Sampler) keep(logits []float32, top float32) {
	c := s.candidates[:0]
	least := math.Inf(-1)
	if s.MinP > 0 {
		least = float64(top) + s.Temperature*math.Log(s.MinP)
	}
	for id, v := range logits {
		if float64(v) >= least && !math.IsInf(float64(v), -1) {
			c = append(c, candidate{id, v})
		}
	}
	slices.SortFunc(c, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.id, b.id))
	})
	if s.TopK > 0 && len(c) > s.TopK {
		c = c[:s.TopK]
	}
	total := 0.0
	for i := range c {
		p := math.Exp((float64(c[i].p) - float64(top)) / s.Temperature)
		c[i].p = float32(p)
		total += p
	}
	if s.TopP > 0 && s.TopP < 1 {
		sum := 0.0
		for i := range c {
			if sum += float64(c[i].p); sum >= s.TopP*total {
				c = c[:i+1]
				break
			}
		}
	}
	s.candidates = c
}

// draw returns one of the candidates.
func (s *Sampler) draw() int {
	if s.rand == nil {
		s.rand = rand.New(rand.NewPCG(s.Seed, 0x5e9))
	}
	total := 0.0
	for _, c := range s.candidates {
		total += float64(c.p)
	}
	at := s.rand.Float64() * total
	for _, c := range s.candidates {
		if at -= float64(c.p); at < 0 {
			return c.id
		}
	}
	return s.candidates[0].id
}
