package nn

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// rows applies the activation to every element.
func (a Activation) rows(dst, src tensor.Mat) { a.Apply(dst.Data, src.Data) }

// activate applies a to every element of a contiguous matrix.
func activate(a Activation, m tensor.Mat) {
	s := tensor.SeqOf(m.Data, 1, m.Rows, m.Cols)
	overRows(a, s, s)
}

// activationGrad computes x = a′(x)·dy for all elements. x is contiguous.
func activationGrad(a Activation, x, dy tensor.Seq) {
	if dy.Contiguous() {
		x, dy = oneSequence(x), oneSequence(dy)
	}
	overRows(gradient{a}, x, dy)
}

type gradient struct{ act Activation }

func (g gradient) rows(x, dy tensor.Mat) { g.act.Grad(x.Data, dy.Data, x.Data) }

// gateLoop computes dst = value·act(gate) on the rows of matrices.
type gateLoop struct {
	act              Activation
	dst, value, gate tensor.Mat
}

var gateLoops = sync.Pool{New: func() any { return new(gateLoop) }}

// gateRows computes dst = value·act(gate).
func gateRows(act Activation, dst, value, gate tensor.Mat) {
	l := gateLoops.Get().(*gateLoop)
	*l = gateLoop{act, dst, value, gate}
	par.Do(dst.Rows, elementGrain/max(dst.Cols, 1), l)
	*l = gateLoop{}
	gateLoops.Put(l)
}

// Run computes rows lo to hi-1.
func (l *gateLoop) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		l.act.Gate(l.dst.Row(i), l.value.Row(i), l.gate.Row(i))
	}
}

// gateGrad computes the gradients of value·act(gate) from the gradient dh. Each is
// computed in whole rows; dgate and dvalue must not overlap the others.
func gateGrad(act Activation, dgate, dvalue, dh, gate, value tensor.Mat) {
	par.Do(dh.Rows, elementGrain/max(dh.Cols, 1), par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			act.Apply(dvalue.Row(i), gate.Row(i))
			kernel.Mul(dvalue.Row(i), dvalue.Row(i), dh.Row(i))
			kernel.Mul(dgate.Row(i), dh.Row(i), value.Row(i))
			act.Grad(dgate.Row(i), dgate.Row(i), gate.Row(i))
		}
	}))
}
