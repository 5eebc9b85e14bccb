package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of Apply
// on src, the gradient dsrc with respect to src, and adds those with respect to the
// parameters to grads. dsrc and src are 3d wide, ddst is d wide, and dsrc must not overlap
// ddst. It panics with a *tensor.ShapeError if they do not fit.
func (c *Cascade) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "hyena.Cascade.Backward"
	checkCascade(op, ddst, src, src.Batch, c.cfg.Dim)
	tensor.CheckSeq(op, dsrc, src.Batch, src.Len, src.Dim)
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s := tensor.GetScratch()
	d := s.TakeSeq(ddst.Batch, ddst.Len, ddst.Dim)
	tensor.Copy(d, ddst)
	c.forward(src, nil, s).backward(dsrc, d, grads)
	tensor.PutScratch(s)
}

// A cascadePass is a cascade on its way forward and back.
type cascadePass struct {
	*Cascade
	src     tensor.Seq
	mask    []float32
	z       tensor.Seq // behind the short filter; later its gradient
	x, x2   tensor.Seq // x1·v, and the other gate
	y       tensor.Seq // behind the inner filter
	scratch *tensor.Scratch
}

// forward computes all but the last gate. src may have gaps between its sequences.
func (c *Cascade) forward(src tensor.Seq, mask []float32, s *tensor.Scratch) *cascadePass {
	take := func(dim int) tensor.Seq { return s.TakeSeq(src.Batch, src.Len, dim) }
	d := c.cfg.Dim
	p := &cascadePass{Cascade: c, src: src, mask: mask, z: take(3 * d), x: take(d), x2: take(d), y: take(d), scratch: s}
	c.short.Mix(p.z, src)
	applyMask(p.z, mask)
	c.split(p.x.Mat(), p.x2.Mat(), p.z.Mat())
	if c.modal != nil {
		c.modal.Mix(p.y, p.x)
	} else {
		c.conv().Mix(p.y, p.x)
	}
	return p
}

// backward takes the gradient of the result, contiguous in memory, which it overwrites, to
// that of the input.
func (p *cascadePass) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	dx2 := p.y
	runGates(dx2.Mat(), ddst.Mat(), p.y.Mat())
	dx := ddst
	runGates(dx.Mat(), ddst.Mat(), p.x2.Mat())
	if p.modal != nil {
		p.modal.Backward(dx, dx, p.x, grads)
	} else {
		p.finiteGrad(dx, grads)
	}
	p.splitGrad(dx.Mat(), dx2.Mat())
	applyMask(p.z, p.mask)
	p.short.Backward(dsrc, p.z, p.src, grads)
}

// finiteGrad takes the gradient of the result of a finite filter to that of its input.
func (p *cascadePass) finiteGrad(d tensor.Seq, grads seqmix.Grads) {
	c := p.Cascade
	dh, dd := grads.Of(c.h), []float32(nil)
	if c.d != nil {
		dd = grads.Of(c.d)
	}
	if dh == nil && dd == nil {
		c.conv().Transpose(d, d)
		return
	}
	n := c.cfg.Length
	taps := tape.Zeros(p.scratch, min(n, d.Len), d.Dim)
	c.conv().Backward(d, d, p.x, taps, tensor.Mat{})
	if dd != nil {
		kernel.Add(dd, dd, taps.Row(0))
	}
	if dh == nil {
		return
	}
	for lag := range taps.Rows {
		at := lag
		if c.cfg.Kind == ShortFilter {
			at = n - 1 - lag
		}
		for ch, v := range taps.Row(lag) {
			dh[ch*c.cfg.Groups/c.cfg.Dim*n+at] += v
		}
	}
}

// splitGrad makes z its gradient, from that of x1·v and of x2.
func (p *cascadePass) splitGrad(dx, dx2 tensor.Mat) {
	d, z := p.cfg.Dim, p.z.Mat()
	width := d
	switch p.cfg.Split {
	case Interleaved:
		for i := range z.Rows {
			row, g2 := z.Row(i), dx2.Row(i)
			for ch, g := range dx.Row(i) {
				three := row[3*ch : 3*ch+3]
				three[0], three[1], three[2] = g2[ch], g*three[2], g*three[1]
			}
		}
		return
	case ByHead:
		width = d / p.cfg.Heads
	}
	x1 := p.x.Mat() // room, x1·v is not needed any more
	for at := 0; at < d; at += width {
		to := z.Slice(3*at, 3*(at+width))
		g, room := dx.Slice(at, at+width), x1.Slice(at, at+width)
		runGates(room, g, to.Slice(2*width, 3*width))
		runGates(to.Slice(2*width, 3*width), g, to.Slice(width, 2*width))
		for i := range z.Rows {
			copy(to.Row(i)[:width], dx2.Row(i)[at:at+width])
			copy(to.Row(i)[width:2*width], room.Row(i))
		}
	}
}
