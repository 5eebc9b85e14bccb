package based

import (
	"iter"

	"github.com/seqmix/seqmix/tensor"
)

// named is a parameter with its name.
type named struct {
	name  string
	param *tensor.Tensor
}

// yieldParams yields the parameters that are not nil.
func yieldParams(params ...named) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, p := range params {
			if p.param != nil && !yield(p.name, p.param) {
				return
			}
		}
	}
}

// data returns the elements of an optional parameter.
func data(t *tensor.Tensor) []float32 {
	if t == nil {
		return nil
	}
	return t.Data()
}
