package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// recordedRows is the number of positions that are recorded or taken back together: as
// many sequences as have so many, or one. It is fixed, so that sums do not depend on the
// number of cores.
const recordedRows = 512

// eachGroup calls f for groups of sequences of s.
func eachGroup(s tensor.Seq, f func(first, sequences int)) {
	if s.Len == 0 {
		return
	}
	group := max(1, recordedRows/s.Len)
	for b := 0; b < s.Batch; b += group {
		f(b, min(group, s.Batch-b))
	}
}

// keep returns src, or a copy if dst is about to overwrite it.
func keep(dst, src tensor.Seq) tensor.Seq {
	if !dst.SameMemory(src) {
		return src
	}
	c := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(c, src)
	return c
}

// takeMat returns a matrix of undefined content.
func takeMat(s *tensor.Scratch, rows, cols int) tensor.Mat {
	return tensor.MatOf(s.Take(rows*cols), rows, cols)
}

// seqOf describes the rows of a matrix without gaps as sequences.
func seqOf(m tensor.Mat, sequences int) tensor.Seq {
	return tensor.SeqOf(m.Data[:m.Rows*m.Cols], sequences, m.Rows/sequences, m.Cols)
}

// copyMat copies src to dst.
func copyMat(dst, src tensor.Mat) {
	for i := range src.Rows {
		copy(dst.Row(i), src.Row(i))
	}
}

// eachRow calls f for all rows, on all cores. width is that of what f does with a row.
func eachRow(rows, width int, f func(i int)) {
	par.Do(rows, convGrain/max(width, 1)+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i)
		}
	}))
}

// gradOf returns the gradient of an optional parameter, or nil.
func gradOf(grads seqmix.Grads, p *tensor.Tensor) []float32 {
	if p == nil {
		return nil
	}
	return grads.Of(p)
}

// addLinearGrads adds the gradients of the parameters of a layer that made dy's value
// of x.
func addLinearGrads(l *nn.Linear, dy, x tensor.Mat, grads seqmix.Grads) {
	if g := grads.Of(l.Weight); g != nil {
		tensor.MatMulTN(tensor.MatOf(g, l.Out(), l.In()), dy, x)
	}
	if g := gradOf(grads, l.Bias); g != nil {
		addRows(g, dy)
	}
}

// addRows adds all rows of m to sum.
func addRows(sum []float32, m tensor.Mat) {
	for i := range m.Rows {
		kernel.Add(sum, sum, m.Row(i))
	}
}

// normBackward takes the gradient d of what a norm makes of x back, in place.
func normBackward(n *nn.RMSNorm, d, x tensor.Mat, grads seqmix.Grads, s *tensor.Scratch) {
	dy, in := takeMat(s, d.Rows, d.Cols), takeMat(s, d.Rows, d.Cols)
	copyMat(dy, d)
	copyMat(in, x)
	g := seqOf(dy, 1)
	n.Backward(g, g, seqOf(in, 1), grads)
	copyMat(d, dy)
}
