package attention

import "github.com/seqmix/seqmix/tensor"

// rows addresses the vectors of a batch of sequences, or parts of them, in memory
// with gaps.
type rows struct {
	data     []float32
	sequence int // elements between sequences
	position int // elements between positions
}

func rowsOf(s tensor.Seq) rows { return rows{s.Data, s.Stride, s.Dim} }

// at returns n elements, from the first on, of position i of sequence b.
func (r rows) at(b, i, first, n int) []float32 {
	o := b*r.sequence + i*r.position + first
	return r.data[o : o+n : o+n]
}

// from returns everything from position i of sequence b on.
func (r rows) from(b, i, first int) []float32 {
	return r.data[b*r.sequence+i*r.position+first:]
}

// eachMat calls f for the positions of a and b as the rows of matrices, at once if
// their distances allow it and else for each sequence. b has at row i of sequence s
// the row s·a.Len+i.
func eachMat(a tensor.Seq, b tensor.Mat, f func(a, b tensor.Mat)) {
	switch {
	case a.Contiguous():
		f(a.Mat(), b)
	case a.Len == 1:
		f(tensor.Mat{Data: a.Data, Rows: a.Batch, Cols: a.Dim, Stride: a.Stride}, b)
	default:
		for i := range a.Batch {
			f(a.Sequence(i).Mat(), b.SliceRows(i*a.Len, (i+1)*a.Len))
		}
	}
}
