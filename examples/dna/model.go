package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
)

// A model judges bases, in windows of a certain length.
type model struct {
	*lm.Model
	summary         string
	letters         *tokenizer.Chars
	window, overlap int
}

// loadModel loads a model. A window of 0 is the longest that it can take.
func loadModel(path string, window, overlap int) (*model, error) {
	f, err := checkpoint.OpenModel(path, checkpoint.ModelOptions{Finite: true})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	letters := tokenizer.DNA()
	if f.Encoder || f.MaxLen == 0 || f.Vocabulary < letters.Vocabulary() || f.Vocabulary > 2*letters.Vocabulary() {
		return nil, fmt.Errorf("%s: %s of %d tokens, want HyenaDNA, of %d", path, f.Architecture, f.Vocabulary, letters.Vocabulary())
	}
	m := &model{summary: f.String(), letters: letters, window: window, overlap: overlap}
	switch {
	case window == 0:
		m.window = f.MaxLen
	case window > f.MaxLen:
		return nil, fmt.Errorf("-window %d, but the model takes %d bases at a time", window, f.MaxLen)
	}
	if overlap >= m.window {
		return nil, fmt.Errorf("-overlap %d, want less than the window of %d", overlap, m.window)
	}
	m.Model, err = f.Load()
	return m, err
}

// A judgement is what the model thinks of a base.
type judgement struct {
	nats  float64 // -log of the probability of the base
	right bool    // whether it is the most probable one
}

// judgeWindow returns what the model thinks of the bases of a window but the first.
func (m *model) judgeWindow(bases []byte) ([]judgement, error) {
	ids := m.letters.Encode(string(bases))
	logits, err := m.Logits(ids)
	if err != nil {
		return nil, err
	}
	list := make([]judgement, len(ids)-1)
	for i := range list {
		scores, id := logits.At(0, i), ids[i+1]
		list[i] = judgement{
			nats:  float64(tensor.LogSumExp(scores)) - float64(scores[id]),
			right: scores[id] == tensor.Max(scores) && !math.IsNaN(float64(scores[id])),
		}
	}
	return list, nil
}
