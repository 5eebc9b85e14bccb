package hyena

import (
	"math/cmplx"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input.
func (m *Modal) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("hyena.Modal.Record", dst, src, m.Dim())
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst.
//
// dsrc is ddst, reversed in time, through the same recurrence, and reversed again. Poles and
// residues get their gradients from those of the taps, see [Modal.BackwardTaps], which are
// computed by transforms ([nn.TapGradient]): so they cost the same for all sequences of a
// batch together, and no states are kept.
func (m *Modal) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	tape.Check("hyena.Modal.Backward", dsrc, ddst, src, m.Dim())
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s := tensor.GetScratch()
	if rows := m.tapsWanted(src.Len, grads); rows > 0 {
		dh := tape.Zeros(s, rows, m.Dim())
		nn.TapGradient(dh, ddst, src)
		m.addSkipGrads(dh.Row(0), grads)
		m.BackwardTaps(dh, grads)
	}
	tensor.PutScratch(s)
	m.transpose(dsrc, ddst)
}

// transpose computes the gradient of the input.
func (m *Modal) transpose(dsrc, ddst tensor.Seq) {
	reversed := tensor.GetSeq(ddst.Batch, ddst.Len, ddst.Dim)
	reverse(reversed, ddst)
	m.Mix(reversed, reversed)
	reverse(dsrc, reversed)
	tensor.PutSeq(reversed)
}

func (m *Modal) addSkipGrads(d []float32, grads seqmix.Grads) {
	if dd := grads.Of(m.d); dd != nil {
		kernel.Add(dd, dd, d)
	}
}

// tapsWanted returns how many taps need a gradient: one for D, all for what is in front
// of them.
func (m *Modal) tapsWanted(length int, grads seqmix.Grads) int {
	switch {
	case m.trained(grads):
		return length
	case grads.Of(m.d) != nil:
		return 1
	}
	return 0
}

// trained reports whether poles or residues have a gradient.
func (m *Modal) trained(grads seqmix.Grads) bool {
	return grads.Of(m.poles) != nil || grads.Of(m.residues) != nil || m.gamma != nil && grads.Of(m.gamma) != nil
}

// reverse copies src to dst, the last position first. They must not overlap.
func reverse(dst, src tensor.Seq) {
	for b := range src.Batch {
		for i := range src.Len {
			copy(dst.At(b, src.Len-1-i), src.At(b, i))
		}
	}
}

// BackwardTaps adds the gradients of a loss with respect to poles and residues to grads,
// from those with respect to the taps that Taps computes: dh has as many rows. With the
// gradient of a complex number as that of its real part plus i times that of its
// imaginary part,
//
//	dR = Σ_t dh[t]·conj(λ^t)
//	dλ = Σ_t dh[t]·conj(t·R·λ^(t-1))
//
// and for real poles λ = exp(l), dl = dλ·λ, where l is -exp(p)·exp(gamma), dp = dgamma = dl·l.
// Sums are made in float64. It panics with a *tensor.ShapeError unless dh has a column for
// each channel.
func (m *Modal) BackwardTaps(dh tensor.Mat, grads seqmix.Grads) {
	if dh.Cols != m.cfg.Dim {
		panic(&tensor.ShapeError{Op: "hyena.Modal.BackwardTaps", Got: []int{dh.Rows, dh.Cols}, Want: []int{dh.Rows, m.cfg.Dim}})
	}
	if !m.trained(grads) {
		return
	}
	blocks := (m.cfg.Dim + kernel.ModalBlock - 1) / kernel.ModalBlock
	par.Do(blocks, 1, par.Func(func(lo, hi int) {
		for b := lo; b < hi; b++ {
			first := b * kernel.ModalBlock
			m.backwardTaps(dh.Slice(first, min(first+kernel.ModalBlock, dh.Cols)), first, grads)
		}
	}))
}

// backwardTaps is BackwardTaps of the channels from first on.
func (m *Modal) backwardTaps(dh tensor.Mat, first int, grads seqmix.Grads) {
	// A product of many factors gathers an error with each; a power does not.
	const restart = 64
	states := m.cfg.States
	sums := make([]modalSums, dh.Cols*states)
	for i := range sums {
		sums[i].pole = 1 + m.distance(first*states+i)
	}
	for t := range dh.Rows {
		if t%restart == 0 {
			for i := range sums {
				sums[i].power = cmplx.Pow(sums[i].pole, complex(float64(max(t-1, 0)), 0))
			}
		}
		for c, v := range dh.Row(t) {
			for i := c * states; i < (c+1)*states; i++ {
				sums[i].add(float64(v), t)
			}
		}
	}
	for i, s := range sums {
		n := first*states + i
		m.addGrad(n, cmplx.Conj(s.taps), cmplx.Conj(m.residue(n)*s.slope), grads)
	}
}

// modalSums are the sums for one state.
type modalSums struct {
	pole, power complex128 // λ, and λ^(t-1), or 1 in front of t = 1
	taps, slope complex128 // Σ dh[t]·λ^t, Σ dh[t]·t·λ^(t-1)
}

func (s *modalSums) add(v float64, t int) {
	if t == 0 {
		s.taps = complex(v, 0)
		return
	}
	tv := v * float64(t)
	s.slope += complex(tv*real(s.power), tv*imag(s.power))
	s.power *= s.pole
	s.taps += complex(v*real(s.power), v*imag(s.power))
}

// addGrad adds the gradients of state i, counted through all channels, from those of R
// and λ.
func (m *Modal) addGrad(i int, dr, dp complex128, grads seqmix.Grads) {
	residues, poles := grads.Of(m.residues), grads.Of(m.poles)
	if m.cfg.parts() == 2 {
		addComplex(residues, i, dr)
		addComplex(poles, i, dp)
		return
	}
	dlog := real(dp) * (1 + real(m.distance(i)))
	if m.gamma != nil {
		dlog *= m.logPole(i)
		addReal(grads.Of(m.gamma), i, dlog)
	}
	addReal(residues, i, real(dr))
	addReal(poles, i, dlog)
}

func addComplex(g []float32, i int, v complex128) {
	if g != nil {
		g[2*i] += float32(real(v))
		g[2*i+1] += float32(imag(v))
	}
}

func addReal(g []float32, i int, v float64) {
	if g != nil {
		g[i] += float32(v)
	}
}
