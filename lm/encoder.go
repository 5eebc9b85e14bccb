package lm

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An Encoder makes vectors of texts, each of whose positions may depend on all others,
//
//	x = Embedding[id] (+ Positions[i]) (+ Types[type])
//	h = Norm(Layers(InputNorm(x)))
//
// as BERT does (arXiv:1810.04805) and M2-BERT (arXiv:2310.12109), which has Monarch Mixer
// in place of attention. [Encoder.Encode] returns the vectors of all positions,
// [Encoder.Embed] one for each text, and [Encoder.Logits] what could stand at a position.
//
// An encoder only reads its parameters: one may serve many goroutines at once.
//
// Its parameters are called "embedding.", "positions.", "types.", "input_norm.", "layers.",
// "norm.", "pooler." and "masked." and the names that the parts give them.
type Encoder struct {
	Embedding *nn.Embedding
	Positions *nn.Embedding // of the positions 0, 1, …; nil for none
	Types     *nn.Embedding // of the types of tokens, as in the first and the second of two sentences; nil for none
	InputNorm seqmix.Mixer  // before the first layer; nil for none
	Layers    seqmix.Stack
	Norm      seqmix.Mixer // after the last layer; nil for none

	Pooler   *nn.Linear // see Pool; nil for none
	PoolMean bool       // whether Embed pools the mean, and not the first position

	Masked *MaskedHead // nil for none

	// Vocabulary is the number of tokens. Embedding may have more rows. 0 stands for all
	// rows.
	Vocabulary int

	// MaxLen is the number of positions that the encoder can take; 0 for any.
	MaxLen int

	// PadTo is the least number of positions that the layers see: shorter texts are
	// continued with the token Padding. Mixers without a mask, as those of M2-BERT, see
	// what pads a text, so that it matters: M2-BERT was trained, and is published, with
	// all texts padded to MaxLen. 0 pads nothing.
	PadTo, Padding int
}

// A MaskedHead gives a score for each token that could stand at a position,
//
//	logits = Decoder · Norm(Activation(Dense·h))
//
// that of a masked language model, which was trained to fill gaps. The weight of Decoder
// may be that of the embedding. Its parameters are called "dense.", "norm." and "decoder.".
type MaskedHead struct {
	Dense      *nn.Linear
	Activation nn.Activation
	Norm       seqmix.Mixer // nil for none
	Decoder    *nn.Linear
}

// Dim returns the width of the vectors.
func (e *Encoder) Dim() int { return e.Embedding.Dim() }

// Check returns an error unless the parts of e fit together.
func (e *Encoder) Check() error {
	if e.Embedding == nil {
		return errors.New("lm: an encoder needs an embedding")
	}
	dim, rows := e.Dim(), e.Embedding.Vocabulary()
	for i, l := range e.Layers {
		if l.Dim() != dim {
			return fmt.Errorf("lm: layer %d is %d wide, the embedding %d", i, l.Dim(), dim)
		}
	}
	if err := e.checkParts(); err != nil {
		return err
	}
	switch {
	case e.Vocabulary < 0 || e.Vocabulary > rows || rows == 0:
		return fmt.Errorf("lm: a vocabulary of %d, but %d rows of the embedding", e.Vocabulary, rows)
	case e.MaxLen < 0 || e.Positions != nil && (e.MaxLen == 0 || e.MaxLen > e.Positions.Vocabulary()):
		return fmt.Errorf("lm: a length of %d (0 for any), which does not fit the positions", e.MaxLen)
	case e.PadTo < 0 || e.MaxLen > 0 && e.PadTo > e.MaxLen:
		return fmt.Errorf("lm: texts padded to %d positions, but the encoder takes %d", e.PadTo, e.MaxLen)
	case e.Padding < 0 || e.Padding >= e.vocabulary():
		return fmt.Errorf("lm: the token %d for padding is not in the vocabulary of %d", e.Padding, e.vocabulary())
	}
	return nil
}

// checkParts compares the widths of what is around the layers.
func (e *Encoder) checkParts() error {
	dim := e.Dim()
	for name, width := range map[string]int{"positions": widthOf(e.Positions), "types": widthOf(e.Types)} {
		if width >= 0 && width != dim {
			return fmt.Errorf("lm: %s are %d wide, the embedding %d", name, width, dim)
		}
	}
	for _, norm := range []seqmix.Mixer{e.InputNorm, e.Norm} {
		if norm != nil && norm.Dim() != dim {
			return fmt.Errorf("lm: a norm is %d wide, the embedding %d", norm.Dim(), dim)
		}
	}
	if p := e.Pooler; p != nil && p.In() != dim {
		return fmt.Errorf("lm: the pooler is %d wide, the embedding %d", p.In(), dim)
	}
	h := e.Masked
	if h == nil {
		return nil
	}
	switch {
	case h.Dense == nil || h.Decoder == nil:
		return errors.New("lm: a masked head needs a dense layer and a decoder")
	case h.Dense.In() != dim, h.Decoder.In() != h.Dense.Out(), h.Norm != nil && h.Norm.Dim() != h.Dense.Out():
		return fmt.Errorf("lm: the parts of the masked head do not fit each other and the embedding, which is %d wide", dim)
	case h.Decoder.Out() < e.vocabulary():
		return fmt.Errorf("lm: a masked head for %d tokens and a vocabulary of %d", h.Decoder.Out(), e.vocabulary())
	}
	return nil
}

// widthOf returns the width of a table, or -1 if there is none.
func widthOf(t *nn.Embedding) int {
	if t == nil {
		return -1
	}
	return t.Dim()
}

func (e *Encoder) vocabulary() int {
	if e.Vocabulary == 0 {
		return e.Embedding.Vocabulary()
	}
	return e.Vocabulary
}

// Params yields the parameters.
func (e *Encoder) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []part{{"embedding", e.Embedding.Params}}
	if e.Positions != nil {
		list = append(list, part{"positions", e.Positions.Params})
	}
	if e.Types != nil {
		list = append(list, part{"types", e.Types.Params})
	}
	if e.InputNorm != nil {
		list = append(list, part{"input_norm", e.InputNorm.Params})
	}
	list = append(list, part{"layers", e.Layers.Params})
	if e.Norm != nil {
		list = append(list, part{"norm", e.Norm.Params})
	}
	if e.Pooler != nil {
		list = append(list, part{"pooler", e.Pooler.Params})
	}
	if e.Masked != nil {
		list = append(list, part{"masked", e.Masked.Params})
	}
	return joined(list)
}

// Params yields the parameters.
func (h *MaskedHead) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []part{{"dense", h.Dense.Params}}
	if h.Norm != nil {
		list = append(list, part{"norm", h.Norm.Params})
	}
	return joined(append(list, part{"decoder", h.Decoder.Params}))
}

// Size returns the number of parameters, shared ones counted once, and the bytes that
// they take up.
func (e *Encoder) Size() (parameters, bytes int) { return sizeOf(e.Params()) }

// Pack packs the weights: see [Model.Pack].
func (e *Encoder) Pack() { pack(e.Params()) }

// Compact makes the weights compact: see [Model.Compact].
func (e *Encoder) Compact() { compact(e.Params()) }

// Quantize converts the weights to a smaller format: see [Model.Quantize].
func (e *Encoder) Quantize(d tensor.DType) { quantize(e.Params(), d) }
