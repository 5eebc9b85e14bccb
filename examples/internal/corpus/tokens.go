package corpus

import (
	"bytes"

	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/train"
)

// Tokens are the files of a corpus as a model of tokens reads them.
type Tokens struct {
	IDs   []int32
	Held  [][]int
	Width []int // bytes of text that each token stands for
}

// Encode returns the corpus in tokens. Every file follows those that texts begin with.
func (c *Corpus) Encode(t tokenizer.Tokenizer, begin []int) *Tokens {
	k := &Tokens{Width: widths(t)}
	if len(c.Text) > 0 {
		for text := range bytes.SplitSeq(c.Text[1:], []byte{0}) {
			for _, ids := range [][]int{begin, t.Encode(string(text))} {
				for _, id := range ids {
					k.IDs = append(k.IDs, int32(id))
				}
			}
		}
	}
	for _, text := range c.Held {
		k.Held = append(k.Held, append(append([]int(nil), begin...), t.Encode(string(text))...))
	}
	return k
}

// widths returns the bytes that tokens stand for within a text. At its beginning, a
// tokenizer may drop a space.
func widths(t tokenizer.Tokenizer) []int {
	within := t.Encode("a")
	before := len(t.Decode(within...))
	w := make([]int, t.Vocabulary())
	for id := range w {
		w[id] = len(t.Decode(append(within[:len(within):len(within)], id)...)) - before
	}
	return w
}

// Batch is [Corpus.Batch] of tokens.
func (k *Tokens) Batch(seed uint64, step, size, length int) train.Batch {
	return batch(k.IDs, seed, step, size, length)
}
