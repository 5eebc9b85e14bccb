package mixtest

import (
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// A segmenter is a mixer whose state is s, with one thing wrong with it.
type segmenter struct {
	*mixer
	fault string
}

// segment is Record of a sequence that begins with a made-up input, which makes s what it
// is to be.
type segment struct {
	*segmenter
	tape  seqmix.Tape
	begun bool
	last  tensor.Seq
}

func (m *segmenter) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	dim := src.Dim
	x, y := tensor.NewSeq(src.Batch, src.Len+1, dim), tensor.NewSeq(src.Batch, src.Len+1, dim)
	tensor.Copy(x.Slice(1, x.Len), src)
	first.Check("segmenter", 0, []int{src.Batch, dim})
	if first != nil && m.fault != "forgets the state" {
		tensor.Copy(x.Slice(0, 1), tensor.SeqOf(first.Tensors[0].Data(), src.Batch, 1, dim))
	}
	if first != nil && m.fault == "changes the state" {
		first.Tensors[0].Data()[0]++
	}
	tape, err := m.Record(y, x)
	if err != nil {
		return nil, nil, err
	}
	tensor.Copy(dst, y.Slice(1, y.Len))
	s := tensor.NewSeq(src.Batch, x.Len, dim)
	m.stream(src.Batch).sum(s, x)
	last := &seqmix.State{Position: first.At() + src.Len, Tensors: []*tensor.Tensor{tensor.New(src.Batch, dim)}}
	tensor.Copy(tensor.SeqOf(last.Tensors[0].Data(), src.Batch, 1, dim), s.Slice(src.Len, s.Len))
	if m.fault == "counts from the segment" {
		last.Position = src.Len
	}
	return &segment{segmenter: m, tape: tape, begun: first != nil, last: s}, last, nil
}

func (t *segment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dim, n := ddst.Dim, ddst.Len
	decay, dd := t.decay.Data(), grads.Of(t.decay)
	dx := tensor.NewSeq(ddst.Batch, n+1, dim)
	tensor.Copy(dx.Slice(1, n+1), ddst)
	t.tape.Backward(dx, dx, grads)
	for b := range ddst.Batch {
		for c := 0; c < dim && dlast != nil && t.fault != "ignores the gradient of the last state"; c++ {
			g := dlast.Tensors[0].Data()[b*dim+c]
			for i := n; i >= 0; i-- {
				dx.At(b, i)[c] += g
				if dd != nil && i > 0 {
					dd[c] += g * t.last.At(b, i-1)[c]
				}
				g *= decay[c]
			}
		}
	}
	tensor.Copy(dsrc, dx.Slice(1, n+1))
	if !t.begun && t.fault != "has a gradient of the beginning" {
		return nil
	}
	dfirst := &seqmix.State{Tensors: []*tensor.Tensor{tensor.New(ddst.Batch, dim)}}
	if t.fault != "has no gradient of the first state" {
		tensor.Copy(tensor.SeqOf(dfirst.Tensors[0].Data(), ddst.Batch, 1, dim), dx.Slice(0, 1))
	}
	if t.fault == "scales the gradient of the first state" {
		dfirst.Tensors[0].Data()[0] *= 1.1
	}
	if dlast != nil && t.fault == "changes the gradient of the last state" {
		dlast.Tensors[0].Data()[0]++
	}
	return dfirst
}

func TestSegmentFaults(t *testing.T) {
	for _, fault := range []string{
		"", "forgets the state", "changes the state", "counts from the segment", "ignores the gradient of the last state",
		"has a gradient of the beginning", "has no gradient of the first state", "scales the gradient of the first state",
		"changes the gradient of the last state",
	} {
		err := TestTrainer(&segmenter{newMixer(5, ""), fault}, Options{})
		switch {
		case fault == "" && err != nil:
			t.Error(err)
		case fault != "" && (err == nil || !strings.Contains(err.Error(), "segments")):
			t.Errorf("%s: %v", fault, err)
		}
	}
}
