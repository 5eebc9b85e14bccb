package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/tensor"
)

// A shape is the size of a model of Mamba's family.
type shape struct {
	name       string
	layers     int
	dim        int // of the vectors between the layers
	vocabulary int
}

// The constants that the models of arXiv:2312.00752 have in common.
const (
	stateSize = 16
	taps      = 4 // of the short convolution
	expand    = 2
)

func (s shape) inner() int { return expand * s.dim }

// rank is the width of the projection that step sizes go through.
func (s shape) rank() int { return (s.dim + 15) / 16 }

// products is the number of multiply-adds that a token takes in matrix products, those of
// the head left out, which are done for the last token only.
func (s shape) products() int {
	e := s.inner()
	return s.layers * (2*e*s.dim + e*(s.rank()+2*stateSize) + s.rank()*e + e*s.dim)
}

// shapes are those of the published models, and one to try the program with.
var shapes = []shape{
	{"tiny", 2, 64, 512},
	{"130m", 24, 768, 50280},
	{"370m", 48, 1024, 50280},
	{"1.4b", 48, 2048, 50280},
}

func chooseShapes(list string) ([]shape, error) {
	var chosen []shape
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-shapes: no shape %q, want some of tiny, 130m, 370m, 1.4b", name)
		}
		chosen = append(chosen, shapes[i])
	}
	return chosen, nil
}

// A format is a way to hold weights, here and in files that peers read.
type format struct {
	name    string
	weights tensor.DType
	kind    kind

	// others are kinds that only peers hold: they take the place of kind where the
	// peer is faster with them.
	others []kind

	// tolerance bounds the deviation of the logits of a peer, which may round activations to
	// the format of the weights: with 48 layers and int8 that comes to a tenth. Those of
	// another function deviate by about the square root of two.
	tolerance float64
}

var formats = []format{
	{"float32", tensor.Float32, f32, nil, 1e-3},
	{"bfloat16", tensor.BFloat16, bf16, []kind{f16}, 0.1},
	{"int8", tensor.Int8, q8, nil, 0.25},
	{"int4", tensor.Int4, q4, nil, 0.25},
}

func chooseFormats(list string) ([]format, error) {
	var chosen []format
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(formats, func(f format) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-formats: no format %q, want some of float32, bfloat16, int8, int4", name)
		}
		chosen = append(chosen, formats[i])
	}
	return chosen, nil
}
