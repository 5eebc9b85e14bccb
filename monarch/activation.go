package monarch

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// The number of elements from which it is worth splitting a computation: some microseconds
// on one core.
const (
	activationGrain = 1 << 13
	gatingGrain     = 1 << 14
)

// An activation computes GELU of the first width elements of each row, times the other
// ones if there is a gate.
type activation struct {
	h     tensor.Mat
	width int
	gate  bool
}

var activations = sync.Pool{New: func() any { return new(activation) }}

func activateRows(h tensor.Mat, width int, gate bool) {
	a := activations.Get().(*activation)
	*a = activation{h, width, gate}
	par.Do(h.Rows, activationGrain/h.Cols+1, a)
	*a = activation{}
	activations.Put(a)
}

// Run computes rows lo to hi-1.
func (a *activation) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		row := a.h.Row(i)
		if a.gate {
			nn.GELU.Gate(row[:a.width], row[a.width:], row[:a.width])
		} else {
			nn.GELU.Apply(row, row)
		}
	}
}

// A gating is dst = a·b, element by element.
type gating struct{ dst, a, b tensor.Mat }

var gatings = sync.Pool{New: func() any { return new(gating) }}

// gateRows computes dst = a·b. dst may be a or b.
func gateRows(dst, a, b tensor.Mat) {
	g := gatings.Get().(*gating)
	*g = gating{dst, a, b}
	par.Do(dst.Rows, gatingGrain/dst.Cols+1, g)
	*g = gating{}
	gatings.Put(g)
}

// Run computes rows lo to hi-1.
func (g *gating) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		kernel.Mul(g.dst.Row(i), g.a.Row(i), g.b.Row(i))
	}
}
