package monarch

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// backward computes the gradients of a layer.
func (l *layer) backward(op string, dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	tensor.CheckSeq(op, src, -1, -1, l.cfg.In)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, l.cfg.Out)
	tensor.CheckSeq(op, dsrc, src.Batch, src.Len, l.cfg.In)
	if dsrc.Contiguous() && ddst.Contiguous() && src.Contiguous() {
		l.backwardMat(dsrc.Mat(), ddst.Mat(), src.Mat(), grads)
		return
	}
	for b := range src.Batch {
		l.backwardMat(dsrc.Sequence(b).Mat(), ddst.Sequence(b).Mat(), src.Sequence(b).Mat(), grads)
	}
}

func (l *layer) backwardMat(dsrc, ddst, src tensor.Mat, grads seqmix.Grads) {
	if l.bias != nil {
		addRows(grads.Of(l.bias), ddst)
	}
	l.matrix.Backward(dsrc, ddst, src, grads)
}

// addRows adds all rows of m to sum, unless that is nil. The sums of some rows are made
// before they are added to those of the others, so that errors do not grow with the number.
func addRows(sum []float32, m tensor.Mat) {
	if sum == nil {
		return
	}
	const rows = 64
	s := tensor.GetScratch()
	part := s.Take(len(sum))
	for i := 0; i < m.Rows; i += rows {
		clear(part)
		for j := i; j < min(i+rows, m.Rows); j++ {
			kernel.Add(part, part, m.Row(j))
		}
		kernel.Add(sum, sum, part)
	}
	tensor.PutScratch(s)
}

// checkSquare panics unless the layer is a mixer.
func (l *layer) checkSquare(op string) {
	if l.cfg.In != l.cfg.Out {
		panic(&tensor.ShapeError{Op: op, Got: []int{l.cfg.Out}, Want: []int{l.cfg.In}})
	}
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Apply
// on src, the gradient dsrc with respect to src, and adds those with respect to the
// parameters to grads: see [Matrix.Backward]. dsrc may be ddst if In is Out, and must not
// overlap it otherwise. It panics with a *tensor.ShapeError if the shapes do not fit.
func (l *Linear) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	l.backward("monarch.Linear.Backward", dsrc, ddst, src, grads)
}

// Record is Mix that keeps the input.
func (l *Linear) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.Linear.Record"
	l.checkSquare(op)
	tensor.CheckMix(op, dst, src, l.In())
	return tape.Record(l, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of Apply
// on src, the gradient dsrc with respect to src, and adds those with respect to the
// parameters to grads: see [Matrix.Backward]. dsrc may be ddst if In is Out, and must not
// overlap it otherwise. It panics with a *tensor.ShapeError if the shapes do not fit.
func (l *BlockDiag) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	l.backward("monarch.BlockDiag.Backward", dsrc, ddst, src, grads)
}

// Record is Mix that keeps the input.
func (l *BlockDiag) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	const op = "monarch.BlockDiag.Record"
	l.checkSquare(op)
	tensor.CheckMix(op, dst, src, l.In())
	return tape.Record(l, dst, src)
}
