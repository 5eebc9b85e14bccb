package attention_test

import (
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

func convHeads(t *testing.T, layout attention.Layout, norm bool) *attention.MultiHead {
	t.Helper()
	m, err := attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: 24, Heads: 4, KVHeads: 2, HeadDim: 10, Layout: layout, ConvTaps: 4, RoPE: &attention.RoPEConfig{Dim: 6}, QKNorm: norm,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 9)))
	return m
}

// Attention with a convolution is made of parts that are tested elsewhere.
func TestMultiHeadConv(t *testing.T) {
	m := convHeads(t, attention.InProj, false)
	params := map[string]*tensor.Tensor{}
	for name, p := range m.Params() {
		params[name] = p
	}
	const batch, n, q, kv = 2, 37, 40, 20
	src := tensor.NewSeq(batch, n, 24)
	r := rand.New(rand.NewPCG(2, 9))
	for i := range src.Data {
		src.Data[i] = float32(r.NormFloat64())
	}
	got := tensor.NewSeq(batch, n, 24)
	m.Mix(got, src)

	h := tensor.NewSeq(batch, n, q+2*kv)
	tensor.Linear(h, src, params["in_proj.weight"], nil)
	(&nn.CausalConv1D{Weight: params["conv1d.weight"], Bias: params["conv1d.bias"], Activation: nn.Identity}).Mix(h, h)
	columns := func(from, to int) tensor.Seq {
		s := tensor.NewSeq(batch, n, to-from)
		for b := range batch {
			for i := range n {
				copy(s.At(b, i), h.At(b, i)[from:to])
			}
		}
		return s
	}
	queries, keys, values := columns(0, q), columns(q, q+kv), columns(q+kv, q+2*kv)
	rope, err := attention.NewRoPE(attention.RoPEConfig{Dim: 6}, 10)
	if err != nil {
		t.Fatal(err)
	}
	rope.Rotate(queries, queries, 0)
	rope.Rotate(keys, keys, 0)
	attention.DotProduct{Heads: 4, KVHeads: 2}.Apply(queries, queries, keys, values)
	want := tensor.NewSeq(batch, n, 24)
	tensor.Linear(want, queries, params["out_proj.weight"], nil)
	for i, w := range want.Data {
		if d := got.Data[i] - w; d > 1e-5 || d < -1e-5 {
			t.Fatalf("element %d is %v, want %v", i, got.Data[i], w)
		}
	}
}

func TestMultiHeadConvContract(t *testing.T) {
	for _, layout := range []attention.Layout{attention.InProj, attention.QKVO} {
		for _, norm := range []bool{false, true} {
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 3, Len: 140, Seed: 3}}) {
				if err := mixtest.Test(convHeads(t, layout, norm), o); err != nil {
					t.Errorf("%v, norm %v, %+v: %v", layout, norm, o, err)
				}
			}
		}
	}
}
