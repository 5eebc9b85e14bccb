package main

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
)

// A builder makes the parts of a network, with the sizes that tensors of src have, and
// collects their parameters. Its first error makes all that follows void.
type builder struct {
	src    checkpoint.Source
	params []param
	loaded []func() // what is to be done when the parameters have their values
	err    error
}

// A param is a parameter under the name that it has in the checkpoint.
type param struct {
	name   string
	tensor *tensor.Tensor
}

// Params makes the builder a checkpoint.Model.
func (b *builder) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, p := range b.params {
			if !yield(p.name, p.tensor) {
				return
			}
		}
	}
}

// add collects the parameters of m, under their own names with prefix before them.
// rename holds pairs of a beginning of those names and what stands for it in the
// checkpoint.
func (b *builder) add(prefix string, m checkpoint.Model, rename ...string) {
	for name, t := range m.Params() {
		b.params = append(b.params, param{prefix + replaceStart(name, rename), t})
	}
}

// replaceStart replaces the beginning of s: pairs holds what to look for and what
// stands for it, in turn.
func replaceStart(s string, pairs []string) string {
	for i := 0; i < len(pairs); i += 2 {
		if rest, ok := strings.CutPrefix(s, pairs[i]); ok {
			return pairs[i+1] + rest
		}
	}
	return s
}

// param makes a parameter.
func (b *builder) param(name string, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	b.params = append(b.params, param{name, t})
	return t
}

// load fills the parameters.
func (b *builder) load() error {
	if b.err != nil {
		return b.err
	}
	loader := checkpoint.Loader{Finite: true}
	if err := loader.Load(b, b.src); err != nil {
		return err
	}
	for _, f := range b.loaded {
		f()
	}
	return nil
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) has(name string) bool {
	_, ok := b.src.Lookup(name)
	return ok
}

// shape returns the shape of a tensor, or nil if there is none.
func (b *builder) shape(name string) []int {
	if e, ok := b.src.Lookup(name); ok {
		return e.Shape()
	}
	return nil
}

// size returns a dimension of a tensor, and 1 if there is an error.
func (b *builder) size(name string, dim int) int {
	shape := b.shape(name)
	switch {
	case !b.has(name):
		b.fail(fmt.Errorf("no tensor %s", name))
	case dim >= len(shape) || slices.Min(shape) < 1 || slices.Max(shape) > maxWidth:
		b.fail(fmt.Errorf("tensor %s of shape %v, want %d or more dimensions from 1 to %d", name, shape, dim+1, maxWidth))
	default:
		return shape[dim]
	}
	return 1
}
