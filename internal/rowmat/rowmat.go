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

// Last returns the last of each length rows of m.
func Last(m tensor.Mat, length int) tensor.Mat {
	m.Data = m.Data[(length-1)*m.Stride:]
	m.Rows, m.Stride = m.Rows/length, m.Stride*length
	return m
}

// Take returns a matrix of temporary memory, whose rows lie so that a column of them
// fits the cache, see [Spread].
func Take(rows, cols int, scratch *tensor.Scratch) tensor.Mat {
	stride := cols
	if contend(stride) {
		stride += line
	}
	return tensor.Mat{Data: scratch.Take(rows * stride), Rows: rows, Cols: cols, Stride: stride}
}

// Spread returns m itself, or a copy if the same places of its rows contend for one or
// two places of the first-level cache: a matrix product goes through a dozen of rows at
// the same time.
func Spread(m tensor.Mat, scratch *tensor.Scratch) tensor.Mat {
	if m.Rows < manyRows || !contend(m.Stride) {
		return m
	}
	c := Take(m.Rows, m.Cols, scratch)
	for i := range m.Rows {
		copy(c.Row(i), m.Row(i))
	}
	return c
}

const (
	line     = 16 // elements of a cache line
	halfPage = 512
	manyRows = 24 // from which a copy pays
)

// contend reports whether rows at such a distance lie in the same place of a page, or
// in two.
func contend(stride int) bool { return stride%halfPage == 0 }
