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
		scores, err := m.Score(append([]int{0}, tokenizer.Bytes{}.Encode(string(text))...))
		if err != nil {
			return 0, err
		}
		for _, s := range scores {
			sum -= s
		}
		n += len(scores)
	}
	return sum / math.Ln2 / float64(n), nil
}
