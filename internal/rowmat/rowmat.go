// Package rowmat makes matrices of the positions of sequences.
package rowmat

import "github.com/seqmix/seqmix/tensor"

// Of returns all positions of s as the rows of one matrix, if the memory allows, and a
// matrix without data if not.
func Of(s tensor.Seq) tensor.Mat {
	switch {
	case s.Contiguous():
		return s.Mat()
	case s.Len == 1:
		return tensor.Mat{Data: s.Data, Rows: s.Batch, Cols: s.Dim, Stride: s.Stride}
	}
	return tensor.Mat{}
}

// Gather is Of that copies what cannot be used in place.
func Gather(s tensor.Seq, scratch *tensor.Scratch) tensor.Mat {
	if m := Of(s); m.Data != nil {
		return m
	}
	c := scratch.TakeSeq(s.Batch, s.Len, s.Dim)
	tensor.Copy(c, s)
	return c.Mat()
}

// Scatter copies rows to dst, unless they are in it already.
func Scatter(dst tensor.Seq, m tensor.Mat) {
	if Of(dst).Data == nil {
		tensor.Copy(dst, tensor.SeqOf(m.Data, dst.Batch, dst.Len, dst.Dim))
	}
}
