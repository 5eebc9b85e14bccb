package nn

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// differentiable is a layer whose backward pass needs its input and nothing else.
type differentiable interface {
	seqmix.Mixer
	Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
}

// record records a layer by keeping its input.
func record(layer differentiable, dst, src tensor.Seq) (seqmix.Tape, error) {
	kept := keep(dst, src)
	layer.Mix(dst, src)
	return &tape{layer, kept}, nil
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
	layer differentiable
	src   tensor.Seq
}

func (t *tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.layer.Backward(dsrc, ddst, t.src, grads)
}

// normLayer is a layer whose backward pass can add something to the gradient.
type normLayer interface {
	differentiable
	backward(op string, dsrc, ddst, src, add tensor.Seq, grads seqmix.Grads)
}

// recordNorm is record of a norm.
func recordNorm(layer normLayer, dst, src tensor.Seq) (seqmix.Tape, error) {
	kept := keep(dst, src)
	layer.Mix(dst, src)
	return &normTape{tape{layer, kept}, layer}, nil
}

type normTape struct {
	tape
	norm normLayer
}

// BackwardAndAdd is Backward that adds add to dsrc, which may be ddst or add: so that what
// goes beside a norm, as in a [seqmix.Residual], needs no pass of its own.
func (t *normTape) BackwardAndAdd(dsrc, ddst, add tensor.Seq, grads seqmix.Grads) {
	const op = "nn: BackwardAndAdd of a norm"
	tensor.CheckMix(op, dsrc, add, t.src.Dim)
	t.norm.backward(op, dsrc, ddst, t.src, add, grads)
}
