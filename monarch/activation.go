package monarch

import (
	"sync"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An activation computes GELU of the first width elements of each row, times the other
// ones if there is a gate.
type activation struct {
	h     tensor.Mat
	width int
	gate  bool
}

var activations = sync.Pool{New: func() any { return new(activation) }}

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
