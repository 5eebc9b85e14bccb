// Package paramlist lists the parameters of mixers.
package paramlist

import (
	"iter"

	"github.com/seqmix/seqmix/tensor"
)

// Named is a parameter with its name.
type Named struct {
	Name  string
	Param *tensor.Tensor
}

// Of gives a parameter its name.
func Of(name string, p *tensor.Tensor) Named { return Named{name, p} }

// Yield yields the parameters that are not nil.
func Yield(list ...Named) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, p := range list {
			if p.Param != nil && !yield(p.Name, p.Param) {
				return
			}
		}
	}
}

// Data returns the elements of an optional parameter.
func Data(t *tensor.Tensor) []float32 {
	if t == nil {
		return nil
	}
	return t.Data()
}
