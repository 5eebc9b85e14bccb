package textmodel

import (
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
)

// An Encoder is an encoder, such as M2-BERT, with its tokenizer.
type Encoder struct {
	*lm.Encoder
	Architecture string
	Tokenizer    tokenizer.Tokenizer
	Begin        []int // tokens that texts begin with; nil for none
}

// OpenEncoder loads an encoder and its tokenizer. It is an error if path holds a language
// model.
func OpenEncoder(path string, o Options) (*Encoder, error) {
	file, t, err := open(path, o)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	e := &Encoder{Architecture: file.Architecture, Tokenizer: t, Begin: beginOf(t, file)}
	if e.Encoder, err = file.LoadEncoder(); err != nil {
		return nil, err
	}
	return e, nil
}

// Tokens returns the ids of a text.
func (e *Encoder) Tokens(text string) []int { return encode(e.Begin, e.Tokenizer, text) }
