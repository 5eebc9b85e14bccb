package nn

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An Embedding is a table of vectors, one for each token of a vocabulary. Weight, of
// shape (vocabulary, dim) and in any storage format and order, is called "weight".
type Embedding struct {
	Weight *tensor.Tensor
}

// NewEmbedding returns an Embedding of zeros. It panics with a *tensor.ShapeError if
// a size is negative.
func NewEmbedding(vocabulary, dim int) *Embedding {
	return &Embedding{Weight: tensor.NewWeight(vocabulary, dim)}
}

// Init draws the table from a normal distribution of mean 0 and the given standard
// deviation. PyTorch's Embedding has 1; language models mostly begin with 0.02.
func (e *Embedding) Init(r *rand.Rand, deviation float64) { Normal(e.Weight, r, deviation) }

// Dim returns the width of the vectors.
func (e *Embedding) Dim() int { return e.Weight.Dim(-1) }

// Vocabulary returns the number of tokens.
func (e *Embedding) Vocabulary() int { return e.Weight.Dim(0) }

// Params yields the table.
func (e *Embedding) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", e.Weight))
}

// Lookup writes the vectors of tokens to dst: those of ids[0:dst.Len] to sequence 0,
// and so on. If an id is not in the vocabulary it returns an error, and dst is
// unchanged. It panics with a *tensor.ShapeError if dst is not Dim wide or has
// another number of positions than there are ids.
func (e *Embedding) Lookup(dst tensor.Seq, ids []int) error {
	e.check("nn.Embedding.Lookup", dst, ids)
	for i, id := range ids {
		if id < 0 || id >= e.Vocabulary() {
			return fmt.Errorf("nn: token %d at position %d is not in the vocabulary of %d", id, i, e.Vocabulary())
		}
	}
	for i, id := range ids {
		e.Weight.Row(dst.At(i/dst.Len, i%dst.Len), id)
	}
	return nil
}

// Backward adds the gradient of the table to grads, from the gradient ddst of a loss
// with respect to the result of Lookup. ids are those that Lookup accepted.
func (e *Embedding) Backward(ddst tensor.Seq, ids []int, grads seqmix.Grads) {
	e.check("nn.Embedding.Backward", ddst, ids)
	g := grads.Of(e.Weight)
	if g == nil {
		return
	}
	dim := e.Dim()
	for i, id := range ids {
		row := g[id*dim : (id+1)*dim]
		kernel.Add(row, row, ddst.At(i/ddst.Len, i%ddst.Len))
	}
}

func (e *Embedding) check(op string, s tensor.Seq, ids []int) {
	tensor.CheckSeq(op, s, -1, -1, e.Dim())
	if len(ids) != s.Batch*s.Len {
		panic(&tensor.ShapeError{Op: op, Got: []int{len(ids)}, Want: []int{s.Batch, s.Len}})
	}
}

// Head returns the output projection that is tied to the table: a Linear without
// bias and with the same Weight, so that it makes the logits of all tokens of a
// vector, and its gradients add to those of the table.
func (e *Embedding) Head() *Linear { return &Linear{Weight: e.Weight} }
