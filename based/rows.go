package based

import "github.com/seqmix/seqmix/tensor"

// rowsOf returns all positions of s as the rows of one matrix, if the memory allows,
// and a matrix without data if not.
func rowsOf(s tensor.Seq) tensor.Mat {
	switch {
	case s.Contiguous():
		return s.Mat()
	case s.Len == 1:
		return tensor.Mat{Data: s.Data, Rows: s.Batch, Cols: s.Dim, Stride: s.Stride}
	}
	return tensor.Mat{}
}

// gatherRows is rowsOf that copies what cannot be used in place.
func gatherRows(s tensor.Seq, scratch *tensor.Scratch) tensor.Mat {
	if m := rowsOf(s); m.Data != nil {
		return m
	}
	c := scratch.TakeSeq(s.Batch, s.Len, s.Dim)
	tensor.Copy(c, s)
	return c.Mat()
}

// scatterRows copies rows to dst, unless they are in it already.
func scatterRows(dst tensor.Seq, rows tensor.Mat) {
	if rowsOf(dst).Data == nil {
		tensor.Copy(dst, tensor.SeqOf(rows.Data, dst.Batch, dst.Len, dst.Dim))
	}
}
