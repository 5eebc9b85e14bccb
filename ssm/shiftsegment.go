package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [ShiftStream.State].
func (m *Shift) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "ssm.Shift.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	first.Check(op, 0, m.statesOf(src.Batch))
	t := &shiftSegment{shiftTape{m, keep(dst, src)}, valuesOf(first)}
	m.Mix(dst, src)
	h := m.recordStates(dst, t.src, t.first)
	return t, &seqmix.State{Position: first.At() + src.Len, Tensors: []*tensor.Tensor{h}}, nil
}

// statesOf returns the shape of the states of so many sequences.
func (m *Shift) statesOf(batch int) []int { return []int{batch, m.cfg.DModel, m.cfg.DState} }

// valuesOf returns the numbers of a state of one tensor, which may be nil.
func valuesOf(s *seqmix.State) []float32 {
	if s == nil {
		return nil
	}
	return s.Tensors[0].Float32s()
}

// recordStates adds to dst, the output from states of zeros, what the states first do to
// it, unless these are nil, and returns the states after src.
func (m *Shift) recordStates(dst, src tensor.Seq, first []float32) *tensor.Tensor {
	last := tensor.New(m.statesOf(src.Batch)...)
	n := m.cfg.DState
	m.eachStates(src.Batch, func(b, ch, at int) {
		taps, c, h := m.b.Data()[ch*n:(ch+1)*n], m.c.Data()[ch*n:(ch+1)*n], last.Data()[at:at+n]
		if first != nil {
			before := first[at : at+n]
			for t := range min(n-1, src.Len) { // they have moved on by t+1 places
				dst.At(b, t)[ch] += kernel.Dot(before[:n-t-1], c[t+1:])
			}
			copy(h[min(n, src.Len):], before)
		}
		for j := range min(n, src.Len) {
			kernel.Axpy(src.At(b, src.Len-1-j)[ch], taps[:n-j], h[j:])
		}
	})
	return last
}

// eachStates calls f for each channel of each sequence, with the place of its states.
func (m *Shift) eachStates(batch int, f func(b, ch, at int)) {
	h := m.cfg.DModel
	eachChannel(h, func(ch int) {
		for b := range batch {
			f(b, ch, (b*h+ch)*m.cfg.DState)
		}
	})
}

type shiftSegment struct {
	shiftTape
	first []float32
}

func (t *shiftSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	const op = "ssm.Shift.BackwardSegment"
	m := t.mixer
	dlast.Check(op, 0, m.statesOf(t.src.Batch))
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	return m.segmentBack(dsrc, ddst, t.src, nil, t.first, valuesOf(dlast), grads)
}

// segmentBack is filterBack with states first before src, and the gradient dlast of those
// after it, which both may be nil. It returns the gradient of first.
func (m *Shift) segmentBack(dsrc, ddst, src tensor.Seq, skip *tensor.Tensor, first, dlast []float32, grads seqmix.Grads) *seqmix.State {
	var dfirst *seqmix.State
	if first != nil {
		d := m.firstBack(ddst, first, dlast, grads)
		dfirst = &seqmix.State{Tensors: []*tensor.Tensor{d}}
	}
	m.filterBack(dsrc, ddst, src, skip, grads)
	if dlast != nil {
		m.lastBack(dsrc, src, dlast, grads)
	}
	return dfirst
}

// firstBack returns the gradient of the states before a segment, and adds what they give
// for C.
func (m *Shift) firstBack(ddst tensor.Seq, first, dlast []float32, grads seqmix.Grads) *tensor.Tensor {
	n, dc := m.cfg.DState, grads.Of(m.c)
	dfirst := tensor.New(m.statesOf(ddst.Batch)...)
	m.eachStates(ddst.Batch, func(b, ch, at int) {
		h, c, d := first[at:at+n], m.c.Data()[ch*n:(ch+1)*n], dfirst.Data()[at:at+n]
		for t := range min(n-1, ddst.Len) {
			dy := ddst.At(b, t)[ch]
			kernel.Axpy(dy, c[t+1:], d[:n-t-1])
			if dc != nil {
				kernel.Axpy(dy, h[:n-t-1], dc[ch*n+t+1:(ch+1)*n])
			}
		}
		if dlast != nil {
			moved := dlast[at+min(n, ddst.Len) : at+n]
			kernel.Add(d[:len(moved)], d[:len(moved)], moved)
		}
	})
	return dfirst
}

// lastBack adds the gradient of the states after a segment to that of the input and of B.
func (m *Shift) lastBack(dsrc, src tensor.Seq, dlast []float32, grads seqmix.Grads) {
	n, db := m.cfg.DState, grads.Of(m.b)
	m.eachStates(src.Batch, func(b, ch, at int) {
		d := dlast[at : at+n]
		for j := range min(n, src.Len) { // the input j positions back has moved on by j places
			t := src.Len - 1 - j
			dsrc.At(b, t)[ch] += kernel.Dot(d[j:], m.b.Data()[ch*n:(ch+1)*n-j])
			if db != nil {
				kernel.Axpy(src.At(b, t)[ch], d[j:], db[ch*n:(ch+1)*n-j])
			}
		}
	})
}

// StateBackward computes the gradients of what m makes of src, from the beginning of the
// sequences, with those of the states after the last position, dstate, of shape (batch,
// H, N), see [ShiftStream.State]. dsrc, ddst and grads are as in [seqmix.Tape]. For states
// in front of src see [Shift.RecordSegment].
func (m *Shift) StateBackward(dsrc, ddst, src tensor.Seq, dstate *tensor.Tensor, grads seqmix.Grads) {
	const op = "ssm.Shift.StateBackward"
	tensor.CheckSeq(op, src, -1, -1, m.Dim())
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	checkShape(op, dstate, m.statesOf(src.Batch)...)
	m.segmentBack(dsrc, ddst, src, nil, nil, dstate.Data(), grads)
}
