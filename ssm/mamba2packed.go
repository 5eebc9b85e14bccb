package ssm

import "github.com/seqmix/seqmix/tensor"

// MixPacked computes several sequences that lie one after the other in a row: dst and
// src are batches of one, and starts lists the positions at which sequences begin, in
// ascending order and within the row. 0 may be left out. The result at each position
// is that of Mix on the sequence it belongs to alone: neither the convolution nor the
// states reach from one into the next.
//
// cu_seqlens of other libraries is starts with the length of the row appended, and
// seq_idx has another number from each of them on.
func (m *Mamba2) MixPacked(dst, src tensor.Seq, starts []int) {
	const op = "ssm.Mamba2.MixPacked"
	tensor.CheckMix(op, dst, src, m.Dim())
	tensor.CheckSeq(op, src, 1, -1, -1)
	checkStarts(op, starts, src.Len)
	s := m.borrow(1)
	mixBlocks(s, dst, src, 0, starts)
	s.giveBack()
}

// MixPadded computes sequences of different lengths that were padded to one: of
// sequence b, the first left[b] and the last right[b] positions are padding. Either
// slice may be nil, for none. What src holds there does not matter, and dst becomes
// zero. The other positions are those of Mix on the sequence alone.
func (m *Mamba2) MixPadded(dst, src tensor.Seq, left, right []int) {
	tensor.CheckMix("ssm.Mamba2.MixPadded", dst, src, m.Dim())
	s := m.borrow(src.Batch)
	s.MixPadded(dst, src, left, right)
	s.giveBack()
}

// MixPadded is Mix for sequences of different lengths, see [Mamba2.MixPadded]. The
// state of each sequence becomes that after its last position which is not padding,
// so that prompts of different lengths can be read together and then continued
// together.
func (s *Mamba2Stream) MixPadded(dst, src tensor.Seq, left, right []int) {
	const op = "ssm.Mamba2Stream.MixPadded"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	checkPadding(op, src, left, right)
	mixPadded(s, dst, src, left, right)
}
