package nn

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Mix on src, the gradient dsrc with respect to src, and adds those with respect to
// the parameters to grads. dsrc may be ddst.
//
// With dz for the gradient in front of the activation,
//
//	dx[t] = Σ_k w[k]·dz[t+K-1-k]    dw[k] = Σ_t dz[t]·x[t-K+1+k]    db = Σ_t dz[t]
func (c *CausalConv1D) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	checkBackward("nn.CausalConv1D.Backward", dsrc, ddst, src, c.Dim())
	s := tensor.GetScratch()
	channels, taps := c.Dim(), c.Taps()
	g := &convGrad{
		dsrc: dsrc, src: src,
		dz:     s.TakeSeq(src.Batch, src.Len, channels),
		taps:   tensor.MatOf(s.Take(taps*channels), taps, channels),
		dtaps:  tensor.MatOf(s.Take(taps*channels), taps, channels),
		part:   tensor.MatOf(s.Take(taps*channels), taps, channels),
		dbias:  gradOf(grads, c.Bias),
		frozen: grads.Of(c.Weight) == nil,
	}
	c.beforeActivation(g.dz, ddst, src)
	w := c.Weight.Data()
	for k := range taps {
		for i, row := 0, g.taps.Row(k); i < channels; i++ {
			row[i] = w[i*taps+k]
		}
	}
	clear(g.dtaps.Data)
	strips := (channels + convWidth - 1) / convWidth
	par.Do(strips, elementGrain/(src.Batch*src.Len*convWidth+1)+1, g)
	if dw := grads.Of(c.Weight); dw != nil {
		for k := range taps {
			for i, v := range g.dtaps.Row(k) {
				dw[i*taps+k] += v
			}
		}
	}
	tensor.PutScratch(s)
}

// beforeActivation makes dz the gradient with respect to what the activation is
// applied to.
func (c *CausalConv1D) beforeActivation(dz, ddst, src tensor.Seq) {
	if c.Activation == Identity {
		tensor.Copy(dz, ddst)
		return
	}
	c.mix(dz, src, Identity)
	activationGrad(c.Activation, dz, ddst)
}

// convGrad computes the gradients of a convolution without its activation.
type convGrad struct {
	dsrc, dz, src tensor.Seq
	taps, dtaps   tensor.Mat // K×channels
	part          tensor.Mat // K×channels: sums over a stretch of positions
	dbias         []float32
	frozen        bool
}

// Run computes strips of channels lo to hi-1.
func (g *convGrad) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		c0, c1 := i*convWidth, min((i+1)*convWidth, g.src.Dim)
		for b := range g.src.Batch {
			for t := 0; t < g.src.Len; t += normBlock {
				g.params(b, t, min(t+normBlock, g.src.Len), c0, c1)
			}
			g.input(b, c0, c1)
		}
	}
}

// params adds up the gradients of the parameters over positions t0 to t1-1.
func (g *convGrad) params(b, t0, t1, c0, c1 int) {
	if g.dbias != nil {
		sum := g.part.Row(0)[c0:c1]
		clear(sum)
		for t := t0; t < t1; t++ {
			kernel.Add(sum, sum, g.dz.At(b, t)[c0:c1])
		}
		kernel.Add(g.dbias[c0:c1], g.dbias[c0:c1], sum)
	}
	if g.frozen {
		return
	}
	for k := range g.taps.Rows {
		sum, total := g.part.Row(k)[c0:c1], g.dtaps.Row(k)[c0:c1]
		clear(sum)
		back := g.taps.Rows - 1 - k
		for t := max(t0, back); t < t1; t++ {
			kernel.MulAdd(sum, g.dz.At(b, t)[c0:c1], g.src.At(b, t-back)[c0:c1])
		}
		kernel.Add(total, total, sum)
	}
}

// input computes the gradient of the input of sequence b.
func (g *convGrad) input(b, c0, c1 int) {
	for t := range g.src.Len {
		dx := g.dsrc.At(b, t)[c0:c1]
		clear(dx)
		for k := range g.taps.Rows {
			if later := t + g.taps.Rows - 1 - k; later < g.src.Len {
				kernel.MulAdd(dx, g.taps.Row(k)[c0:c1], g.dz.At(b, later)[c0:c1])
			}
		}
	}
}
