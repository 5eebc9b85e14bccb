package zoology_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix/train"
	"github.com/seqmix/seqmix/zoology"
)

// A sequence of multi-query associative recall: pairs of keys and values, and then keys
// whose values are the labels.
func ExampleMQAR() {
	task := zoology.MQAR{VocabSize: 20, SeqLen: 16, Pairs: 2, RandomNonQueries: new(false)}
	b, err := task.Generate(1, zoology.Rand(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		panic(err)
	}
	fmt.Println(b.IDs)
	for i, label := range b.Labels {
		if label != train.Ignore {
			fmt.Printf("position %d: after %d, %d is wanted\n", i, b.IDs[i], label)
		}
	}
	// Output:
	// [7 17 6 12 7 0 0 0 0 0 6 0 0 0 0 0]
	// position 4: after 7, 17 is wanted
	// position 10: after 6, 12 is wanted
}

// What attention to the 32 positions before its own can recall of 16 pairs in 64 positions
// is known without training it.
func ExampleMQAR_WindowCeiling() {
	share, err := zoology.MQAR{Pairs: 16}.WindowCeiling(32, 20_000, zoology.Rand(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f\n", share)
	// Output: 0.59
}

// The size of the state of a model with Based in one layer and a short convolution in the
// other, as published plots have it.
func ExampleStateBytes() {
	m, err := zoology.Trial{Setting: zoology.Smoke(), Contender: zoology.Based(16)}.NewModel()
	if err != nil {
		panic(err)
	}
	for _, n := range []int{64, 1024} {
		size, err := zoology.StateBytes(m, n)
		if err != nil {
			panic(err)
		}
		fmt.Println(n, size)
	}
	// Output:
	// 64 40548
	// 1024 40548
}

// A model with attention learns to recall two pairs of a small vocabulary, in a setting of
// one's own.
func ExampleTrial() {
	task := zoology.MQAR{VocabSize: 16, SeqLen: 12, Pairs: 2, RandomNonQueries: new(false)}
	s := zoology.Setting{
		Name: "two pairs", DModel: 32, BatchSize: 32, Epochs: 3, TestExamples: 200, Rate: 1e-2, WeightDecay: 0.1,
		Train: []zoology.Segment{{Task: task, Steps: 100}}, Test: []zoology.MQAR{task},
	}
	r, err := zoology.Trial{Setting: s, Contender: zoology.Attention(), Seed: 1}.Run(context.Background(), nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Steps, "steps, more than 9 of 10 recalled:", r.Accuracy() > 0.9)
	// Output: 300 steps, more than 9 of 10 recalled: true
}
