package main

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

// A site is a place of the model where a mixer is: what it is given, and what the mixer of
// the teacher makes of it.
type site struct {
	in, out tensor.Seq
}

// observe runs a model on sequences of tokens and returns what happens at some of its
// blocks, by their numbers.
func observe(m *lm.Model, ids []int, length int, layers []int) (map[int]site, error) {
	n := len(ids) / length
	x := tensor.NewSeq(n, length, m.Dim())
	if err := m.Embedding.Lookup(x, ids); err != nil {
		return nil, err
	}
	sites := map[int]site{}
	for _, i := range layers {
		sites[i] = site{in: tensor.NewSeq(n, length, m.Dim()), out: tensor.NewSeq(n, length, m.Dim())}
	}
	for i, layer := range m.Layers {
		s, wanted := sites[i]
		if !wanted {
			layer.Mix(x, x)
			continue
		}
		r := residual(m, i)
		r.Norm.Mix(s.in, x)
		r.Mixer.Mix(s.out, s.in)
		tensor.AddSeq(x, x, s.out)
		layer.(seqmix.Stack)[1:].Mix(x, x)
	}
	return sites, nil
}

// residual returns the part of block i that has its mixer, in a model of package hybrid.
func residual(m *lm.Model, i int) *seqmix.Residual {
	return m.Layers[i].(seqmix.Stack)[0].(*seqmix.Residual)
}
