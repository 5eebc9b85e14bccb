package based

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, and its projection. The error wraps
// errors.ErrUnsupported if the filter is long.
func (m *BaseConv) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("based.BaseConv.Record", dst, src, m.Dim())
	if m.short == nil {
		return nil, fmt.Errorf("based: the gradient of a BaseConv with a long filter: %w", errors.ErrUnsupported)
	}
	t := &baseConvTape{mixer: m, src: keep(dst, src), gate: tensor.NewSeq(src.Batch, src.Len, src.Dim)}
	s := tensor.GetScratch()
	y := s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.short.Mix(y, src)
	m.projection.Apply(t.gate, src)
	eachPosition(y, func(b, i int) {
		m.activation().Gate(y.At(b, i), y.At(b, i), t.gate.At(b, i))
		kernel.Add(dst.At(b, i), y.At(b, i), src.At(b, i))
	})
	tensor.PutScratch(s)
	return t, nil
}

type baseConvTape struct {
	mixer *BaseConv
	src   tensor.Seq
	gate  tensor.Seq // before its activation
}

func (t *baseConvTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m, act := t.mixer, t.mixer.activation()
	checkBackward("based.BaseConv.Backward", dsrc, ddst, t.src)
	s := tensor.GetScratch()
	take := func() tensor.Seq { return s.TakeSeq(t.src.Batch, t.src.Len, t.src.Dim) }
	conv, dconv, dgate := take(), take(), take()
	m.short.Mix(conv, t.src)
	eachPosition(conv, func(b, i int) {
		y, gate, dy := conv.At(b, i), t.gate.At(b, i), ddst.At(b, i)
		act.Gate(dconv.At(b, i), dy, gate)
		kernel.Mul(y, y, dy)
		act.Grad(dgate.At(b, i), y, gate)
	})
	m.short.Backward(dconv, dconv, t.src, grads)
	m.projection.BackwardAdd(dconv, dgate, t.src, grads)
	tensor.AddSeq(dsrc, ddst, dconv)
	tensor.PutScratch(s)
}
