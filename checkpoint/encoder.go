package checkpoint

import (
	"errors"

	"github.com/seqmix/seqmix/lm"
)

// LoadEncoder opens an encoder, loads it and closes it again. See [OpenModel], which opens
// encoders too; [ModelFile.Encoder] tells them from language models.
//
// An encoder of M2-BERT pads every text to the length that it was trained with, since its
// vectors depend on that (see [lm.Encoder.PadTo]).
func LoadEncoder(path string, o ModelOptions) (*lm.Encoder, error) {
	f, err := OpenModel(path, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.LoadEncoder()
}

// LoadEncoder is Load for an encoder. It is an error if the file holds a language model.
func (m *ModelFile) LoadEncoder() (*lm.Encoder, error) {
	if !m.Encoder {
		return nil, m.explain(errors.New("it is a language model, not an encoder"))
	}
	n, err := m.load()
	if err != nil {
		return nil, err
	}
	return n.encoder, nil
}

// describeEncoder fills in the fields that say what an encoder is.
func (m *ModelFile) describeEncoder(e *lm.Encoder) {
	m.Encoder = true
	m.Layers, m.Dim, m.MaxLen = len(e.Layers), e.Dim(), e.MaxLen
	m.Rows = e.Embedding.Vocabulary()
	if m.Vocabulary = e.Vocabulary; m.Vocabulary == 0 {
		m.Vocabulary = m.Rows
	}
	m.Tied = e.Masked != nil && e.Masked.Decoder.Weight == e.Embedding.Weight
}

// A whole is a model of either kind.
type whole interface {
	Model
	Check() error
	Size() (parameters, bytes int)
}

// whole returns the model or the encoder.
func (n *network) whole() whole {
	if n.encoder != nil {
		return n.encoder
	}
	return n.model
}
