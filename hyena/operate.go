package hyena

import (
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// convolver is what computes the long convolutions: of whole sequences, of streams.
type convolver interface {
	// convolve computes the o-th convolution in place.
	convolve(o int, x tensor.Seq)
}

// blockRows is how many positions of all sequences go through the projections at a
// time: enough for the products to be efficient, few enough for what lies between them
// to stay in the cache.
const blockRows = 256

// operate computes the operator.
func (m *Hyena) operate(dst, src tensor.Seq, short seqmix.Stream, long convolver, s *tensor.Scratch) {
	e, n := m.cfg.channels(), m.cfg.Order
	v := s.TakeSeq(src.Batch, src.Len, e)
	gates := s.TakeSeq(src.Batch, src.Len, (n-1)*e)
	m.project(v, gates, src, short, s)
	m.recur(v, gates, long)
	applyLinear(dst, m.out, v.Mat(), s)
}

// recur takes v, the first gate already in it, through the convolutions and the gates
// that are left.
func (m *Hyena) recur(v, gates tensor.Seq, long convolver) {
	e, n := m.cfg.channels(), m.cfg.Order
	for o := range n - 1 {
		long.convolve(o, v)
		gate := o // of those that are left
		if m.cfg.Gates == LastFirst {
			gate = n - 2 - o
		}
		runGates(v.Mat(), v.Mat(), gates.Mat().Slice(gate*e, (gate+1)*e))
	}
	applyActivation(m.cfg.Activation.Of(), v)
}

// project computes the projections and the short convolution of all positions: the
// product of v and the first gate, and the other gates.
func (m *Hyena) project(v, gates, src tensor.Seq, short seqmix.Stream, s *tensor.Scratch) {
	width := m.in.Out()
	step := max(1, blockRows/src.Batch)
	rows := src.Batch * min(step, src.Len)
	room, inputs := s.Take(rows*width), s.Take(rows*src.Dim)
	for t := 0; t < src.Len; t += step {
		end := min(t+step, src.Len)
		z := tensor.SeqOf(room[:src.Batch*(end-t)*width], src.Batch, end-t, width)
		m.in.ApplyMat(z.Mat(), gatherRows(src.Slice(t, end), inputs))
		m.filterAndGate(v.Slice(t, end), gates.Slice(t, end), z, short)
	}
}

// filterAndGate computes the short convolution of z, in place, and makes v its last
// chunk times the first gate, and gates the other chunks.
func (m *Hyena) filterAndGate(v, gates, z tensor.Seq, short seqmix.Stream) {
	e, n := m.cfg.channels(), m.cfg.Order
	first, rest := n-1, 0 // the chunk of the first gate, and where the others begin
	if m.cfg.Gates == FirstFirst {
		first, rest = 0, 1
	}
	short.Mix(z, z)
	for b := range z.Batch {
		chunks := z.Sequence(b).Mat()
		runGates(v.Sequence(b).Mat(), chunks.Slice(n*e, (n+1)*e), chunks.Slice(first*e, (first+1)*e))
		for i := range z.Len {
			copy(gates.At(b, i), chunks.Row(i)[rest*e:])
		}
	}
}

// rowsOf returns all positions of s as the rows of one matrix, if the memory allows, and
// a matrix without data if not.
func rowsOf(s tensor.Seq) tensor.Mat {
	switch {
	case s.Contiguous():
		return s.Mat()
	case s.Len == 1:
		return tensor.Mat{Data: s.Data, Rows: s.Batch, Cols: s.Dim, Stride: s.Stride}
	}
	return tensor.Mat{}
}

// gatherRows is rowsOf that copies to room what cannot be used in place.
func gatherRows(s tensor.Seq, room []float32) tensor.Mat {
	if m := rowsOf(s); m.Data != nil {
		return m
	}
	c := tensor.SeqOf(room[:s.Batch*s.Len*s.Dim], s.Batch, s.Len, s.Dim)
	tensor.Copy(c, s)
	return c.Mat()
}

// applyLinear computes dst = l(src), of which row i is position i.
func applyLinear(dst tensor.Seq, l *nn.Linear, src tensor.Mat, s *tensor.Scratch) {
	if out := rowsOf(dst); out.Data != nil {
		l.ApplyMat(out, src)
		return
	}
	out := s.TakeSeq(dst.Batch, dst.Len, dst.Dim)
	l.ApplyMat(out.Mat(), src)
	tensor.Copy(dst, out)
}

// applyActivation applies a to every element of a contiguous sequence.
func applyActivation(a nn.Activation, x tensor.Seq) {
	if a != nn.Identity {
		a.Apply(x.Data, x.Data)
	}
}

// elementGrain is the number of elements of a cheap computation from which it is worth
// splitting: a few microseconds on one core.
const elementGrain = 1 << 14

// A gating is dst = a·b, element by element.
type gating struct{ dst, a, b tensor.Mat }

var gatings = sync.Pool{New: func() any { return new(gating) }}

// runGates computes dst = a·b. dst may be a or b.
func runGates(dst, a, b tensor.Mat) {
	g := gatings.Get().(*gating)
	*g = gating{dst, a, b}
	par.Do(dst.Rows, elementGrain/max(dst.Cols, 1), g)
	*g = gating{}
	gatings.Put(g)
}

// Run computes rows lo to hi-1.
func (g *gating) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		kernel.Mul(g.dst.Row(i), g.a.Row(i), g.b.Row(i))
	}
}
