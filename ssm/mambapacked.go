package ssm

import (
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// MixPacked computes several sequences that lie one after the other in a row: dst and
// src are batches of one, and starts lists the positions at which sequences begin, in
// ascending order and within the row. 0 may be left out. The result at each position
// is that of Mix on the sequence it belongs to alone: neither the convolution nor the
// states reach from one into the next.
//
// cu_seqlens of other libraries is starts with the length of the row appended.
func (m *Mamba) MixPacked(dst, src tensor.Seq, starts []int) {
	const op = "ssm.Mamba.MixPacked"
	tensor.CheckMix(op, dst, src, m.Dim())
	tensor.CheckSeq(op, src, 1, -1, -1)
	checkStarts(op, starts, src.Len)
	s := m.borrow(1)
	s.run(dst, src, 0, starts)
	s.giveBack()
}

// MixPadded computes sequences of different lengths that were padded to one: of
// sequence b, the first left[b] and the last right[b] positions are padding. Either
// slice may be nil, for none. What src holds there does not matter, and dst becomes
// zero. The other positions are those of Mix on the sequence alone.
func (m *Mamba) MixPadded(dst, src tensor.Seq, left, right []int) {
	tensor.CheckMix("ssm.Mamba.MixPadded", dst, src, m.Dim())
	s := m.borrow(src.Batch)
	s.MixPadded(dst, src, left, right)
	s.giveBack()
}

// MixPadded is Mix for sequences of different lengths, see [Mamba.MixPadded]. The
// state of each sequence becomes that after its last position which is not padding,
// so that prompts of different lengths can be read together and then continued
// together.
func (s *MambaStream) MixPadded(dst, src tensor.Seq, left, right []int) {
	const op = "ssm.MambaStream.MixPadded"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	checkPadding(op, src, left, right)
	mixPadded(s, dst, src, left, right)
}

// mixPadded advances each sequence of a stream by its positions that are not padding.
func mixPadded(s blockwise, dst, src tensor.Seq, left, right []int) {
	for b := range src.Batch {
		begin, end := unpadded(src.Len, b, left, right)
		d, u := dst.Sequence(b), src.Sequence(b)
		mixBlocks(s, d.Slice(begin, end), u.Slice(begin, end), b, nil)
		clear(d.Slice(0, begin).Data)
		clear(d.Slice(end, d.Len).Data)
	}
}

// unpadded returns where the positions of sequence b that are not padding begin and end.
func unpadded(length, b int, left, right []int) (begin, end int) {
	end = length
	if left != nil {
		begin = left[b]
	}
	if right != nil {
		end -= right[b]
	}
	return begin, end
}

// checkStarts panics unless starts are ascending positions of a row.
func checkStarts(op string, starts []int, length int) {
	for i, p := range starts {
		if p < 0 || p >= length || i > 0 && p <= starts[i-1] {
			panic(fmt.Sprintf("%s: sequences begin at %v, want ascending positions below %d", op, starts, length))
		}
	}
}

func checkPadding(op string, src tensor.Seq, left, right []int) {
	for _, pad := range [][]int{left, right} {
		if pad != nil && len(pad) != src.Batch {
			panic(&tensor.ShapeError{Op: op, Got: []int{len(pad)}, Want: []int{src.Batch}})
		}
	}
	for b := range src.Batch {
		begin, end := unpadded(src.Len, b, left, right)
		if begin < 0 || end > src.Len || begin > end {
			panic(fmt.Sprintf("%s: positions %d to %d of sequence %d are not padding, of %d", op, begin, end-1, b, src.Len))
		}
	}
}
