package based

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps what Backward needs: src, and both halves of its projection.
func (m *GatedConv) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("based.GatedConv.Record", dst, src, m.Dim())
	e := m.channels()
	t := &gatedTape{mixer: m, src: keep(dst, src), x: tensor.GetSeq(src.Batch, src.Len, e), z: tensor.GetSeq(src.Batch, src.Len, e)}
	s := tensor.GetScratch()
	xz := s.TakeSeq(src.Batch, src.Len, 2*e)
	m.in.Apply(xz, src)
	eachPosition(xz, func(b, i int) {
		copy(t.x.At(b, i), xz.At(b, i)[:e])
		copy(t.z.At(b, i), xz.At(b, i)[e:])
	})
	y := t.gated(s.TakeSeq(src.Batch, src.Len, e))
	m.out.Apply(dst, y)
	tensor.PutScratch(s)
	return t, nil
}

// Reach returns how many inputs before a position count: see [seqmix.RecordSegment].
func (s *GatedConvStream) Reach() int { return s.mixer.cfg.Kernel - 1 }

// eachPosition calls f for all positions of s, on several cores.
func eachPosition(s tensor.Seq, f func(b, i int)) {
	par.Do(s.Batch*s.Len, convGrain/max(s.Dim, 1)+1, par.Func(func(lo, hi int) {
		for p := lo; p < hi; p++ {
			f(p/s.Len, p%s.Len)
		}
	}))
}

type gatedTape struct {
	mixer *GatedConv
	src   tensor.Seq
	x, z  tensor.Seq
}

// Release gives back what the tape keeps.
func (t *gatedTape) Release() {
	tensor.PutSeq(t.x, t.z)
	*t = gatedTape{}
}

// gated computes the gated convolution in y, which it returns.
func (t *gatedTape) gated(y tensor.Seq) tensor.Seq {
	t.mixer.conv.Mix(y, t.x)
	eachPosition(y, func(b, i int) { kernel.Mul(y.At(b, i), y.At(b, i), t.z.At(b, i)) })
	return y
}

func (t *gatedTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m, e := t.mixer, t.mixer.channels()
	checkBackward("based.GatedConv.Backward", dsrc, ddst, t.src)
	s := tensor.GetScratch()
	take := func() tensor.Seq { return s.TakeSeq(t.x.Batch, t.x.Len, e) }
	conv, y, dy, dx := take(), take(), take(), take()
	m.conv.Mix(conv, t.x)
	eachPosition(y, func(b, i int) { kernel.Mul(y.At(b, i), conv.At(b, i), t.z.At(b, i)) })
	m.out.Backward(dy, ddst, y, grads)
	eachPosition(y, func(b, i int) { kernel.Mul(y.At(b, i), dy.At(b, i), t.z.At(b, i)) })
	m.conv.Backward(dx, y, t.x, grads)
	dxz := s.TakeSeq(t.x.Batch, t.x.Len, 2*e)
	eachPosition(dxz, func(b, i int) {
		copy(dxz.At(b, i)[:e], dx.At(b, i))
		kernel.Mul(dxz.At(b, i)[e:], dy.At(b, i), conv.At(b, i))
	})
	m.in.Backward(dsrc, dxz, t.src, grads)
	tensor.PutScratch(s)
}
