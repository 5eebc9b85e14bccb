package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input.
func (m *MLP) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("monarch.MLP.Record", dst, src, m.Dim())
	return tape.Record(m, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Mix on
// src, the gradient dsrc with respect to src, and adds those with respect to the parameters
// to grads. dsrc may be ddst. The hidden elements are computed again, those of a few
// positions at a time.
func (m *MLP) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	tape.Check("monarch.MLP.Backward", dsrc, ddst, src, m.Dim())
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	if dsrc.Contiguous() && ddst.Contiguous() && src.Contiguous() {
		m.backward(dsrc.Mat(), ddst.Mat(), src.Mat(), grads, s)
		return
	}
	for b := range src.Batch {
		m.backward(dsrc.Sequence(b).Mat(), ddst.Sequence(b).Mat(), src.Sequence(b).Mat(), grads, s)
	}
}

func (m *MLP) backward(dsrc, ddst, src tensor.Mat, grads seqmix.Grads, s *tensor.Scratch) {
	for i := 0; i < src.Rows; i += mlpRows {
		s.Reset()
		end := min(i+mlpRows, src.Rows)
		part := func(a tensor.Mat) tensor.Seq { return tensor.SeqOf(a.SliceRows(i, end).Data, 1, end-i, a.Cols) }
		m.backwardRows(part(dsrc), part(ddst), part(src), grads, s)
	}
}

// backwardRows computes the gradients of the positions of one sequence.
func (m *MLP) backwardRows(dsrc, ddst, src tensor.Seq, grads seqmix.Grads, s *tensor.Scratch) {
	take := func(dim int) tensor.Seq { return s.TakeSeq(1, src.Len, dim) }
	h, a, y := take(m.cfg.width()), take(m.cfg.Hidden), take(src.Dim)
	m.in.ApplyMat(h.Mat(), src.Mat())
	m.activate(a, h)
	m.out.ApplyMat(y.Mat(), a.Mat())
	kernel.Add(y.Data, y.Data, src.Data)
	dy, da := take(src.Dim), take(m.cfg.Hidden)
	m.norm.Backward(dy, ddst, y, grads)
	m.out.Backward(da, dy, a, grads)
	m.activateGrad(h, da)
	m.in.Backward(dsrc, h, src, grads)
	kernel.Add(dsrc.Data, dsrc.Data, dy.Data)
}

// eachRow calls f for all positions, on all cores.
func (m *MLP) eachRow(h tensor.Seq, f func(i int)) {
	par.Do(h.Len, activationGrain/h.Dim+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i)
		}
	}))
}

// activate computes the activation of h.
func (m *MLP) activate(a, h tensor.Seq) {
	n := m.cfg.Hidden
	m.eachRow(h, func(i int) {
		row := h.At(0, i)
		if *m.cfg.GLU {
			nn.GELU.Gate(a.At(0, i), row[n:], row[:n])
		} else {
			nn.GELU.Apply(a.At(0, i), row)
		}
	})
}

// activateGrad makes h its gradient, from that of its activation, which it overwrites.
func (m *MLP) activateGrad(h, da tensor.Seq) {
	n := m.cfg.Hidden
	m.eachRow(h, func(i int) {
		row, d := h.At(0, i), da.At(0, i)
		if !*m.cfg.GLU {
			nn.GELU.Grad(row, d, row)
			return
		}
		gate, value := row[:n], row[n:]
		kernel.Mul(value, value, d) // the gradient of the activated gate
		nn.GELU.Gate(d, d, gate)    // that of the value
		nn.GELU.Grad(gate, value, gate)
		copy(value, d)
	})
}
