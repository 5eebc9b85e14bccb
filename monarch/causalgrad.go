package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input. It panics as Mix does.
func (m *CausalMixer) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.CausalMixer.Record"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. With sums over the channels in the gradients of the
// parameters,
//
//	dW2[o][c][k] = Σ ddst[c·b+o]·z[k][o]      dz[k][o] = Σ_{c>k} W2[o][c][k]·ddst[c·b+o]
//	dA[c][o][i]  = Σ ddst[c·b+o]·src[c·b+i]   dW1[k][o][i] = Σ dz[k][o]·src[k·b+i]
//	dsrc[c·b+i]  = Σ_{o≥i} A[c][o][i]·ddst[c·b+o] + Σ_o W1[c][o][i]·dz[c][o]
//
// z is computed again. What is not used of the parameters has no gradient.
func (m *CausalMixer) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	const op = "monarch.CausalMixer.Backward"
	tape.Check(op, dsrc, ddst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := tensor.GetScratch()
	b := m.cfg.Block
	p := &causalPass{CausalMixer: m, da: grads.Of(m.a), dw1: grads.Of(m.w1), dw2: grads.Of(m.w2), done: (src.Len - 1) / b}
	p.z, p.dz = tape.Zeros(s, p.done*b, src.Dim), tape.Zeros(s, p.done*b, src.Dim)
	for i := range src.Batch {
		p.dsrc, p.ddst, p.src = dsrc.Sequence(i).Mat(), ddst.Sequence(i).Mat(), src.Sequence(i).Mat()
		clear(p.z.Data)
		clear(p.dz.Data)
		each(p.done, p.summarize)
		each(b, p.placeGrad)
		each(p.done+1, p.chunkGrad)
	}
	tensor.PutScratch(s)
}

// each calls f for 0 to n-1 on all cores.
func each(n int, f func(i int)) {
	par.Do(n, 1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i)
		}
	}))
}

// A causalPass is the backward pass of one sequence after the other.
type causalPass struct {
	*CausalMixer
	da, dw1, dw2    []float32
	done            int        // chunks that later ones depend on
	z, dz           tensor.Mat // row k·b+o
	dsrc, ddst, src tensor.Mat
}

// summarize computes z of chunk k.
func (p *causalPass) summarize(k int) {
	b := p.cfg.Block
	for o := range b {
		for i, w := range p.w1.Data()[(k*b+o)*b:][:b] {
			kernel.Axpy(w, p.src.Row(k*b+i), p.z.Row(k*b+o))
		}
	}
}

// placeGrad computes the gradients of W2 and z of place o of all chunks.
func (p *causalPass) placeGrad(o int) {
	b, chunks := p.cfg.Block, p.cfg.chunks()
	for c := 1; c*b+o < p.src.Rows; c++ {
		d, at := p.ddst.Row(c*b+o), (o*chunks+c)*chunks
		for k := range c {
			kernel.Axpy(p.w2.Data()[at+k], d, p.dz.Row(k*b+o))
			if p.dw2 != nil {
				p.dw2[at+k] += kernel.Dot(d, p.z.Row(k*b+o))
			}
		}
	}
}

// chunkGrad computes the gradients of A, W1 and the input of chunk c.
func (p *causalPass) chunkGrad(c int) {
	s := tensor.GetScratch()
	b := p.cfg.Block
	n := min(b, p.src.Rows-c*b)
	x, dx := p.src.SliceRows(c*b, c*b+n), tape.Zeros(s, n, p.src.Cols)
	for o := range n {
		at := (c*b + o) * b
		rowGrad(p.ddst.Row(c*b+o), x.SliceRows(0, o+1), dx, p.a.Data()[at:], p.da, at)
	}
	if c < p.done {
		for o := range b {
			at := (c*b + o) * b
			rowGrad(p.dz.Row(c*b+o), x, dx, p.w1.Data()[at:], p.dw1, at)
		}
	}
	for i := range n {
		copy(p.dsrc.Row(c*b+i), dx.Row(i))
	}
	tensor.PutScratch(s)
}

// rowGrad adds the gradients of Σ_i w[i]·x[i], whose own is d, to dx and, from at on, to dw,
// unless that is nil.
func rowGrad(d []float32, x, dx tensor.Mat, w, dw []float32, at int) {
	for i := range x.Rows {
		kernel.Axpy(w[i], d, dx.Row(i))
		if dw != nil {
			dw[at+i] += kernel.Dot(d, x.Row(i))
		}
	}
}
