package main

import (
	"fmt"
	"math"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// heldOut cuts the held-out files into sequences and returns about so many tokens of them,
// from places that are evenly distributed.
func heldOut(c *corpus.Tokens, length, most int) ([]train.Batch, error) {
	var pieces []train.Batch
	for _, text := range c.Held {
		for ; len(text) > length; text = text[length:] {
			b := train.Batch{Len: length}
			b.IDs, b.Labels = append(b.IDs, text[:length]...), append(b.Labels, text[1:length+1]...)
			pieces = append(pieces, b)
		}
	}
	if len(pieces) == 0 {
		return nil, fmt.Errorf("-length %d: no held-out file is as long", length)
	}
	n := min(len(pieces), max(1, most/length))
	const together = 16
	var batches []train.Batch
	for i := range n {
		if i%together == 0 {
			batches = append(batches, train.Batch{Len: length})
		}
		b, p := &batches[len(batches)-1], pieces[i*len(pieces)/n]
		b.IDs, b.Labels = append(b.IDs, p.IDs...), append(b.Labels, p.Labels...)
	}
	return batches, nil
}

// The units of losses.
const (
	bitsPerByte  = "bits per byte"
	bitsPerToken = "bits per token"
)

// bytesPerToken returns how many bytes of text a label of the batches stands for in the mean.
func bytesPerToken(c *corpus.Tokens, batches []train.Batch) float64 {
	sum, n := 0, 0
	for _, b := range batches {
		for _, id := range b.Labels {
			sum += c.Width[id]
		}
		n += len(b.Labels)
	}
	return float64(sum) / float64(n)
}

// bits returns the bits that a token of the batches takes.
func bits(m *lm.Model, batches []train.Batch) (float64, error) {
	g, err := train.NewGradient(m, 0)
	if err != nil {
		return 0, err
	}
	var all train.Score
	for _, b := range batches {
		s, err := g.Score(b)
		if err != nil {
			return 0, err
		}
		all.Add(s)
	}
	return all.Mean() / math.Ln2, nil
}

// A cost is what a model takes to write one token after a long text.
type cost struct {
	perToken time.Duration
	state    int // bytes of the state
}

// burst is how many tokens are decoded between two looks at the clock, and bursts how often.
const burst, bursts = 2, 200

// costs measures models after a text, in turn, and takes the fastest burst of each.
func costs(models []*lm.Model, text []int) ([]cost, error) {
	sessions, list := make([]*lm.Session, len(models)), make([]cost, len(models))
	for i, m := range models {
		var err error
		if sessions[i], err = m.NewSession(); err != nil {
			return nil, err
		}
		if err := sessions[i].Feed(text...); err != nil {
			return nil, err
		}
		if list[i].state, err = stateBytes(m, text); err != nil {
			return nil, err
		}
	}
	for range bursts {
		for i, s := range sessions {
			begin := time.Now()
			for k := range burst {
				if err := s.Feed(text[k%len(text)]); err != nil {
					return nil, err
				}
				s.Logits()
			}
			if d := time.Since(begin) / burst; list[i].perToken == 0 || d < list[i].perToken {
				list[i].perToken = d
			}
		}
	}
	return list, nil
}

// stateBytes returns the bytes that what a model remembers of a text takes when it is saved.
func stateBytes(m *lm.Model, text []int) (int, error) {
	s, err := seqmix.NewStream(m.Layers, 1)
	if err != nil {
		return 0, err
	}
	const piece = 512
	for len(text) > 0 {
		n := min(piece, len(text))
		x := tensor.NewSeq(1, n, m.Dim())
		if err := m.Embedding.Lookup(x, text[:n]); err != nil {
			return 0, err
		}
		s.Mix(x, x)
		text = text[n:]
	}
	saved, err := s.AppendBinary(nil)
	return len(saved), err
}
