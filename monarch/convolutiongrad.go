package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of Apply on
// src and k, the gradients dsrc and dk with respect to these, and adds those with respect to
// the tensors of the bases to grads, if c was made by [NewPolynomialConvolution]. With u for
// M2·src, v for M1·k, and gradients of complex numbers as those of the real part plus i times
// those of the imaginary part,
//
//	d(u⊙v) = M0⁻ᴴ·ddst    dsrc = M2ᴴ·(d(u⊙v) ⊙ conj(v))    dk = M1ᴴ·(d(u⊙v) ⊙ conj(u))
//
// All have Len rows and as many columns, and dsrc and dk must not overlap the others. It
// panics with a *tensor.ShapeError if they do not fit.
func (c *Convolution) Backward(dsrc, dk, ddst, src, k tensor.Mat, grads seqmix.Grads) {
	for _, m := range []tensor.Mat{dsrc, dk, ddst, src, k} {
		checkMat("monarch.Convolution.Backward", m, c.n, src.Cols)
	}
	s := tensor.GetScratch()
	p := c.newPass(src.Cols, grads, s)
	c.kernel.ApplyColumns(p.v, k)
	p.run(dsrc, ddst, src)
	p.finish(dk, k)
	tensor.PutScratch(s)
}

// A convolutionPass is the backward pass of any number of convolutions with one k. The
// matrices have a row for each number that a value has.
type convolutionPass struct {
	*Convolution
	grads seqmix.Grads
	dw    [3][][]float32 // of the stages of output, kernel and input

	v, dv tensor.Mat // M1·k
	u, d  tensor.Mat // M2·src; temporary
	both  tensor.Mat // u⊙v
	room  []float32
}

func (c *Convolution) newPass(cols int, grads seqmix.Grads, s *tensor.Scratch) *convolutionPass {
	p := &convolutionPass{Convolution: c, grads: grads}
	rows := c.kernel.out
	for _, m := range []*tensor.Mat{&p.v, &p.dv, &p.u, &p.d, &p.both} {
		*m = tensor.MatOf(s.Take(rows*cols), rows, cols)
	}
	clear(p.dv.Data)
	p.room = s.Take(2 * cols)
	for i, m := range []*Matrix{c.output, c.kernel, c.input} {
		p.dw[i] = make([][]float32, len(m.stages))
		if c.bases == nil || c.bases[i].frozen(grads) {
			continue
		}
		for j, stage := range m.stages {
			p.dw[i][j] = s.Take(stage.weights.Len())
			clear(p.dw[i][j])
		}
	}
	return p
}

// run computes the gradient of src, and adds to that of M1·k.
func (p *convolutionPass) run(dsrc, ddst, src tensor.Mat) {
	p.input.ApplyColumns(p.u, src)
	copy(p.both.Data, p.u.Data)
	if p.pairs {
		multiplyPairs(p.both, p.v, p.room)
	} else {
		gateRows(p.both, p.both, p.v)
	}
	p.output.backwardColumns(p.d, ddst, p.both, p.dw[0])
	p.productGrad()
	p.input.backwardColumns(dsrc, p.d, src, p.dw[2])
}

// productGrad takes the gradient d of u⊙v to that of u, and adds that of v to dv.
func (p *convolutionPass) productGrad() {
	if !p.pairs {
		kernel.MulAdd(p.dv.Data, p.d.Data, p.u.Data)
		gateRows(p.d, p.d, p.v)
		return
	}
	cols := p.d.Cols
	re, im := p.room[:cols], p.room[cols:2*cols]
	for i := 0; i < p.d.Rows; i += 2 {
		dr, di := p.d.Row(i), p.d.Row(i+1)
		timesConj(re, im, dr, di, p.u.Row(i), p.u.Row(i+1))
		kernel.Add(p.dv.Row(i), p.dv.Row(i), re)
		kernel.Add(p.dv.Row(i+1), p.dv.Row(i+1), im)
		timesConj(re, im, dr, di, p.v.Row(i), p.v.Row(i+1))
		copy(dr, re)
		copy(di, im)
	}
}

// timesConj computes (ar+i·ai)·conj(br+i·bi).
func timesConj(re, im, ar, ai, br, bi []float32) {
	kernel.Mul(im, ar, bi)
	kernel.Mul(re, ai, br)
	kernel.Sub(im, re, im)
	kernel.Mul(re, ar, br)
	kernel.MulAdd(re, ai, bi)
}

// finish computes the gradient of k and adds those of the bases.
func (p *convolutionPass) finish(dk, k tensor.Mat) {
	p.kernel.backwardColumns(dk, p.dv, k, p.dw[1])
	if p.bases == nil {
		return
	}
	for i, b := range p.bases {
		if p.dw[i][0] == nil {
			continue
		}
		if i == 0 {
			b.addInverseGrad(p.dw[0], p.grads)
		} else {
			b.addGrad(folded(p.dw[i][0], b.Lambda.Dim(0), 2, 1), folded(p.dw[i][1], b.Lambda.Dim(0), 2, 2), p.grads)
		}
	}
}
