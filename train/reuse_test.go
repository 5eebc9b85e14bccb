package train_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// newHybrid returns a model with a layer of every kind whose tape gives memory back.
func newHybrid(t testing.TB) *lm.Model {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	const dim = 32
	var layers seqmix.Stack
	add := func(m seqmix.Mixer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		m.(interface{ Init(*rand.Rand) }).Init(r)
		layers = append(layers, &seqmix.Residual{Norm: nn.NewLayerNorm(dim, 1e-5), Mixer: m})
	}
	add(wrap(ssm.NewMamba(ssm.MambaConfig{DModel: dim})))
	add(wrap(ssm.NewMamba2(ssm.Mamba2Config{DModel: dim, HeadDim: 16, DState: 16})))
	add(wrap(attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: 2, QKNorm: true})))
	add(wrap(attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: 2, Layout: attention.Wqkv})))
	add(wrap(based.NewLinearAttention(based.LinearAttentionConfig{DModel: dim, Heads: 2, FeatureDim: 8})))
	add(wrap(based.NewBaseConv(based.BaseConvConfig{DModel: dim})))
	add(wrap(based.NewGatedConv(based.GatedConvConfig{DModel: dim})))
	add(wrap(nn.NewGLU(nn.GLUConfig{Dim: dim, Hidden: 48})))
	add(wrap(nn.NewMLP(nn.MLPConfig{Dim: dim, Activation: nn.GELU})))
	e := nn.NewEmbedding(11, dim)
	e.Init(r, 0.02)
	return &lm.Model{Embedding: e, Layers: layers, Norm: nn.NewRMSNorm(dim, 1e-5), Head: e.Head()}
}

func wrap[M seqmix.Mixer](m M, err error) (seqmix.Mixer, error) { return m, err }

// TestGradientReuse computes gradients in memory that others have left full of NaNs, and
// of the gradients of other batches.
func TestGradientReuse(t *testing.T) {
	m := newHybrid(t)
	gradient, err := train.NewGradient(m, 3)
	if err != nil {
		t.Fatal(err)
	}
	b := batch(1, 5, 40)
	compute := func() seqmix.Grads {
		t.Helper()
		grads := zeroGrads(m)
		if _, err := gradient.Add(grads, b, 1); err != nil {
			t.Fatal(err)
		}
		return grads
	}
	want := compute()
	for range 3 {
		var held []tensor.Seq
		for n := 1; n <= 1<<15; n += 1 + n/20 {
			for range 8 {
				s := tensor.GetSeq(1, n, 1)
				for i := range s.Data {
					s.Data[i] = float32(math.NaN())
				}
				held = append(held, s)
			}
		}
		tensor.PutSeq(held...)
		got := compute()
		for name, p := range m.Params() {
			if !slices.Equal(got.Of(p), want.Of(p)) {
				t.Fatalf("the gradient of %s depends on what was in memory before", name)
			}
		}
		if _, err := gradient.Add(zeroGrads(m), batch(2, 4, 33), 1); err != nil {
			t.Fatal(err)
		}
	}
}
