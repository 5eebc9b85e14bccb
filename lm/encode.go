package lm

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// An Encoding is what an [Encoder] makes of several texts.
type Encoding struct {
	// Hidden are the vectors of all positions, of shape (texts, positions, Dim). A text
	// that is shorter than another is followed by vectors of its padding, as far as
	// [Encoder.PadTo] goes, and then by zeros.
	Hidden tensor.Seq

	// Lens are the numbers of tokens of the texts, padding not counted.
	Lens []int
}

// encodeRows is about how many positions go through the layers at a time.
const encodeRows = 1 << 13

// Encode returns the vectors of texts, which may be of different lengths. What comes out
// for a text does not depend on the others. types are the types of their tokens, and nil
// stands for 0. It is an error if a text is empty or longer than the encoder can take, or
// if a token or a type is not there.
func (e *Encoder) Encode(texts, types [][]int) (*Encoding, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	if types != nil && len(types) != len(texts) {
		return nil, fmt.Errorf("lm: types of %d texts for %d texts", len(types), len(texts))
	}
	x := &Encoding{}
	byLength := map[int][]int{} // of what the layers see
	for i, ids := range texts {
		if err := e.checkText(ids, types, i); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		n := max(len(ids), e.PadTo)
		byLength[n] = append(byLength[n], i)
		x.Lens = append(x.Lens, len(ids))
	}
	longest := 0
	for n := range byLength {
		longest = max(longest, n)
	}
	x.Hidden = tensor.NewSeq(len(texts), longest, e.Dim())
	for _, n := range slices.Sorted(maps.Keys(byLength)) {
		for some := range slices.Chunk(byLength[n], max(encodeRows/n, 1)) {
			e.encode(x.Hidden.Slice(0, n), some, texts, types)
		}
	}
	return x, nil
}

func (e *Encoder) checkText(ids []int, types [][]int, i int) error {
	switch {
	case len(ids) == 0:
		return errors.New("lm: no tokens")
	case e.MaxLen > 0 && len(ids) > e.MaxLen:
		return fmt.Errorf("lm: %d tokens, but the encoder takes %d: %w", len(ids), e.MaxLen, ErrTooLong)
	case types != nil && len(types[i]) != len(ids):
		return fmt.Errorf("lm: types of %d tokens for %d tokens", len(types[i]), len(ids))
	case types != nil && e.Types == nil:
		return errors.New("lm: types for an encoder that has none")
	}
	for at, id := range ids {
		if id < 0 || id >= e.vocabulary() {
			return fmt.Errorf("lm: token %d at position %d is not in the vocabulary of %d", id, at, e.vocabulary())
		}
		if types != nil && (types[i][at] < 0 || types[i][at] >= e.Types.Vocabulary()) {
			return fmt.Errorf("lm: type %d at position %d, but there are %d", types[i][at], at, e.Types.Vocabulary())
		}
	}
	return nil
}

// encode writes the vectors of some of the texts, all of the length of all, to all.
func (e *Encoder) encode(all tensor.Seq, some []int, texts, types [][]int) {
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	x := s.TakeSeq(len(some), all.Len, e.Dim())
	row := s.Take(e.Dim())
	for b, i := range some {
		for at := range x.Len {
			e.embed(x.At(b, at), row, texts[i], types, i, at)
		}
	}
	if e.InputNorm != nil {
		e.InputNorm.Mix(x, x)
	}
	e.Layers.Mix(x, x)
	if e.Norm != nil {
		e.Norm.Mix(x, x)
	}
	for b, i := range some {
		tensor.Copy(all.Sequence(i), x.Sequence(b))
	}
}

// embed writes what the layers see of a position. row is for temporary use.
func (e *Encoder) embed(dst, row []float32, ids []int, types [][]int, text, at int) {
	id, kind := e.Padding, 0
	if at < len(ids) {
		id = ids[at]
		if types != nil {
			kind = types[text][at]
		}
	}
	e.Embedding.Weight.Row(dst, id)
	if e.Types != nil {
		e.Types.Weight.Row(row, kind)
		tensor.Add(dst, dst, row)
	}
	if e.Positions != nil {
		e.Positions.Weight.Row(row, at)
		tensor.Add(dst, dst, row)
	}
}

// First returns the vectors of the first position of each text, where BERT has the token
// [CLS], of shape (texts, Dim).
func (x *Encoding) First() tensor.Mat {
	m := x.newRows()
	for i := range x.Lens {
		copy(m.Row(i), x.Hidden.At(i, 0))
	}
	return m
}

// Mean returns the means of the vectors of each text, of shape (texts, Dim). Those of
// padding do not count.
func (x *Encoding) Mean() tensor.Mat {
	m := x.newRows()
	for i, n := range x.Lens {
		for at := range n {
			tensor.Axpy(1/float32(n), x.Hidden.At(i, at), m.Row(i))
		}
	}
	return m
}

func (x *Encoding) newRows() tensor.Mat {
	return tensor.MatOf(make([]float32, len(x.Lens)*x.Hidden.Dim), len(x.Lens), x.Hidden.Dim)
}

// Pool returns tanh(Pooler·x) of every row x of m, or m itself if there is no pooler.
func (e *Encoder) Pool(m tensor.Mat) tensor.Mat {
	if e.Pooler == nil {
		return m
	}
	y := tensor.MatOf(make([]float32, m.Rows*e.Pooler.Out()), m.Rows, e.Pooler.Out())
	e.Pooler.ApplyMat(y, m)
	tensor.Tanh(y.Data, y.Data)
	return y
}

// Embed returns a vector for each text, by which texts can be compared: what Pool makes
// of First or, with PoolMean, of Mean. They are as the encoder was trained to make them:
// not of unit length.
func (e *Encoder) Embed(texts [][]int) (tensor.Mat, error) {
	x, err := e.Encode(texts, nil)
	if err != nil {
		return tensor.Mat{}, err
	}
	if e.PoolMean {
		return e.Pool(x.Mean()), nil
	}
	return e.Pool(x.First()), nil
}

// Logits returns the scores of all tokens of the vocabulary, the logarithms of
// unnormalised probabilities, for each position of h: vectors of [Encoding.Hidden], or of
// the positions that are of interest, as [tensor.Seq.Slice] takes them. It is an error if
// the encoder has no masked head.
func (e *Encoder) Logits(h tensor.Seq) (tensor.Seq, error) {
	if err := e.Check(); err != nil {
		return tensor.Seq{}, err
	}
	if e.Masked == nil {
		return tensor.Seq{}, errors.New("lm: the encoder has no masked head")
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	head := e.Masked
	y := s.TakeSeq(h.Batch, h.Len, head.Dense.Out())
	head.Dense.Apply(y, h)
	head.Activation.Apply(y.Data, y.Data)
	if head.Norm != nil {
		head.Norm.Mix(y, y)
	}
	logits := tensor.NewSeq(h.Batch, h.Len, e.vocabulary())
	if head.Decoder.Out() == logits.Dim {
		head.Decoder.Apply(logits, y)
		return logits, nil
	}
	all := s.TakeSeq(h.Batch, h.Len, head.Decoder.Out())
	head.Decoder.Apply(all, y)
	for i := range all.Batch * all.Len {
		copy(logits.Mat().Row(i), all.Mat().Row(i))
	}
	return logits, nil
}
