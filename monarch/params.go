package monarch

import (
	"iter"

	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// prefixed names the parameters of a part.
func prefixed(prefix string, params iter.Seq2[string, *tensor.Tensor]) []paramlist.Named {
	var list []paramlist.Named
	for name, p := range params {
		list = append(list, paramlist.Of(prefix+name, p))
	}
	return list
}
