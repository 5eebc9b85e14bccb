package ssm_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A prompt is read at once, and then each token for itself: the state stays as large
// as it was.
func ExampleMamba2() {
	m, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: 32, HeadDim: 16, DState: 64})
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Init(rand.New(rand.NewPCG(1, 1)))

	stream, err := m.NewStream(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt, token := tensor.NewSeq(1, 1000, 32), tensor.NewSeq(1, 1, 32)
	stream.Mix(prompt, prompt)
	for range 10 {
		stream.Mix(token, token)
	}
	conv, states := stream.(*ssm.Mamba2Stream).State()
	fmt.Println("inputs of the convolution", conv.Shape())
	fmt.Println("states", states.Shape())
	// Output:
	// inputs of the convolution [1 3 192]
	// states [1 4 16 64]
}

// Several documents in one row do not see each other.
func ExampleMamba2_MixPacked() {
	m, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: 8, HeadDim: 4, DState: 16, NGroups: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := rand.New(rand.NewPCG(1, 1))
	m.Init(r)
	row := tensor.NewSeq(1, 12, 8)
	for i := range row.Data {
		row.Data[i] = r.Float32()
	}
	second := row.Slice(5, 12)
	alone := tensor.NewSeq(1, second.Len, 8)
	m.Mix(alone, second)

	m.MixPacked(row, row, []int{0, 5})
	fmt.Println(row.At(0, 11)[0] == alone.At(0, 6)[0])
	// Output: true
}

// The configuration of a checkpoint is read off the shapes of its tensors.
func ExampleMamba2ConfigOf() {
	shapes := map[string][]int{ // of a layer of mamba2-130m
		"in_proj.weight": {3352, 768}, "conv1d.weight": {1792, 1, 4}, "conv1d.bias": {1792},
		"dt_bias": {24}, "A_log": {24}, "D": {24}, "norm.weight": {1536}, "out_proj.weight": {768, 1536},
	}
	cfg, err := ssm.Mamba2ConfigOf(func(name string) []int { return shapes[name] }, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.DModel, cfg.DInner, cfg.HeadDim, cfg.DState, cfg.DConv)
	// Output: 768 1536 64 128 4
}

// One head of two channels forgets half of its state at each position.
func ExampleStateSpaceDual() {
	x := tensor.SeqOf([]float32{1, 10, 0, 0, 0, 0}, 1, 3, 2)
	ones := tensor.SeqOf([]float32{1, 1, 1}, 1, 3, 1)
	ssm.StateSpaceDual(x, x, ssm.SSD{
		A:     tensor.FromFloat32s([]float32{-0.6931472}, 1),
		Delta: ones, B: ones, C: ones,
	})
	for t := range x.Len {
		fmt.Printf("%.3f\n", x.At(0, t))
	}
	// Output:
	// [1.000 10.000]
	// [0.500 5.000]
	// [0.250 2.500]
}

// The mixers of one family have the same methods, and streams of both can be saved.
func ExampleMamba3() {
	m, err := ssm.NewMamba3(ssm.Mamba3Config{DModel: 32, HeadDim: 16, DState: 32, MIMO: true, MIMORank: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := rand.New(rand.NewPCG(1, 1))
	m.Init(r)
	x := tensor.NewSeq(1, 20, 32)
	for i := range x.Data {
		x.Data[i] = r.Float32()
	}
	whole := tensor.NewSeq(1, 20, 32)
	m.Mix(whole, x)

	first, err := m.NewStream(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	first.Mix(x.Slice(0, 13), x.Slice(0, 13))
	saved, err := first.AppendBinary(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	second, err := m.NewStream(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := second.UnmarshalBinary(saved); err != nil {
		fmt.Println(err)
		return
	}
	second.Mix(x.Slice(13, 20), x.Slice(13, 20))
	fmt.Println(x.At(0, 19)[0] == whole.At(0, 19)[0])
	// Output: true
}

// The norm of Mamba-2 with two groups of channels.
func ExampleGatedRMSNorm() {
	n, err := ssm.NewGatedRMSNorm(4, 2, 1e-5, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := tensor.SeqOf([]float32{3, 4, 0.3, 0.4}, 1, 1, 4)
	gate := tensor.SeqOf([]float32{20, 20, 20, 20}, 1, 1, 4) // SiLU(20) is 20
	n.Apply(x, x, gate)
	fmt.Printf("%.3f\n", x.Data)
	// Output: [16.971 22.627 16.970 22.627]
}
