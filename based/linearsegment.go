package based

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state are the sums that [State.Sums] returns: S and z.
func (m *LinearAttention) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	tensor.CheckMix("based.LinearAttention.RecordSegment", dst, src, m.Dim())
	first.Check("based.LinearAttention.RecordSegment", 0, m.stateShapes(src.Batch)...)
	t := &linearSegment{begun: first != nil, shapes: m.stateShapes(src.Batch)}
	var last *seqmix.State
	err := m.record(&t.linearTape, dst, src, func(out, q, k, v tensor.Seq) (err error) {
		t.attention, last, err = m.attention.recordFrom(out, q, k, v, first)
		return err
	})
	return t, last, err
}

// stateShapes returns the shapes of S and z.
func (m *LinearAttention) stateShapes(batch int) [][]int {
	n := m.attention.Map.Features(m.cfg.FeatureDim)
	return [][]int{{batch, m.cfg.Heads, m.cfg.HeadDim, n}, {batch, m.cfg.Heads, n}}
}

type linearSegment struct {
	linearTape
	begun  bool // whether there was a first state
	shapes [][]int
}

func (t *linearSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	dlast.Check("based.LinearAttention.BackwardSegment", 0, t.shapes...)
	sums := &sumGrads{first: t.attention.first, dlast: dlast, dfirst: new(seqmix.State)}
	for _, shape := range t.shapes {
		sums.dfirst.Tensors = append(sums.dfirst.Tensors, tensor.New(shape...))
	}
	t.backward(dsrc, ddst, grads, sums)
	if !t.begun {
		return nil
	}
	return sums.dfirst
}

// recordFrom is Record of positions behind a state, or from the beginning if that is nil.
func (a Attention) recordFrom(dst, q, k, v tensor.Seq, first *seqmix.State) (*AttentionTape, *seqmix.State, error) {
	t, err := a.newTape("based.Attention.Record", dst, q, k, v)
	if err != nil {
		return nil, nil, err
	}
	t.first, t.position = first, first.At()
	last := &seqmix.State{Position: first.At() + q.Len}
	f, d := q.Dim/a.Heads, v.Dim/a.Heads
	s, err := t.attention.NewState(max(q.Batch, 1), f, d)
	if err != nil {
		return nil, nil, err
	}
	if first != nil && q.Batch > 0 {
		s.SetSums(first.Tensors[0], first.Tensors[1], first.Position)
	}
	s.run.inverse, s.run.begin = t.inverse, first.At()
	if q.Batch > 0 {
		s.apply(dst, t.q, t.k, t.v)
	}
	kv, z := s.Sums()
	last.Tensors = []*tensor.Tensor{kv, z}
	return t, last, nil
}

// sumGrads are the sums before a segment, the gradients with respect to those after it,
// both of which may be nil, and the gradients with respect to the former.
type sumGrads struct{ first, dlast, dfirst *seqmix.State }

// set makes s the sums of head u, counted through the batch, that are in a state; nil
// stands for zeros.
func (s *gradSums) set(w *gradWorker, from *seqmix.State, u int) {
	s.reset(w)
	if from == nil {
		return
	}
	n := w.d * w.features
	kernel.PackPanels(s.sums, part(from.Tensors[0].Float32s(), u, n), w.d, w.features, w.features, 1)
	copy(s.norm, part(from.Tensors[1].Float32s(), u, w.features))
}

// get copies s to head u of a state.
func (s *gradSums) get(w *gradWorker, to *seqmix.State, u int) {
	n := w.d * w.features
	kernel.UnpackPanels(part(to.Tensors[0].Data(), u, n), s.sums, w.d, w.features, w.features, 1)
	copy(part(to.Tensors[1].Data(), u, w.features), s.norm)
}
