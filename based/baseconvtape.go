package based

import (
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, its projection and, with a long
// filter, its convolution.
func (m *BaseConv) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("based.BaseConv.Record", dst, src, m.Dim())
	t := &baseConvTape{mixer: m, src: keep(dst, src), gate: tensor.GetSeq(src.Batch, src.Len, src.Dim)}
	src = t.src
	if m.short == nil {
		t.long = m.convolution().(*nn.LongConv)
		t.conv = tensor.GetSeq(src.Batch, src.Len, src.Dim)
		t.long.Mix(t.conv, src)
	}
	m.projection.Apply(t.gate, src)
	s := tensor.GetScratch()
	y := t.convolved(s)
	eachStretch(y, func(b, i, n int) {
		m.combine(stretch(dst, b, i, n), stretch(y, b, i, n), stretch(t.gate, b, i, n), stretch(src, b, i, n))
	})
	tensor.PutScratch(s)
	return t, nil
}

type baseConvTape struct {
	mixer *BaseConv
	src   tensor.Seq
	gate  tensor.Seq   // before its activation
	long  *nn.LongConv // nil with a short filter
	conv  tensor.Seq   // of a long filter, before its activation
}

// Release gives back what the tape keeps.
func (t *baseConvTape) Release() {
	tensor.PutSeq(t.gate, t.conv)
	*t = baseConvTape{}
}

// convolved returns the convolution after its activation.
func (t *baseConvTape) convolved(s *tensor.Scratch) tensor.Seq {
	y := s.TakeSeq(t.src.Batch, t.src.Len, t.src.Dim)
	if t.long == nil {
		t.mixer.short.Mix(y, t.src)
		return y
	}
	eachStretch(y, func(b, i, n int) { t.mixer.activation().Apply(stretch(y, b, i, n), stretch(t.conv, b, i, n)) })
	return y
}

func (t *baseConvTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m, act := t.mixer, t.mixer.activation()
	checkBackward("based.BaseConv.Backward", dsrc, ddst, t.src)
	s := tensor.GetScratch()
	take := func() tensor.Seq { return s.TakeSeq(t.src.Batch, t.src.Len, t.src.Dim) }
	conv, dconv, dgate := t.convolved(s), take(), take()
	eachStretch(conv, func(b, i, n int) {
		gate, dy, dg := stretch(t.gate, b, i, n), stretch(ddst, b, i, n), stretch(dgate, b, i, n)
		act.Gate(stretch(dconv, b, i, n), dy, gate)
		kernel.Mul(dg, stretch(conv, b, i, n), dy)
		act.Grad(dg, dg, gate)
	})
	dx := dconv
	if t.long == nil {
		dx = conv
		m.short.Backward(dx, dconv, t.src, grads)
	} else {
		t.longBackward(dx, grads)
	}
	m.projection.BackwardAdd(dx, dgate, t.src, grads)
	tensor.AddSeq(dsrc, ddst, dx)
	tensor.PutScratch(s)
}

// longBackward makes the gradient of a long convolution that of its input.
func (t *baseConvTape) longBackward(d tensor.Seq, grads seqmix.Grads) {
	m := t.mixer
	eachStretch(d, func(b, i, n int) {
		m.activation().Grad(stretch(d, b, i, n), stretch(d, b, i, n), stretch(t.conv, b, i, n))
	})
	taps := min(t.src.Len, m.cfg.LMax)
	if !slices.ContainsFunc(m.longParams(), func(p *tensor.Tensor) bool { return grads.Of(p) != nil }) {
		taps = 0
	}
	dh := tensor.NewSeq(1, taps, t.src.Dim)
	t.long.Backward(d, d, t.src, dh.Mat(), tensor.Mat{})
	if m.implicit != nil {
		m.implicit.backward(dh, grads)
		return
	}
	if df := grads.Of(m.filter); df != nil {
		for i := range taps {
			for c, v := range dh.At(0, i) {
				df[c*m.cfg.LMax+i] += v
			}
		}
	}
}
