package train_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/train"
)

// A sequence of 1000 positions takes the memory of 100, and has the same gradient. If it
// is truncated, parameters are not told what the states that they make do in later
// segments.
func ExampleSegments() {
	const tokens, dim = 10, 8
	r := rand.New(rand.NewPCG(1, 2))
	table := nn.NewEmbedding(tokens, dim)
	table.Init(r, 0.5)
	s4d, err := ssm.NewS4D(ssm.S4DConfig{DModel: dim})
	if err != nil {
		log.Fatal(err)
	}
	s4d.Init(r)
	model := &lm.Model{Embedding: table, Head: table.Head(), Layers: seqmix.Stack{s4d}}
	ids := make([]int, 1001)
	for i := range ids {
		ids[i] = r.IntN(tokens)
	}
	gradient, err := train.NewGradient(model, 1)
	if err != nil {
		log.Fatal(err)
	}
	norm := func(s train.Segments) float64 {
		gradient.Segments = s
		grads := seqmix.NewGrads(s4d)
		if _, err := gradient.Add(grads, train.NextTokens(ids), 1); err != nil {
			log.Fatal(err)
		}
		return train.Norm(grads, s4d.Params())
	}
	fmt.Printf("whole      %.3f\n", norm(train.Segments{}))
	fmt.Printf("segments   %.3f\n", norm(train.Segments{Len: 100}))
	fmt.Printf("truncated  %.3f\n", norm(train.Segments{Len: 100, Truncate: 1}))
	// Output:
	// whole      1.656
	// segments   1.656
	// truncated  0.754
}
