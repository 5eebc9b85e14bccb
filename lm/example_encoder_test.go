package lm_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An encoder with Monarch Mixer, as M2-BERT is one, and the vectors that it makes of two
// texts of different lengths.
func ExampleEncoder() {
	const dim, length, tokens = 16, 32, 100
	r := rand.New(rand.NewPCG(1, 2))
	e := &lm.Encoder{
		Embedding: nn.NewEmbedding(tokens, dim), Positions: nn.NewEmbedding(length, dim),
		InputNorm: nn.NewLayerNorm(dim, 1e-12), MaxLen: length, PadTo: length,
	}
	e.Embedding.Init(r, 1)
	e.Positions.Init(r, 1)
	for range 2 {
		mixer, err := monarch.NewMixer(monarch.MixerConfig{Dim: dim, LMax: length})
		if err != nil {
			fmt.Println(err)
			return
		}
		mixer.Init(r)
		e.Layers = append(e.Layers, mixer)
	}
	vectors, err := e.Embed([][]int{{1, 17, 42, 2}, {1, 9, 2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(vectors.Rows, "vectors of", vectors.Cols)

	// The first text is the same among others and alone.
	alone, err := e.Embed([][]int{{1, 17, 42, 2}})
	fmt.Println(err, tensor.Max(alone.Data) == tensor.Max(vectors.Row(0)))
	// Output:
	// 2 vectors of 16
	// <nil> true
}
