package tokenizer

import "fmt"

// A Vocabulary is what byte-level tokenizers are made of, for files that hold it in a form
// of their own, as GGUF files do.
type Vocabulary struct {
	Tokens []string // in the order of their ids, as byte-level tokenizers spell them
	Merges []string // pairs of tokens with a blank between, in order

	// Special are the ids of tokens that are found in a text before anything else, as
	// they are, and UserDefined those that are found after normalization.
	Special, UserDefined []int

	// Begin are the ids that are put before a text.
	Begin []int

	Pattern Pattern
	NFC     bool // texts are brought to the normalization form C of Unicode, as for GPT-NeoX
	Whole   bool // a piece that is a token needs no merging, as for Llama 3
}

// A Pattern says how a text is divided before pairs are joined.
type Pattern uint8

// The patterns.
const (
	GPT2Pattern   Pattern = iota // of GPT-2 and GPT-NeoX
	Llama3Pattern                // of Llama 3
	patternCount
)

// NewByteLevel returns the tokenizer of a vocabulary.
func NewByteLevel(v Vocabulary) (*BPE, error) {
	if v.Pattern >= patternCount {
		return nil, fmt.Errorf("tokenizer: unknown pattern %d", v.Pattern)
	}
	merges, err := splitMerges(v.Merges)
	if err != nil {
		return nil, err
	}
	t, err := newByteLevel(v.Tokens, merges)
	if err != nil {
		return nil, err
	}
	t.split = [patternCount]splitter{splitGPT2, splitLlama3}[v.Pattern]
	t.whole, t.begin = v.Whole, v.Begin
	if v.NFC {
		t.normalize = composed
	}
	for _, list := range []struct {
		ids        []int
		normalized bool
	}{{v.Special, false}, {v.UserDefined, true}} {
		for _, id := range list.ids {
			if id < 0 || id >= len(v.Tokens) {
				return nil, fmt.Errorf("tokenizer: token %d is not in the vocabulary of %d", id, len(v.Tokens))
			}
			t.added.add(addedToken{Content: v.Tokens[id], ID: id, Normalized: list.normalized})
			t.texts[id] = v.Tokens[id]
		}
	}
	return t, nil
}
