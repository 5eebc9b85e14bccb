package lm

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Model is a language model: it gives, for every position of a sequence of tokens,
// a score for each token that could come next,
//
//	x      = Embedding[id] (+ Positions[i])
//	h      = Norm(Layers(x))
//	logits = Head·h
//
// A model only reads its parameters: one may serve many goroutines at once.
//
// Its parameters are called "embedding.", "positions.", "layers.", "norm." and "head."
// and the names that the parts give them. Where the head is tied to the embedding, the
// same tensor has a name of each.
type Model struct {
	Embedding *nn.Embedding
	Positions *nn.Embedding // of the positions 0, 1, …; nil for none
	Layers    seqmix.Stack  // the blocks; causal
	Norm      seqmix.Mixer  // after the last block; nil for none
	Head      *nn.Linear    // [nn.Embedding.Head] if it is tied to the embedding

	// Vocabulary is the number of tokens. Embedding and Head may have more rows, as
	// padded checkpoints do: these are never proposed. 0 stands for all rows.
	Vocabulary int

	// MaxLen is the number of positions that the model can take; 0 for any. Hyena has
	// filters, and other models tables of positions, of a limited length.
	MaxLen int
}

// ErrTooLong is what errors wrap if a sequence is longer than the model can take.
var ErrTooLong = errors.New("sequence too long for the model")

// Dim returns the width of the vectors.
func (m *Model) Dim() int { return m.Embedding.Dim() }

// Check returns an error unless the parts of m fit together.
func (m *Model) Check() error {
	if m.Embedding == nil || m.Head == nil {
		return errors.New("lm: a model needs an embedding and a head")
	}
	dim := m.Dim()
	for i, l := range m.Layers {
		if l.Dim() != dim {
			return fmt.Errorf("lm: layer %d is %d wide, the embedding %d", i, l.Dim(), dim)
		}
	}
	rows := min(m.Embedding.Vocabulary(), m.Head.Out())
	switch {
	case m.Positions != nil && m.Positions.Dim() != dim:
		return fmt.Errorf("lm: positions are %d wide, the embedding %d", m.Positions.Dim(), dim)
	case m.Positions != nil && (m.MaxLen == 0 || m.MaxLen > m.Positions.Vocabulary()):
		return fmt.Errorf("lm: a length of %d (0 for any) with %d positions", m.MaxLen, m.Positions.Vocabulary())
	case m.Norm != nil && m.Norm.Dim() != dim:
		return fmt.Errorf("lm: the norm is %d wide, the embedding %d", m.Norm.Dim(), dim)
	case m.Head.In() != dim:
		return fmt.Errorf("lm: the head is %d wide, the embedding %d", m.Head.In(), dim)
	case m.Vocabulary < 0 || m.Vocabulary > rows || rows == 0:
		return fmt.Errorf("lm: a vocabulary of %d, but %d rows of the embedding and %d of the head", m.Vocabulary, m.Embedding.Vocabulary(), m.Head.Out())
	case m.MaxLen < 0:
		return fmt.Errorf("lm: a length of %d", m.MaxLen)
	}
	return nil
}

// vocabulary returns the number of tokens.
func (m *Model) vocabulary() int {
	if m.Vocabulary == 0 {
		return min(m.Embedding.Vocabulary(), m.Head.Out())
	}
	return m.Vocabulary
}

// Params yields the parameters.
func (m *Model) Params() iter.Seq2[string, *tensor.Tensor] { return joined(m.parts()) }

func (m *Model) parts() []part {
	list := []part{{"embedding", m.Embedding.Params}}
	if m.Positions != nil {
		list = append(list, part{"positions", m.Positions.Params})
	}
	list = append(list, part{"layers", m.Layers.Params})
	if m.Norm != nil {
		list = append(list, part{"norm", m.Norm.Params})
	}
	return append(list, part{"head", m.Head.Params})
}

// Size returns the number of parameters, shared ones counted once, and the bytes that
// they take up.
func (m *Model) Size() (parameters, bytes int) { return sizeOf(m.Params()) }

// Pack packs the weights into the order in which the kernels read them. It is done
// once, after loading, while nobody else uses the model.
func (m *Model) Pack() { pack(m.Params()) }

// Compact is [Model.Pack] into less memory, without loss: see [tensor.Tensor.Compact]. It
// pays for models that the caches of the processor do not hold, which then generate tokens
// faster.
func (m *Model) Compact() { compact(m.Params()) }

// Quantize converts the weights, the matrices that only matrix products touch, to a
// smaller format. All other parameters, and the state, stay in float32.
func (m *Model) Quantize(d tensor.DType) { quantize(m.Params(), d) }

// checkIDs returns an error unless ids can stand at positions from first on.
func (m *Model) checkIDs(ids []int, first int) error {
	if m.MaxLen > 0 && len(ids) > m.MaxLen-first {
		return fmt.Errorf("lm: %d tokens, but the model takes %d: %w", first+len(ids), m.MaxLen, ErrTooLong)
	}
	for i, id := range ids {
		if id < 0 || id >= m.vocabulary() {
			return fmt.Errorf("lm: token %d at position %d is not in the vocabulary of %d", id, first+i, m.vocabulary())
		}
	}
	return nil
}

// embed writes the vectors of checked ids at positions from first on to x.
func (m *Model) embed(s *tensor.Scratch, x tensor.Seq, ids []int, first int) {
	if err := m.Embedding.Lookup(x, ids); err != nil {
		panic(err)
	}
	if m.Positions == nil {
		return
	}
	row := s.Take(m.Dim())
	for i := range ids {
		m.Positions.Weight.Row(row, first+i)
		tensor.Add(x.At(0, i), x.At(0, i), row)
	}
}

// finish makes the results of the layers, in place, what the head reads.
func (m *Model) finish(x tensor.Seq) {
	if m.Norm != nil {
		m.Norm.Mix(x, x)
	}
}

// logits writes the scores of all tokens for each position of h, which is finished, to
// rows of dst. It uses s for those of rows that pad the vocabulary.
func (m *Model) logits(s *tensor.Scratch, dst tensor.Mat, h tensor.Seq) {
	if m.Head.Out() == dst.Cols {
		m.Head.ApplyMat(dst, h.Mat())
		return
	}
	all := tensor.MatOf(s.Take(dst.Rows*m.Head.Out()), dst.Rows, m.Head.Out())
	m.Head.ApplyMat(all, h.Mat())
	for i := range dst.Rows {
		copy(dst.Row(i), all.Row(i)[:dst.Cols])
	}
}
