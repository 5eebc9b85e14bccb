package monarch

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

// prefixed names the parameters of a part.
func prefixed(prefix string, params iter.Seq2[string, *tensor.Tensor]) []named {
	var list []named
	for name, p := range params {
		list = append(list, named{prefix + name, p})
	}
	return list
}
