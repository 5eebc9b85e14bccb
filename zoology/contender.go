package zoology

import (
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/ssm"
)

// A Contender is a mixer to compare, with what its model has around it.
type Contender struct {
	Name string

	// New returns the mixer of a layer, of width dim and for sequences of up to length
	// positions.
	New func(layer, dim, length int) (seqmix.Mixer, error)

	// Block is that of the model.
	Block Block

	// Window is the number of positions before its own that the contender sees at the
	// most, for [MQAR.WindowCeiling]; 0 if there is no such bound.
	Window int
}

// withConv alternates a short convolution and a mixer, as the experiments of Based do: the
// convolution puts a key beside its value.
func withConv(name string, mixer func(dim, length int) (seqmix.Mixer, error)) Contender {
	return Contender{Name: name, New: func(layer, dim, length int) (seqmix.Mixer, error) {
		if layer%2 == 0 {
			return based.NewBaseConv(based.BaseConvConfig{DModel: dim})
		}
		return mixer(dim, length)
	}}
}

// Attention is softmax attention of one head, behind a [based.BaseConv] of three taps.
func Attention() Contender {
	return withConv("attention", func(dim, _ int) (seqmix.Mixer, error) { return newAttention(dim, nil) })
}

// Sliding is [Attention] that sees left keys before its own.
func Sliding(left int) Contender {
	c := withConv(fmt.Sprintf("sliding-%d", left), func(dim, _ int) (seqmix.Mixer, error) { return newAttention(dim, &left) })
	c.Window = left
	return c
}

func newAttention(dim int, left *int) (seqmix.Mixer, error) {
	return attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: dim, Heads: 1, Layout: attention.Wqkv, QKVBias: true, OutBias: true, Left: left,
	})
}

// Based is linear attention of one head with Taylor's features of queries and keys of
// features elements, behind a BaseConv of three taps.
func Based(features int) Contender {
	return withConv(fmt.Sprintf("based-%d", features), linearAttention(features, based.Taylor{}))
}

// ELU is [Based] with the features elu(x)+1 (arXiv:2006.16236).
func ELU(features int) Contender {
	return withConv(fmt.Sprintf("elu-%d", features), linearAttention(features, based.ELU{}))
}

func linearAttention(features int, phi based.FeatureMap) func(dim, length int) (seqmix.Mixer, error) {
	return func(dim, _ int) (seqmix.Mixer, error) {
		return based.NewLinearAttention(based.LinearAttentionConfig{
			DModel: dim, Heads: 1, FeatureDim: features, Map: phi, Names: based.ZoologyNames,
		})
	}
}

// BaseConv alternates gated convolutions of three taps and ones as long as the sequence,
// whose filter is a network of the position.
func BaseConv() Contender {
	return Contender{Name: "baseconv", New: func(layer, dim, length int) (seqmix.Mixer, error) {
		if layer%2 == 0 {
			return based.NewBaseConv(based.BaseConvConfig{DModel: dim})
		}
		return based.NewBaseConv(based.BaseConvConfig{DModel: dim, KernelSize: -1, LMax: length})
	}}
}

// Mamba is a model of Mamba blocks with so many states of each channel.
func Mamba(states int) Contender {
	return Contender{Name: fmt.Sprintf("mamba-%d", states), Block: MambaBlock, New: func(_, dim, _ int) (seqmix.Mixer, error) {
		return ssm.NewMamba(ssm.MambaConfig{DModel: dim, DState: states})
	}}
}

// Mamba2 is a model of Mamba-2 blocks with so many states of each channel.
func Mamba2(states int) Contender {
	return Contender{Name: fmt.Sprintf("mamba2-%d", states), Block: MambaBlock, New: func(_, dim, _ int) (seqmix.Mixer, error) {
		return ssm.NewMamba2(ssm.Mamba2Config{DModel: dim, DState: states, HeadDim: min(64, 2*dim)})
	}}
}

// Hyena has the operator of Hyena in every layer.
func Hyena() Contender {
	return Contender{Name: "hyena", New: func(_, dim, length int) (seqmix.Mixer, error) {
		return hyena.New(hyena.Config{DModel: dim, LMax: length, Layout: hyena.OrderMajor, Gates: hyena.FirstFirst})
	}}
}
