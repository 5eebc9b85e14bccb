package nn

import (
	"sync"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// rowwise is a computation that makes each row of dst from the same row of src.
type rowwise interface {
	rows(dst, src tensor.Mat)
}

// elementGrain is the number of elements of a cheap computation from which it is
// worth splitting: a few microseconds on one core.
const elementGrain = 1 << 14

// overRows runs op on all positions of src, on several cores if there are many.
func overRows(op rowwise, dst, src tensor.Seq) {
	if dst.Contiguous() && src.Contiguous() {
		dst, src = oneSequence(dst), oneSequence(src)
	}
	positions := src.Batch * src.Len
	l := rowLoops.Get().(*rowLoop)
	l.op, l.dst, l.src = op, dst, src
	par.Do(positions, elementGrain/max(src.Dim, 1), l)
	*l = rowLoop{}
	rowLoops.Put(l)
}

// oneSequence joins the sequences of a contiguous batch.
func oneSequence(s tensor.Seq) tensor.Seq {
	return tensor.Seq{Data: s.Data, Batch: 1, Len: s.Batch * s.Len, Dim: s.Dim, Stride: s.Batch * s.Len * s.Dim}
}

// rowLoop is op on a range of positions.
type rowLoop struct {
	op       rowwise
	dst, src tensor.Seq
}

var rowLoops = sync.Pool{New: func() any { return new(rowLoop) }}

// Run computes positions lo to hi-1, counted through the batch.
func (l *rowLoop) Run(lo, hi int) {
	for lo < hi {
		b, i := lo/l.src.Len, lo%l.src.Len
		n := min(hi-lo, l.src.Len-i)
		l.op.rows(positions(l.dst, b, i, n), positions(l.src, b, i, n))
		lo += n
	}
}

// positions returns n positions of sequence b, from the i-th on, as the rows of a matrix.
func positions(s tensor.Seq, b, i, n int) tensor.Mat {
	o := b*s.Stride + i*s.Dim
	return tensor.MatOf(s.Data[o:o+n*s.Dim], n, s.Dim)
}
