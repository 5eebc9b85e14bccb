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

// eachStretch calls f for all positions of s, on several cores: for n positions of sequence
// b, from the i-th on, at a time. So much is in the first-level cache, and takes far longer
// than a call.
func eachStretch(s tensor.Seq, f func(b, i, n int)) {
	most := max(1, stretchElements/max(s.Dim, 1))
	par.Do(s.Batch*s.Len, convGrain/max(s.Dim, 1)+1, par.Func(func(lo, hi int) {
		for lo < hi {
			b, i := lo/s.Len, lo%s.Len
			n := min(hi-lo, s.Len-i, most)
			f(b, i, n)
			lo += n
		}
	}))
}

const stretchElements = 1 << 10

// stretch returns n positions of sequence b, from the i-th on.
func stretch(s tensor.Seq, b, i, n int) []float32 {
	from := b*s.Stride + i*s.Dim
	return s.Data[from : from+n*s.Dim]
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
	mulSeq(y, y, t.z)
	return y
}

// mulSeq computes dst = x·y, element by element.
func mulSeq(dst, x, y tensor.Seq) {
	eachStretch(dst, func(b, i, n int) { kernel.Mul(stretch(dst, b, i, n), stretch(x, b, i, n), stretch(y, b, i, n)) })
}

func (t *gatedTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m, e := t.mixer, t.mixer.channels()
	checkBackward("based.GatedConv.Backward", dsrc, ddst, t.src)
	s := tensor.GetScratch()
	take := func() tensor.Seq { return s.TakeSeq(t.x.Batch, t.x.Len, e) }
	conv, y, dy, dx := take(), take(), take(), take()
	m.conv.Mix(conv, t.x)
	mulSeq(y, conv, t.z)
	m.out.Backward(dy, ddst, y, grads)
	mulSeq(y, dy, t.z)
	m.conv.Backward(dx, y, t.x, grads)
	dxz := s.TakeSeq(t.x.Batch, t.x.Len, 2*e)
	eachPosition(dxz, func(b, i int) {
		copy(dxz.At(b, i)[:e], dx.At(b, i))
		kernel.Mul(dxz.At(b, i)[e:], dy.At(b, i), conv.At(b, i))
	})
	m.in.Backward(dsrc, dxz, t.src, grads)
	tensor.PutScratch(s)
}
