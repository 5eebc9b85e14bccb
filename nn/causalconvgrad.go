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
		dsrc: dsrc, dz: c.beforeActivation(dsrc, ddst, src, s), src: src,
		taps: taps, reversed: s.Take(taps * channels), dtaps: tensor.MatOf(s.Take(taps*channels), taps, channels),
		behind: s.Take((taps - 1) * channels), zeros: s.Take(min(convWidth, channels)),
		dbias:  gradOf(grads, c.Bias),
		frozen: grads.Of(c.Weight) == nil,
	}
	g.reverse(c.Weight.Data())
	clear(g.dtaps.Data)
	clear(g.zeros)
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

// beforeActivation returns the gradient with respect to what the activation is applied to,
// which does not lie where dsrc does.
func (c *CausalConv1D) beforeActivation(dsrc, ddst, src tensor.Seq, s *tensor.Scratch) tensor.Seq {
	if c.Activation == Identity && !dsrc.SameMemory(ddst) {
		return ddst
	}
	dz := s.TakeSeq(src.Batch, src.Len, src.Dim)
	if c.Activation == Identity {
		tensor.Copy(dz, ddst)
		return dz
	}
	c.mix(dz, src, Identity)
	activationGrad(c.Activation, dz, ddst)
	return dz
}

// convGrad computes the gradients of a convolution without its activation.
type convGrad struct {
	dsrc, dz, src tensor.Seq
	taps          int
	reversed      []float32  // the taps in strips of convWidth channels, the last first
	dtaps         tensor.Mat // K×channels
	dbias         []float32
	frozen        bool

	behind []float32 // strips of (K-1, convWidth), see input
	zeros  []float32 // a position of a strip
}

// reverse packs the taps.
func (g *convGrad) reverse(w []float32) {
	channels := g.src.Dim
	for c := 0; c < channels; c += convWidth {
		width := min(convWidth, channels-c)
		strip := g.reversed[c*g.taps : (c+width)*g.taps]
		kernel.PackConvTaps(strip, w[c*g.taps:], width, g.taps)
		for i, j := 0, g.taps-1; i < j; i, j = i+1, j-1 {
			for k := range width {
				strip[i*width+k], strip[j*width+k] = strip[j*width+k], strip[i*width+k]
			}
		}
	}
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
	dim, width := g.src.Dim, c1-c0
	if g.dbias != nil {
		kernel.ColumnSums(g.dbias[c0:c1], g.dz.Data[b*g.dz.Stride+t0*dim+c0:], dim, t1-t0, width)
	}
	if g.frozen {
		return
	}
	for k := range g.taps {
		back := g.taps - 1 - k
		if t := max(t0, back); t < t1 {
			dz, x := g.dz.Data[b*g.dz.Stride+t*dim+c0:], g.src.Data[b*g.src.Stride+(t-back)*dim+c0:]
			kernel.ColumnDots(g.dtaps.Row(k)[c0:c1], dz, dim, x, dim, t1-t, width)
		}
	}
}

// input computes the gradient of the input of sequence b. It is a convolution that looks
// ahead: the causal one of dz with the taps reversed, K-1 positions later.
func (g *convGrad) input(b, c0, c1 int) {
	if g.src.Len == 0 {
		return
	}
	dim, width, ahead := g.src.Dim, c1-c0, g.taps-1
	dx, dz := g.dsrc.Data[b*g.dsrc.Stride+c0:], g.dz.Data[b*g.dz.Stride+c0:]
	taps, behind := g.reversed[c0*g.taps:c1*g.taps], g.behind[c0*ahead:c1*ahead]
	for i := range ahead {
		if row := behind[i*width : (i+1)*width]; i < g.src.Len {
			copy(row, dz[i*dim:])
		} else {
			clear(row)
		}
	}
	n := max(0, g.src.Len-ahead)
	if n > 0 {
		kernel.CausalConv1D(dx, dim, dz[ahead*dim:], dim, taps, nil, behind, n, width, g.taps, kernel.ConvLinear)
	}
	if rest := g.src.Len - n; rest > 0 {
		kernel.CausalConv1D(dx[n*dim:], dim, g.zeros, 0, taps, nil, behind, rest, width, g.taps, kernel.ConvLinear)
	}
}
