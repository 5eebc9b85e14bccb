package based

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Narrow queries and keys, such as 16 elements of one head, fill half of a panel each. In
// training they are the two parts of what one layer makes, the pair, which takes half the
// time. The bits of queries and keys are the same.

// paired reports whether queries and keys are computed together: if that saves a panel.
func (m *LinearAttention) paired() bool {
	plain := func(l *nn.Linear) bool { return l.Weight.DType() == tensor.Float32 && !l.Weight.Packed() }
	rest := m.q.Out()%panel + m.k.Out()%panel
	return m.q.Out()%panel > 0 && rest <= panel && plain(m.q) && plain(m.k)
}

// pair returns the layer that makes queries and, behind them, keys.
func (m *LinearAttention) pair(s *tensor.Scratch) *nn.Linear {
	q, k := m.q.Weight.Data(), m.k.Weight.Data()
	w := s.Take(len(q) + len(k))
	copy(w, q)
	copy(w[len(q):], k)
	return &nn.Linear{Weight: tensor.FromFloat32s(w, m.q.Out()+m.k.Out(), m.Dim())}
}

// pairApply computes queries and keys.
func (m *LinearAttention) pairApply(q, k, src tensor.Seq) {
	s := tensor.GetScratch()
	both := s.TakeSeq(src.Batch, src.Len, q.Dim+k.Dim)
	m.pair(s).Apply(both, src)
	copyColumns(q, 0, both, 0, q.Dim)
	copyColumns(k, 0, both, q.Dim, k.Dim)
	tensor.PutScratch(s)
}

// pairBackward computes dsrc, and the gradients of the weights, from those of queries and
// keys.
func (m *LinearAttention) pairBackward(dsrc, dq, dk, src tensor.Seq, grads seqmix.Grads) {
	s := tensor.GetScratch()
	l, both := m.pair(s), s.TakeSeq(src.Batch, src.Len, dq.Dim+dk.Dim)
	copyColumns(both, 0, dq, 0, dq.Dim)
	copyColumns(both, dq.Dim, dk, 0, dk.Dim)
	gq, gk := grads.Of(m.q.Weight), grads.Of(m.k.Weight)
	if gq == nil && gk == nil {
		l.Backward(dsrc, both, src, nil)
		tensor.PutScratch(s)
		return
	}
	g := s.Take(l.Weight.Len())
	clear(g)
	l.Backward(dsrc, both, src, seqmix.Grads{l.Weight: tensor.FromFloat32s(g, l.Weight.Shape()...)})
	n := m.q.Weight.Len()
	if gq != nil {
		kernel.Add(gq, gq, g[:n])
	}
	if gk != nil {
		kernel.Add(gk, gk, g[n:])
	}
	tensor.PutScratch(s)
}

// copyColumns copies n elements of each position, from one element on, to dst from another
// one on. Both are contiguous.
func copyColumns(dst tensor.Seq, to int, src tensor.Seq, from, n int) {
	par.Do(src.Batch*src.Len, convGrain/max(n, 1)+1, par.Func(func(lo, hi int) {
		for lo < hi {
			rows := min(hi-lo, len(ones))
			kernel.ScaleRows(dst.Data[lo*dst.Dim+to:], dst.Dim, src.Data[lo*src.Dim+from:], src.Dim, ones[:rows], n)
			lo += rows
		}
	}))
}
