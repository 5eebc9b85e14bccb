package train_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/train"
)

// A model learns to count: after each number comes the next.
func ExampleRun() {
	const numbers, dim = 10, 16
	r := rand.New(rand.NewPCG(1, 2))
	table := nn.NewEmbedding(numbers, dim)
	table.Init(r, 0.5)
	mlp, err := nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: 32})
	if err != nil {
		panic(err)
	}
	mlp.Init(r)
	model := &lm.Model{
		Embedding: table, Head: table.Head(), Norm: nn.NewRMSNorm(dim, 1e-5),
		Layers: seqmix.Stack{&seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mlp}},
	}
	run, err := train.NewRun(model, train.Config{
		Steps: 100,
		Batch: func(step int) ([]train.Batch, error) {
			ids := make([]int, 21)
			for i := range ids {
				ids[i] = (step + i) % numbers
			}
			return []train.Batch{train.NextTokens(ids)}, nil
		},
		Rate: train.Cosine(1e-2, 0, 100),
	})
	if err != nil {
		panic(err)
	}
	if err := run.Run(context.Background(), nil); err != nil {
		panic(err)
	}

	s, err := model.NewSession()
	if err != nil {
		panic(err)
	}
	if err := s.Feed(7); err != nil {
		panic(err)
	}
	for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: 5}) {
		if err != nil {
			panic(err)
		}
		fmt.Print(id, " ")
	}
	fmt.Println()
	// Output: 8 9 0 1 2
}
