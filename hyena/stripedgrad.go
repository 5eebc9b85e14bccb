package hyena

import (
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input.
func (m *Striped) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("hyena.Striped.Record", dst, src, m.Dim())
	return tape.Record(m, dst, src)
}

// RecordMasked is [Striped.MixMasked] that keeps the input. The mask must not change until
// Backward is done.
func (m *Striped) RecordMasked(dst, src tensor.Seq, mask []float32) (seqmix.Tape, error) {
	t := tape.Of(tape.Keep(dst, src), func(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
		m.backward(dsrc, ddst, src, mask, grads)
	})
	m.MixMasked(dst, src, mask)
	return t, nil
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. It computes the forward pass again, and holds about twelve
// vectors of the width of src for each position.
func (m *Striped) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	m.backward(dsrc, ddst, src, nil, grads)
}

func (m *Striped) backward(dsrc, ddst, src tensor.Seq, mask []float32, grads seqmix.Grads) {
	tape.Check("hyena.Striped.Backward", dsrc, ddst, src, m.Dim())
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s := tensor.GetScratch()
	z, y := s.TakeSeq(src.Batch, src.Len, 3*src.Dim), s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.in.Apply(z, src)
	applyMask(z, mask)
	p := m.cascade.forward(z, mask, s)
	runGates(y.Mat(), p.y.Mat(), p.x2.Mat())
	dy := s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.out.Backward(dy, ddst, y, grads)
	p.backward(z, dy, grads)
	applyMask(z, mask)
	m.in.Backward(dsrc, z, src, grads)
	tensor.PutScratch(s)
}

// RecordMasked is [Block.MixMasked] that keeps what the backward pass needs. It is an error
// if the mixer is not a [Striped]. The mask must not change until Backward is done.
func (b *Block) RecordMasked(dst, src tensor.Seq, mask []float32) (seqmix.Tape, error) {
	m, ok := b.Mixer.(*Striped)
	if !ok {
		return nil, fmt.Errorf("hyena: a block with a mask around a %T", b.Mixer)
	}
	t := &maskedBlockTape{mask: mask}
	like := func() tensor.Seq { return tensor.NewSeq(src.Batch, src.Len, src.Dim) }
	normed, out := like(), like()
	var err error
	if t.norm, err = b.PreNorm.Record(normed, tape.Keep(dst, src)); err != nil {
		return nil, err
	}
	if t.mixer, err = m.RecordMasked(out, normed, mask); err != nil {
		return nil, err
	}
	tensor.AddSeq(out, out, src)
	applyMask(out, mask)
	t.second, err = seqmix.Record(b.stack()[1], dst, out)
	return t, err
}

type maskedBlockTape struct {
	mask                []float32
	norm, mixer, second seqmix.Tape
}

// Backward computes the gradients of both halves.
func (t *maskedBlockTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	d, inner := tensor.NewSeq(ddst.Batch, ddst.Len, ddst.Dim), tensor.NewSeq(ddst.Batch, ddst.Len, ddst.Dim)
	t.second.Backward(d, ddst, grads)
	applyMask(d, t.mask)
	t.mixer.Backward(inner, d, grads)
	t.norm.Backward(inner, inner, grads)
	tensor.AddSeq(dsrc, inner, d)
}
