package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
)

// newStudent returns a copy of the teacher that has other mixers, which begin at random, in
// the places of layers, and what describes it.
func newStudent(teacher *lm.Model, config hybrid.Config, layers []int, mixer string, length int, seed uint64) (*lm.Model, hybrid.Config, error) {
	config, err := newPattern(config, layers, mixer)
	if err != nil {
		return nil, config, err
	}
	if teacher.MaxLen == 0 {
		config.MaxLen = length
	}
	m, err := hybrid.New(config, rand.New(rand.NewPCG(seed, 1)))
	if err != nil {
		return nil, config, err
	}
	copyParams(m.Embedding, teacher.Embedding)
	copyParams(m.Norm, teacher.Norm)
	copyParams(m.Head, teacher.Head)
	for i, layer := range m.Layers {
		if !slices.Contains(layers, i) {
			copyParams(layer, teacher.Layers[i])
			continue
		}
		copyParams(residual(m, i).Norm, residual(teacher, i).Norm)
		copyParams(layer.(seqmix.Stack)[1:], teacher.Layers[i].(seqmix.Stack)[1:])
	}
	return m, config, nil
}

// newPattern returns the configuration with other mixers in the places of layers of attention.
func newPattern(config hybrid.Config, layers []int, mixer string) (hybrid.Config, error) {
	config.Pattern = slices.Clone(config.Pattern)
	for _, i := range layers {
		if i >= len(config.Pattern) {
			return config, fmt.Errorf("-layers %d: the teacher has blocks 0 to %d", i, len(config.Pattern)-1)
		}
		if config.Pattern[i] != attentionName {
			return config, fmt.Errorf("-layers %d: this block of the teacher is %s, not %s", i, config.Pattern[i], attentionName)
		}
		config.Pattern[i] = mixer
	}
	return config, nil
}

// copyParams sets the parameters of a part of a model to those of one of the same shape.
func copyParams(dst, src parametrized) {
	from := weightsOf(src)
	for name, p := range dst.Params() {
		p.SetFloat32s(from[name].Float32s())
	}
}

// attentionLayers returns the blocks of a pattern that have attention.
func attentionLayers(pattern []string) []int {
	var layers []int
	for i, name := range pattern {
		if name == attentionName {
			layers = append(layers, i)
		}
	}
	return layers
}

// fromAttention initialises the new mixers of a student from the layers of the teacher and
// what these do with some sequences.
func fromAttention(student, teacher *lm.Model, layers, ids []int, length int) error {
	sites, err := observe(teacher, ids, length, layers)
	if err != nil {
		return err
	}
	for _, i := range layers {
		p, err := newProfile(residual(teacher, i).Mixer.(*attention.MultiHead), sites[i].in)
		if err != nil {
			return err
		}
		if err := initialise(residual(student, i).Mixer, p); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}
