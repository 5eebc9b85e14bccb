package seqmix_test

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

const width = 32

// must returns v: the configurations here are right.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// layer is a mixer and a gated network, each with a norm before it and its input added
// after it: the layer of most language models.
func layer(mixer seqmix.Mixer) seqmix.Mixer {
	mlp := must(nn.NewGLU(nn.GLUConfig{Dim: width, Hidden: 2 * width}))
	return seqmix.Stack{
		&seqmix.Residual{Norm: nn.NewRMSNorm(width, 1e-6), Mixer: mixer},
		&seqmix.Residual{Norm: nn.NewRMSNorm(width, 1e-6), Mixer: mlp},
	}
}

// describe prints the mixers of a stack of layers.
func describe(model seqmix.Stack) {
	for i, l := range model {
		if s, ok := l.(seqmix.Stack); ok {
			l = s[0]
		}
		if r, ok := l.(*seqmix.Residual); ok {
			l = r.Mixer
		}
		if i > 0 {
			fmt.Print(" ")
		}
		fmt.Printf("%T", l)
	}
	fmt.Println()
}

// Jamba has one layer of attention, with grouped queries and without positions, among
// seven of Mamba.
func ExampleStack_jamba() {
	var model seqmix.Stack
	for i := range 8 {
		if i == 4 {
			model = append(model, layer(must(attention.NewMultiHead(attention.MultiHeadConfig{Dim: width, Heads: 4, KVHeads: 1}))))
			continue
		}
		model = append(model, layer(must(ssm.NewMamba(ssm.MambaConfig{DModel: width, InnerNorm: ssm.WeightedNorm}))))
	}
	describe(model)
	// Output:
	// *ssm.Mamba *ssm.Mamba *ssm.Mamba *ssm.Mamba *attention.MultiHead *ssm.Mamba *ssm.Mamba *ssm.Mamba
}

// StripedHyena alternates gated convolutions, whose filters are recurrences, and
// attention with rotary positions.
func ExampleStack_stripedHyena() {
	var model seqmix.Stack
	for range 2 {
		conv := must(hyena.NewStriped(hyena.StripedConfig{CascadeConfig: hyena.CascadeConfig{Dim: width, Heads: 4}}))
		heads := must(attention.NewMultiHead(attention.MultiHeadConfig{
			Dim: width, Heads: 4, KVHeads: 1, Layout: attention.Wqkv, RoPE: &attention.RoPEConfig{Base: 500000},
		}))
		model = append(model,
			must(hyena.NewBlock(hyena.BlockConfig{Dim: width}, conv, "")),
			must(hyena.NewBlock(hyena.BlockConfig{Dim: width}, heads, "inner_mha_cls.")))
	}
	for _, l := range model {
		fmt.Printf("%T ", l.(*hyena.Block).Mixer)
	}
	// Output: *hyena.Striped *attention.MultiHead *hyena.Striped *attention.MultiHead
}

// Based mixes short gated convolutions, linear attention by the Taylor series of the
// exponential, and attention to the last few positions: all of its state is of fixed size.
func ExampleStack_based() {
	model := seqmix.Stack{
		layer(must(based.NewGatedConv(based.GatedConvConfig{DModel: width}))),
		layer(must(based.NewLinearAttention(based.LinearAttentionConfig{DModel: width, Heads: 2}))),
		layer(must(attention.NewMultiHead(attention.MultiHeadConfig{Dim: width, Heads: 2, Left: new(64), RoPE: new(attention.RoPEConfig)}))),
		layer(must(based.NewGatedConv(based.GatedConvConfig{DModel: width}))),
	}
	describe(model)
	stream := must(model.NewStream(1))
	for _, n := range []int{1000, 20000} {
		x := tensor.NewSeq(1, n, width)
		stream.Reset()
		stream.Mix(x, x)
		fmt.Println(n, "positions, state below 200 kB:", len(must(stream.AppendBinary(nil))) < 200e3)
	}
	// Output:
	// *based.GatedConv *based.LinearAttention *attention.MultiHead *based.GatedConv
	// 1000 positions, state below 200 kB: true
	// 20000 positions, state below 200 kB: true
}

// M2-BERT mixes positions by long convolutions that see both ways, and channels by
// Monarch matrices, with norms after them. It reads whole sequences only.
func ExampleStack_m2BERT() {
	var model seqmix.Stack
	for range 2 {
		model = append(model,
			must(monarch.NewMixer(monarch.MixerConfig{Dim: width, LMax: 128})),
			must(monarch.NewMLP(monarch.MLPConfig{Dim: width})))
	}
	describe(model)
	_, err := model.NewStream(1)
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output:
	// *monarch.Mixer *monarch.MLP *monarch.Mixer *monarch.MLP
	// true
}

// To graft, assign: here Mamba takes the place of attention in one layer, and whatever
// held the stack holds the new one.
func ExampleStack_graft() {
	r := rand.New(rand.NewPCG(1, 2))
	var model seqmix.Stack
	for range 3 {
		heads := must(attention.NewMultiHead(attention.MultiHeadConfig{Dim: width, Heads: 4}))
		heads.Init(r)
		model = append(model, &seqmix.Residual{Norm: nn.NewRMSNorm(width, 1e-6), Mixer: heads})
	}
	describe(model)

	mamba := must(ssm.NewMamba(ssm.MambaConfig{DModel: width}))
	mamba.Init(r)
	model[1].(*seqmix.Residual).Mixer = mamba
	describe(model)

	x := randomSeq(r, 1, 50, width)
	whole, pieces := tensor.NewSeq(1, 50, width), tensor.NewSeq(1, 50, width)
	model.Mix(whole, x)
	stream := must(model.NewStream(1))
	for i := range x.Len {
		stream.Mix(pieces.Slice(i, i+1), x.Slice(i, i+1))
	}
	fmt.Printf("streamed, it differs by less than 1e-5: %v\n", distance(whole, pieces) < 1e-5)
	// Output:
	// *attention.MultiHead *attention.MultiHead *attention.MultiHead
	// *attention.MultiHead *ssm.Mamba *attention.MultiHead
	// streamed, it differs by less than 1e-5: true
}
