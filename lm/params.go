package lm

import (
	"iter"

	"github.com/seqmix/seqmix/tensor"
)

// params are the parameters of a model.
type params = iter.Seq2[string, *tensor.Tensor]

// A part is some of the parameters of a model, and what their names begin with.
type part struct {
	name   string
	params func() params
}

// joined yields the parameters of all parts.
func joined(parts []part) params {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, part := range parts {
			for name, p := range part.params() {
				if !yield(part.name+"."+name, p) {
					return
				}
			}
		}
	}
}

// sizeOf returns the number of parameters and their bytes, shared ones counted once.
func sizeOf(all params) (parameters, bytes int) {
	seen := map[*tensor.Tensor]bool{}
	for _, p := range all {
		if !seen[p] {
			seen[p] = true
			parameters += p.Len()
			bytes += p.Bytes()
		}
	}
	return parameters, bytes
}

// pack packs the weights that are not packed yet.
func pack(all params) {
	for _, p := range all {
		if p.IsWeight() && !p.Packed() {
			p.Pack()
		}
	}
}

// compact makes the weights compact.
func compact(all params) {
	for _, p := range all {
		if p.IsWeight() {
			p.Compact()
		}
	}
}

// quantize converts the weights to a format.
func quantize(all params, d tensor.DType) {
	for _, p := range all {
		if p.IsWeight() && p.DType() != d {
			p.Convert(d)
		}
	}
}
