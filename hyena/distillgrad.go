package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (d *Distilled) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "hyena.Distilled.Record"
	tensor.CheckMix(op, dst, src, d.Dim())
	d.checkLen(op, src)
	return tape.Record(d, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads: see [Hyena.Backward] and [Modal.Backward]. dsrc may be ddst.
func (d *Distilled) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "hyena.Distilled.Backward"
	tape.Check(op, dsrc, ddst, src, d.Dim())
	d.checkLen(op, src)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := tensor.GetScratch()
	d.hyena.backward(dsrc, ddst, src, &modalConvs{d.filters, grads}, grads, s)
	tensor.PutScratch(s)
}

// modalConvs are convolutions with modal filters.
type modalConvs struct {
	filters []*Modal
	grads   seqmix.Grads
}

func (c *modalConvs) mix(o int, dst, src tensor.Seq) { c.filters[o].Mix(dst, src) }
func (c *modalConvs) grad(o int, d, x tensor.Seq)    { c.filters[o].Backward(d, d, x, c.grads) }
