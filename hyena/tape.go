package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// differentiable is a mixer whose backward pass needs its input and nothing else: what
// lies between is computed again.
type differentiable interface {
	seqmix.Mixer
	Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
}

// record records a mixer by keeping its input.
func record(m differentiable, dst, src tensor.Seq) (seqmix.Tape, error) {
	t := &tape{src: keep(dst, src), backward: m.Backward}
	m.Mix(dst, src)
	return t, nil
}

// keep returns src, or a copy if dst is about to overwrite it.
func keep(dst, src tensor.Seq) tensor.Seq {
	if !dst.SameMemory(src) {
		return src
	}
	c := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(c, src)
	return c
}

type tape struct {
	src      tensor.Seq
	backward func(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
}

func (t *tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, t.src, grads)
}

// checkBackward panics with a *tensor.ShapeError unless all are dim wide and of the shape
// of src.
func checkBackward(op string, dsrc, ddst, src tensor.Seq, dim int) {
	tensor.CheckSeq(op, src, -1, -1, dim)
	tensor.CheckMix(op, dsrc, ddst, dim)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, dim)
}

// zeroMat returns a matrix of zeros.
func zeroMat(s *tensor.Scratch, rows, cols int) tensor.Mat {
	m := tensor.MatOf(s.Take(rows*cols), rows, cols)
	clear(m.Data)
	return m
}
