// Package tape records mixers that compute again on the way back what they need, and so
// keep their input only.
package tape

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes gradients from the input src of a mixer: see [seqmix.Tape].
type Backward func(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)

// A Differentiable is a mixer whose backward pass needs its input and nothing else.
type Differentiable interface {
	seqmix.Mixer
	Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
}

// Record runs m and returns a tape that keeps its input.
func Record(m Differentiable, dst, src tensor.Seq) (seqmix.Tape, error) {
	t := Of(Keep(dst, src), m.Backward)
	m.Mix(dst, src)
	return t, nil
}

// Of returns a tape that calls f with src, which must not change.
func Of(src tensor.Seq, f Backward) seqmix.Tape { return &kept{src, f} }

// Keep returns src, or a copy if dst is about to overwrite it.
func Keep(dst, src tensor.Seq) tensor.Seq {
	if !dst.SameMemory(src) {
		return src
	}
	c := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(c, src)
	return c
}

type kept struct {
	src      tensor.Seq
	backward Backward
}

func (t *kept) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, t.src, grads)
}

// Check panics with a *tensor.ShapeError unless all are dim wide and of the shape of src,
// and dsrc is ddst or does not overlap it.
func Check(op string, dsrc, ddst, src tensor.Seq, dim int) {
	tensor.CheckSeq(op, src, -1, -1, dim)
	tensor.CheckMix(op, dsrc, ddst, dim)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, dim)
}

// Zeros returns a matrix of zeros in s.
func Zeros(s *tensor.Scratch, rows, cols int) tensor.Mat {
	m := tensor.MatOf(s.Take(rows*cols), rows, cols)
	clear(m.Data)
	return m
}
