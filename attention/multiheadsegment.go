package attention

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state are the keys, as they are compared with queries, and the values of the
// positions that later ones can see, both of shape (batch, positions, KVHeads·HeadDim),
// and, with ConvTaps, the state of the convolution as its part.
func (m *MultiHead) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	if m.cfg.Right != 0 {
		return nil, nil, fmt.Errorf("attention: segments of a mixer that sees later positions: %w", errors.ErrUnsupported)
	}
	past := m.pastOf(first, src)
	t, conv, err := m.record(dst, src, past, first)
	if err != nil {
		return nil, nil, err
	}
	all := t.keys.Len
	kept := all
	if left := m.cfg.mask().left; left >= 0 {
		kept = min(kept, left)
	}
	last := &seqmix.State{Position: first.At() + src.Len, Parts: conv}
	for _, x := range []tensor.Seq{t.keys, t.values} {
		last.Tensors = append(last.Tensors, tensorOf(x.Slice(all-kept, all)))
	}
	return &multiHeadSegment{multiHeadTape: t, kept: kept, begun: first != nil}, last, nil
}

// pastOf returns the keys and values of a state.
func (m *MultiHead) pastOf(first *seqmix.State, src tensor.Seq) (past [2]tensor.Seq) {
	const op = "attention.MultiHead.RecordSegment"
	width := m.cfg.KVHeads * m.cfg.HeadDim
	past = [2]tensor.Seq{tensor.SeqOf(nil, src.Batch, 0, width), tensor.SeqOf(nil, src.Batch, 0, width)}
	if first == nil {
		return past
	}
	first.Check(op, m.parts(), []int{src.Batch, -1, width}, []int{src.Batch, -1, width})
	for i, p := range first.Tensors {
		past[i] = tensor.SeqOf(p.Float32s(), src.Batch, p.Shape()[1], width)
	}
	tensor.CheckSeq(op, past[1], src.Batch, past[0].Len, width)
	return past
}

// parts returns the number of mixers in m that have a state of their own.
func (m *MultiHead) parts() int {
	if m.conv == nil {
		return 0
	}
	return 1
}

// tensorOf returns a copy of s of shape (batch, positions, width).
func tensorOf(s tensor.Seq) *tensor.Tensor {
	t := tensor.New(s.Batch, s.Len, s.Dim)
	tensor.Copy(tensor.SeqOf(t.Data(), s.Batch, s.Len, s.Dim), s)
	return t
}

// behind returns the vectors of x, of which s has the shape, behind those of past.
func behind(past tensor.Seq, x rows, s tensor.Seq) tensor.Seq {
	all := tensor.NewSeq(past.Batch, past.Len+s.Len, past.Dim)
	tensor.Copy(all.Slice(0, past.Len), past)
	copyRows(rowsOf(all.Slice(past.Len, all.Len)), x, s.Batch, s.Len, past.Dim)
	return all
}

func copyRows(dst, src rows, batch, n, width int) {
	for b := range batch {
		for i := range n {
			copy(dst.at(b, i, 0, width), src.at(b, i, 0, width))
		}
	}
}

type multiHeadSegment struct {
	*multiHeadTape
	kept  int  // positions in the last state
	begun bool // whether there was a first state
}

func (t *multiHeadSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	shape := []int{t.src.Batch, t.kept, t.keys.Dim}
	dlast.Check("attention.MultiHead.BackwardSegment", t.mixer.parts(), shape, shape)
	dkeys, dvalues := tensor.NewSeq(t.keys.Batch, t.keys.Len, t.keys.Dim), tensor.NewSeq(t.keys.Batch, t.keys.Len, t.keys.Dim)
	var dconv *seqmix.State
	if t.conv != nil {
		dconv = tape.Part(dlast, 0)
	}
	dconv = t.backward(dsrc, ddst, dconv, grads, func(dout, dq, dk, dv rows) {
		t.mixer.dotProduct().backward(t.operands(), dout, dq, rowsOf(dkeys), rowsOf(dvalues))
		past := t.keys.Len - t.src.Len
		for i, d := range []tensor.Seq{dkeys, dvalues} {
			if dlast != nil {
				tail := d.Slice(d.Len-t.kept, d.Len)
				tensor.AddSeq(tail, tail, tensor.SeqOf(dlast.Tensors[i].Float32s(), d.Batch, t.kept, d.Dim))
			}
			copyRows([]rows{dk, dv}[i], rowsOf(d.Slice(past, d.Len)), d.Batch, t.src.Len, d.Dim)
		}
	})
	if !t.begun {
		return nil
	}
	past := t.keys.Len - t.src.Len
	dfirst := &seqmix.State{Tensors: []*tensor.Tensor{tensorOf(dkeys.Slice(0, past)), tensorOf(dvalues.Slice(0, past))}}
	if t.conv != nil {
		dfirst.Parts = []*seqmix.State{dconv}
	}
	return dfirst
}
