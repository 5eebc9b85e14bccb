package nn_test

import (
	"encoding/json"
	"fmt"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A layer with more outputs than inputs is used by Apply.
func ExampleLinear() {
	l := nn.NewLinear(2, 3, true)
	l.Weight.SetFloat32s([]float32{1, 0, 0, 1, 1, 1})
	l.Bias.SetFloat32s([]float32{0, 0, 10})
	src, dst := tensor.SeqOf([]float32{1, 2, 3, 4}, 1, 2, 2), tensor.NewSeq(1, 2, 3)
	l.Apply(dst, src)
	fmt.Println(dst.At(0, 0), dst.At(0, 1))
	// Output: [1 2 13] [3 4 17]
}

// Eps inside and outside the root differ where the input is small.
func ExampleRMSNorm() {
	inside, outside := nn.NewRMSNorm(2, 1e-4), nn.NewRMSNorm(2, 1e-4)
	outside.Outside = true
	src, dst := tensor.SeqOf([]float32{0.01, -0.01}, 1, 1, 2), tensor.NewSeq(1, 1, 2)
	inside.Mix(dst, src)
	fmt.Printf("%.3f\n", dst.Data)
	outside.Mix(dst, src)
	fmt.Printf("%.3f\n", dst.Data)
	// Output:
	// [0.707 -0.707]
	// [0.990 -0.990]
}

// A stream remembers the inputs that later positions need.
func ExampleCausalConv1D() {
	conv := nn.NewCausalConv1D(1, 3, false, nn.Identity)
	conv.Weight.SetFloat32s([]float32{100, 10, 1})
	stream, err := conv.NewStream(1)
	if err != nil {
		panic(err)
	}
	for _, piece := range [][]float32{{1}, {2, 3}, {4}} {
		x := tensor.SeqOf(piece, 1, len(piece), 1)
		stream.Mix(x, x)
		fmt.Println(x.Data)
	}
	// Output:
	// [1]
	// [12 123]
	// [234]
}

// A network from the configuration of a checkpoint. The layout says how the
// checkpoint names the matrices.
func ExampleNewGLU() {
	var cfg nn.GLUConfig
	const text = `{"hidden_size": 64, "intermediate_size": 172, "hidden_act": "silu"}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	for _, layout := range []nn.GLULayout{nn.GateUpDown, nn.FC1FC2} {
		cfg.Layout = layout
		m, err := nn.NewGLU(cfg)
		if err != nil {
			panic(err)
		}
		for name, p := range m.Params() {
			fmt.Println(name, p)
		}
	}
	// Output:
	// gate_proj.weight float32[172 64]
	// up_proj.weight float32[172 64]
	// down_proj.weight float32[64 172]
	// fc1.weight float32[344 64]
	// fc2.weight float32[64 172]
}

// The output projection of a language model shares the table of its embedding.
func ExampleEmbedding() {
	e := nn.NewEmbedding(3, 2)
	e.Weight.SetFloat32s([]float32{1, 0, 0, 1, 2, 2})
	x, logits := tensor.NewSeq(1, 2, 2), tensor.NewSeq(1, 2, 3)
	if err := e.Lookup(x, []int{2, 0}); err != nil {
		panic(err)
	}
	e.Head().Apply(logits, x)
	fmt.Println(x.Data, logits.Data)
	fmt.Println(e.Lookup(x, []int{2, 3}))
	// Output:
	// [2 2 1 0] [2 2 8 1 0 2]
	// nn: token 3 at position 1 is not in the vocabulary of 3
}
