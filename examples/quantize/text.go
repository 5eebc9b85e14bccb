package main

import (
	"context"
	"fmt"
	"os"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// text is what is predicted, in pieces that the model can take.
type text struct {
	pieces [][]int // each with what texts begin with, or a token before it
	before int     // so many tokens of each are not predicted
	bytes  int     // of what is
	from   string
}

// tokens returns how many tokens are predicted.
func (t *text) tokens() int {
	n := 0
	for _, p := range t.pieces {
		n += len(p) - t.before
	}
	return n
}

// read returns the text of the file, or one that m writes.
func (o *options) read(m *textmodel.Model) (text, error) {
	if o.text == "" {
		return o.write(m)
	}
	data, err := os.ReadFile(o.text)
	if err != nil {
		return text{}, err
	}
	ids := m.Tokenizer.Encode(string(data))
	t := cut(m, ids[:min(len(ids), o.limit)])
	t.from = "from " + o.text
	if t.tokens() == 0 {
		return text{}, fmt.Errorf("%s: nothing to predict in %d tokens", o.text, len(ids))
	}
	return t, nil
}

// longest is the length of a piece if the model can take any.
const longest = 1024

// cut divides tokens into pieces. Those of models whose texts do not begin with a
// certain token begin with one that is not predicted.
func cut(m *textmodel.Model, ids []int) text {
	size := longest
	if m.MaxLen > 0 {
		size = min(size, m.MaxLen)
	}
	t := text{before: max(len(m.Begin), 1)}
	step := max(size-len(m.Begin), 1)
	for len(ids) > 0 {
		n := min(step, len(ids))
		piece := append(append([]int{}, m.Begin...), ids[:n]...)
		if ids = ids[n:]; len(piece) <= t.before {
			break
		}
		t.pieces = append(t.pieces, piece)
		t.bytes += len(m.Tokenizer.Decode(piece[t.before:]...))
	}
	return t
}

// write returns texts that the model writes, as many as it takes.
func (o *options) write(m *textmodel.Model) (text, error) {
	t := text{before: max(len(m.Begin), 1), from: "written by the model"}
	start := m.Begin
	if len(start) == 0 {
		start = []int{0}
	}
	sampler := lm.Sampler{Temperature: 1, Seed: o.seed}
	for left := o.limit; left > 0; sampler.Seed++ {
		s, err := m.NewSession()
		if err != nil {
			return text{}, err
		}
		if err := s.Feed(start...); err != nil {
			return text{}, err
		}
		piece := append([]int{}, start...)
		for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: min(left, longest), Stop: m.End, Sampler: sampler}) {
			if err != nil {
				return text{}, err
			}
			piece = append(piece, id)
		}
		if m.MaxLen > 0 {
			piece = piece[:min(len(piece), m.MaxLen)]
		}
		if left -= max(len(piece)-t.before, 1); len(piece) > t.before {
			t.pieces = append(t.pieces, piece)
			t.bytes += len(m.Tokenizer.Decode(piece[t.before:]...))
		}
	}
	if len(t.pieces) == 0 {
		return text{}, fmt.Errorf("the model writes nothing; give it a text (-text)")
	}
	return t, nil
}
