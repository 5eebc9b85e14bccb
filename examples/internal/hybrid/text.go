package hybrid

import (
	"fmt"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// IsSaved reports whether Save wrote a file.
func IsSaved(f *checkpoint.File) bool { return f.Metadata()[configKey] != "" }

// Text returns a model with its tokenizer: that of bytes, or the one in a folder.
func (c Config) Text(m *lm.Model, folder string) (*textmodel.Model, error) {
	t := &textmodel.Model{Model: m, Architecture: "hybrid", Begin: c.Begin, End: c.End}
	if c.Vocabulary == 0 {
		t.Tokenizer, t.Begin, t.End = tokenizer.Bytes{}, []int{0}, []int{0}
		return t, nil
	}
	k, err := tokenizer.Open(folder)
	if err != nil {
		return nil, err
	}
	if k.Vocabulary() > c.Vocabulary {
		return nil, fmt.Errorf("the tokenizer in %s has %d tokens, the model %d", folder, k.Vocabulary(), c.Vocabulary)
	}
	t.Tokenizer = k
	return t, nil
}
