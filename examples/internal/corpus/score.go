package corpus

import (
	"math"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
)

// BitsPerByte returns how many bits a byte of held-out files takes with a model of bytes:
// each file from its beginning, as far as the model goes, up to about so many bytes.
func (c *Corpus) BitsPerByte(m *lm.Model, most int) (float64, error) {
	sum, n := 0.0, 0
	for _, text := range c.Held {
		if n >= most {
			break
		}
		if m.MaxLen > 0 {
			text = text[:min(len(text), m.MaxLen-1)]
		}
		bits, err := Bits(m, text)
		if err != nil {
			return 0, err
		}
		sum += bits
		n += len(text)
	}
	return sum / float64(n), nil
}

// Bits returns the information that a text has for a model of bytes, from its beginning.
func Bits(m *lm.Model, text []byte) (float64, error) {
	scores, err := m.Score(append([]int{0}, tokenizer.Bytes{}.Encode(string(text))...))
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, s := range scores {
		sum -= s
	}
	return sum / math.Ln2, nil
}
