package seqmix_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// newBlock returns a residual block around a short convolution, with parameters drawn
// from r.
func newBlock(r *rand.Rand, dim int) *seqmix.Residual {
	conv := nn.NewCausalConv1D(dim, 4, true, nn.SiLU)
	conv.Init(r)
	return &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: conv}
}

// randomSeq returns sequences of random vectors.
func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(r.NormFloat64())
	}
	return s
}

// distance returns the largest difference between elements of a and b.
func distance(a, b tensor.Seq) float32 {
	var d float32
	for i := range a.Data {
		d = max(d, a.Data[i]-b.Data[i], b.Data[i]-a.Data[i])
	}
	return d
}

// A model is mixers put into a Stack, which is a mixer again.
func Example() {
	r := rand.New(rand.NewPCG(1, 2))
	model := seqmix.Stack{newBlock(r, 8), newBlock(r, 8), nn.NewRMSNorm(8, 1e-5)}
	seqmix.Pack(model)

	src := randomSeq(r, 2, 100, 8) // two sequences of 100 vectors
	dst := tensor.NewSeq(2, 100, 8)
	model.Mix(dst, src)

	for name, p := range model.Params() {
		fmt.Println(name, p)
	}
	// Output:
	// 0.norm.weight float32[8]
	// 0.mixer.weight float32[8 1 4]
	// 0.mixer.bias float32[8]
	// 1.norm.weight float32[8]
	// 1.mixer.weight float32[8 1 4]
	// 1.mixer.bias float32[8]
	// 2.weight float32[8]
}

// A stream takes the sequence as it arrives: first a prompt of 60 positions at once,
// then one position after the other.
func ExampleNewStream() {
	r := rand.New(rand.NewPCG(1, 2))
	model := seqmix.Stack{newBlock(r, 8), newBlock(r, 8)}
	src := randomSeq(r, 1, 100, 8)
	whole, pieces := tensor.NewSeq(1, 100, 8), tensor.NewSeq(1, 100, 8)
	model.Mix(whole, src)

	stream, err := seqmix.NewStream(model, 1)
	if err != nil {
		panic(err)
	}
	stream.Mix(pieces.Slice(0, 60), src.Slice(0, 60))
	for i := 60; i < 100; i++ {
		stream.Mix(pieces.Slice(i, i+1), src.Slice(i, i+1))
	}
	fmt.Printf("%.4f\n", distance(whole, pieces))
	// Output: 0.0000
}

// Clones of a stream go separate ways from the same state on.
func ExampleMixLast() {
	r := rand.New(rand.NewPCG(1, 2))
	stream, err := seqmix.NewStream(seqmix.Stack{newBlock(r, 4), newBlock(r, 4)}, 1)
	if err != nil {
		panic(err)
	}
	prompt, all, last := randomSeq(r, 1, 10, 4), tensor.NewSeq(1, 10, 4), tensor.NewSeq(1, 1, 4)
	stream.Clone().Mix(all, prompt)
	seqmix.MixLast(stream, last, prompt)

	fmt.Println(slices.Equal(last.Data, all.At(0, 9)))
	// Output: true
}

func ExampleStream_clone() {
	r := rand.New(rand.NewPCG(1, 2))
	stream, err := seqmix.NewStream(newBlock(r, 4), 1)
	if err != nil {
		panic(err)
	}
	prompt := randomSeq(r, 1, 10, 4)
	stream.Mix(prompt, prompt)

	yes, no := stream, stream.Clone()
	a, b := randomSeq(r, 1, 1, 4), randomSeq(r, 1, 1, 4)
	next := tensor.SeqOf([]float32{1, 2, 3, 4}, 1, 1, 4)
	afterYes, afterNo := tensor.NewSeq(1, 1, 4), tensor.NewSeq(1, 1, 4)
	yes.Mix(a, a)
	yes.Mix(afterYes, next)
	no.Mix(b, b)
	no.Mix(afterNo, next)
	fmt.Println("the same:", distance(afterYes, afterNo) == 0)
	// Output: the same: false
}

// The state of a stream is saved, and another process goes on from there.
func ExampleStream_save() {
	r := rand.New(rand.NewPCG(1, 2))
	model := seqmix.Stack{newBlock(r, 4), newBlock(r, 4)}
	stream, err := seqmix.NewStream(model, 1)
	if err != nil {
		panic(err)
	}
	prompt := randomSeq(r, 1, 10, 4)
	stream.Mix(prompt, prompt)
	saved, err := stream.AppendBinary(nil)
	if err != nil {
		panic(err)
	}

	restored, err := seqmix.NewStream(model, 1)
	if err != nil {
		panic(err)
	}
	if err := restored.UnmarshalBinary(saved); err != nil {
		panic(err)
	}
	x := randomSeq(r, 1, 1, 4)
	a, b := tensor.NewSeq(1, 1, 4), tensor.NewSeq(1, 1, 4)
	stream.Mix(a, x)
	restored.Mix(b, x)
	fmt.Println("the same:", distance(a, b) == 0)

	saved[20]++
	fmt.Println("damaged:", restored.UnmarshalBinary(saved) != nil)
	// Output:
	// the same: true
	// damaged: true
}

// A residual block adds what the mixer makes of the normalised input to the input.
func ExampleResidual() {
	half := nn.NewLinear(2, 2, false)
	half.Weight.SetFloat32s([]float32{0.5, 0, 0, 0.5})
	block := &seqmix.Residual{Norm: nn.NewRMSNorm(2, 0), Mixer: half}

	x := tensor.SeqOf([]float32{1, 7}, 1, 1, 2) // root mean square 5
	block.Mix(x, x)
	fmt.Printf("%.2f\n", x.Data)
	// Output: [1.10 7.70]
}

// The gradient of a loss with respect to the input and to the parameters.
func ExampleRecord() {
	layer := nn.NewLinear(2, 2, true)
	layer.Weight.SetFloat32s([]float32{1, 2, 3, 4})
	src := tensor.SeqOf([]float32{10, 20}, 1, 1, 2)
	dst := tensor.NewSeq(1, 1, 2)

	tape, err := seqmix.Record(layer, dst, src)
	if err != nil {
		panic(err)
	}
	ddst := tensor.SeqOf([]float32{1, 0}, 1, 1, 2) // of the loss dst[0]
	dsrc := tensor.NewSeq(1, 1, 2)
	grads := seqmix.NewGrads(layer)
	delete(grads, layer.Bias) // frozen
	tape.Backward(dsrc, ddst, grads)

	fmt.Println("dst", dst.Data)
	fmt.Println("dsrc", dsrc.Data)
	fmt.Println("weight", grads.Of(layer.Weight))
	// Output:
	// dst [50 110]
	// dsrc [1 2]
	// weight [10 20 0 0]
}
