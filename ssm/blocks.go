package ssm

import (
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// blockwise is a stream that computes its sequences in blocks.
type blockwise interface {
	// mixBlock computes a block of sequences first, first+1 … of the stream, from
	// position t of the call on. At the positions in starts, counted as t is, new
	// sequences begin. A dst of one position is for the last output.
	mixBlock(dst, src tensor.Seq, first, t int, starts []int)
}

// mixBlocks advances sequence first of a stream and the ones after it, as many as src
// has. At the positions in starts, in ascending order, new sequences begin. If dst has but
// one position, it is for the last output, and those of all blocks go there in turn.
func mixBlocks(s blockwise, dst, src tensor.Seq, first int, starts []int) {
	if src.Len == 0 {
		return
	}
	rows := rowsOfBlock(src.Dim)
	length := min(src.Len, rows)
	group := max(1, rows/length)
	for b := 0; b < src.Batch; b += group {
		n := min(group, src.Batch-b)
		d, u := sequences(dst, b, n), sequences(src, b, n)
		rest := starts
		for t := 0; t < src.Len; t += length {
			end := min(t+length, src.Len)
			var within []int
			within, rest = splitStarts(rest, end)
			out := d
			if d.Len == src.Len {
				out = d.Slice(t, end)
			}
			s.mixBlock(out, u.Slice(t, end), first+b, t, within)
		}
	}
}

// projectTo applies the output projection to rows, of which each sequence has so many, or, if
// dst has but one position, to the last of them.
func projectTo(dst tensor.Seq, proj *nn.Linear, x tensor.Mat, length int, scratch *tensor.Scratch) {
	if dst.Len < length {
		x = rowmat.Last(x, length)
	}
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = tensor.MatOf(scratch.Take(x.Rows*dst.Dim), x.Rows, dst.Dim)
	}
	proj.ApplyMat(out, x)
	rowmat.Scatter(dst, out)
}

// rowsOfBlock returns how many positions of sequences of a width are computed at a time, of
// one or of several: many, since for each block all weights are read, and some converted, but
// not so many that what lies between the products of a wide mixer takes much memory.
func rowsOfBlock(dim int) int {
	const elements = 1 << 19
	return min(max(elements/max(dim, 1), blockPositions), 4*blockPositions)
}

// sequences returns n sequences of s, from the b-th on.
func sequences(s tensor.Seq, b, n int) tensor.Seq {
	s.Data = s.Data[b*s.Stride : (b+n-1)*s.Stride+s.Len*s.Dim]
	s.Batch = n
	return s
}

// splitStarts divides starts into those before end and the others.
func splitStarts(starts []int, end int) (before, others []int) {
	i := 0
	for i < len(starts) && starts[i] < end {
		i++
	}
	return starts[:i], starts[i:]
}
