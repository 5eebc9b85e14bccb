package train_test

import (
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/train"
)

const vocabulary, dim = 11, 12

// newModel returns a small model of layers that can be trained.
func newModel(t testing.TB) *lm.Model {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	e := nn.NewEmbedding(vocabulary, dim)
	e.Init(r, 0.5)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewLayerNorm(dim, 1e-5), Positions: nn.NewEmbedding(20, dim), MaxLen: 20}
	m.Positions.Init(r, 0.5)
	conv := nn.NewCausalConv1D(dim, 3, true, nn.SiLU)
	conv.Init(r)
	mlp, err := nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: 16, Activation: nn.GELU, Bias: true})
	if err != nil {
		t.Fatal(err)
	}
	mlp.Init(r)
	m.Layers = seqmix.Stack{
		&seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: conv},
		&seqmix.Residual{Norm: nn.NewLayerNorm(dim, 1e-5), Mixer: mlp},
	}
	return m
}

// batch returns random sequences, about a third of whose labels do not count.
func batch(seed uint64, size, length int) train.Batch {
	r := rand.New(rand.NewPCG(seed, 9))
	b := train.Batch{Len: length}
	for range size * length {
		b.IDs = append(b.IDs, r.IntN(vocabulary))
		label := r.IntN(vocabulary)
		if r.IntN(3) == 0 {
			label = train.Ignore
		}
		b.Labels = append(b.Labels, label)
	}
	return b
}
