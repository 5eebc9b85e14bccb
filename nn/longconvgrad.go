package nn

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix
// on src, the gradient dsrc with respect to src, and adds those with respect to the taps h
// to dh, and with respect to g to dg:
//
//	dsrc = Transpose(ddst)
//	dh[i] = Σ_t ddst[t]·src[t-i]    dg[i] = Σ_t ddst[t]·src[t+i]
//
// Row i of dh and dg is that of lag i. They may have fewer rows than there are taps: then
// the other gradients are not computed, as they need not be for lags from the length of
// the sequences on. dsrc may be ddst; the taps need not be those of Mix. It panics with a
// *tensor.ShapeError if the shapes do not fit.
func (c *LongConv) Backward(dsrc, ddst, src tensor.Seq, dh, dg tensor.Mat) {
	const op = "nn.LongConv.Backward"
	checkBackward(op, dsrc, ddst, src, c.Dim())
	for _, g := range []struct{ grad, taps tensor.Mat }{{dh, c.fwd}, {dg, c.back}} {
		if g.grad.Rows > g.taps.Rows {
			panic(&tensor.ShapeError{Op: op, Got: []int{g.grad.Rows, g.grad.Cols}, Want: []int{g.taps.Rows, g.taps.Cols}})
		}
	}
	TapGradient(dh, ddst, src)
	TapGradient(dg, src, ddst)
	c.Transpose(dsrc, ddst)
}

// Record is Mix that keeps nothing: the taps are constants here. To train what they are
// made from, see [LongConv.Backward].
func (c *LongConv) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	c.Mix(dst, src)
	return &longConvTape{conv: c, batch: src.Batch, length: src.Len}, nil
}

type longConvTape struct {
	conv          *LongConv
	batch, length int
}

// Backward computes the gradient with respect to the input.
func (t *longConvTape) Backward(dsrc, ddst tensor.Seq, _ seqmix.Grads) {
	tensor.CheckSeq("nn.LongConv.Backward", ddst, t.batch, t.length, t.conv.Dim())
	t.conv.Transpose(dsrc, ddst)
}

// TapGradient adds the gradients of the first taps of a long convolution of src, whatever
// its taps are, to dh:
//
//	dh[i][c] += Σ_b Σ_{t≥i} ddst[b][t][c] · src[b][t-i][c]
//
// where ddst is the gradient of a loss with respect to the result. It is computed by
// transforms, as the convolution is; few taps are summed up. The sequences are added one
// after the other. It panics with a *tensor.ShapeError if the shapes do not fit.
func TapGradient(dh tensor.Mat, ddst, src tensor.Seq) {
	const op = "nn.TapGradient"
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, src.Dim)
	if dh.Rows = min(dh.Rows, src.Len); dh.Rows == 0 || src.Batch == 0 {
		return
	}
	if dh.Cols != src.Dim {
		panic(&tensor.ShapeError{Op: op, Got: []int{dh.Rows, dh.Cols}, Want: []int{dh.Rows, src.Dim}})
	}
	g := &tapGrad{dh: dh, ddst: ddst, src: src}
	if dh.Rows <= directTaps {
		par.Do((src.Dim+convStrip-1)/convStrip, 1, par.Func(g.sum))
		return
	}
	g.hop = src.Len
	size := src.Len
	if pieces := saveLen(dh.Rows); 2*pieces <= src.Len {
		size, g.hop = pieces, pieces-(dh.Rows-1)
	}
	g.plan, _ = convPlan(size)
	par.Do((src.Dim+convBlock-1)/convBlock, 1, par.Func(g.transform))
}

// tapGrad computes the gradients of taps.
type tapGrad struct {
	dh        tensor.Mat
	ddst, src tensor.Seq

	plan *kernel.ConvPlan
	hop  int // positions of ddst that are transformed together
}

// sum sums up the gradients of strips of channels lo to hi-1. The sums of some positions
// are made before they are added to those of the others, so that errors do not grow with
// the length.
func (g *tapGrad) sum(lo, hi int) {
	var room [convStrip]float32
	for i := lo; i < hi; i++ {
		c0, c1 := i*convStrip, min((i+1)*convStrip, g.src.Dim)
		part := room[:c1-c0]
		for b := range g.src.Batch {
			for t0 := 0; t0 < g.src.Len; t0 += normBlock {
				for lag := range g.dh.Rows {
					clear(part)
					for t := max(t0, lag); t < min(t0+normBlock, g.src.Len); t++ {
						kernel.MulAdd(part, g.ddst.At(b, t)[c0:c1], g.src.At(b, t-lag)[c0:c1])
					}
					total := g.dh.Row(lag)[c0:c1]
					kernel.Add(total, total, part)
				}
			}
		}
	}
}

// transform computes the gradients of blocks of channels lo to hi-1, for stretches of hop
// positions of ddst and the positions of src before them.
func (g *tapGrad) transform(lo, hi int) {
	s := tensor.GetScratch()
	size := g.plan.ScratchLen()
	spectrum, scratch, piece := s.Take(size), s.Take(size), s.Take(g.plan.Len()*convBlock)
	for block := lo; block < hi; block++ {
		c0, c1 := block*convBlock, min((block+1)*convBlock, g.src.Dim)
		for b := range g.src.Batch {
			for t := 0; t < g.src.Len; t += g.hop {
				g.stretch(b, t, c0, c1, spectrum, scratch, piece)
			}
		}
	}
	tensor.PutScratch(s)
}

// stretch adds what positions t to t+hop-1 of ddst contribute.
func (g *tapGrad) stretch(b, t, c0, c1 int, spectrum, scratch, piece []float32) {
	begin, end := max(0, t-g.dh.Rows+1), min(t+g.hop, g.src.Len)
	n, width := end-begin, c1-c0
	clear(piece[:(t-begin)*convBlock])
	for i := t; i < end; i++ {
		copy(piece[(i-begin)*convBlock:], g.ddst.At(b, i)[c0:c1])
	}
	g.plan.Spectrum(spectrum, g.src.Data[b*g.src.Stride+begin*g.src.Dim+c0:], g.src.Dim, n, width, 0, 1)
	g.plan.Correlate(piece, convBlock, piece, convBlock, n, width, spectrum, scratch, 0, 1)
	for lag := range min(g.dh.Rows, n) {
		row := g.dh.Row(lag)[c0:c1]
		kernel.Add(row, row, piece[lag*convBlock:][:width])
	}
}

// sumTransposed is Transpose by summing up, the first position first since dst may be src.
func (c *LongConv) sumTransposed(dst, src tensor.Seq) {
	s := tensor.GetScratch()
	taps, dim := min(c.Taps(), src.Len), src.Dim
	reversed := tensor.MatOf(s.Take(taps*dim), taps, dim)
	for i := range taps {
		copy(reversed.Row(i), c.fwd.Row(taps-1-i))
	}
	strips := (dim + convStrip - 1) / convStrip
	par.Do(strips*src.Batch, sumGrain/(src.Len*taps*convStrip)+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b, at := i%src.Batch, i/src.Batch*convStrip
			width := min(convStrip, dim-at)
			x, y := src.Data[b*src.Stride+at:], dst.Data[b*dst.Stride+at:]
			for t := range src.Len {
				n := min(taps, src.Len-t)
				kernel.ConvRow(y[t*dim:], noTaps[:], x[t*dim:], dim, reversed.Data[(taps-n)*dim+at:], dim, n, width)
			}
		}
	}))
	tensor.PutScratch(s)
}
