package attention_test

import (
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
)

// goldenConfig is the union of the configurations of the cases.
type goldenConfig struct {
	Heads       int       `json:"H"`
	KVHeads     int       `json:"Hkv"`
	Left        int       `json:"left"`
	Softcap     float32   `json:"softcap"`
	Slopes      []float32 `json:"alibi_slopes"`
	D           int       `json:"D"`
	RotaryDim   int       `json:"rotary_dim"`
	Base        float64   `json:"base"`
	Offset      int       `json:"offset"`
	Interleaved bool      `json:"interleaved"`
	Dim         int       `json:"d_model"`
	HeadDim     int       `json:"hd"`
	Bias        bool      `json:"qkv_bias"`
	Prefix      int       `json:"prefix"`
}

// TestGolden compares with flash-attention: attention on its own, rotary embeddings, and
// layers as a whole and in pieces. Their caches are compared in internal/golden.
func TestGolden(t *testing.T) {
	f, err := goldentest.Load("testdata/attention")
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]func(*testing.T, *goldentest.Case, goldenConfig){
		"attention": goldenDotProduct, "rope": goldenRoPE, "attention_block": goldenMultiHead,
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, c := range f.Cases {
			var cfg goldenConfig
			if err := c.Config(&cfg); err != nil {
				t.Fatal(err)
			}
			run[c.Op()](t, c, cfg)
		}
	})
}

// headsOf describes a tensor (batch, length, heads, width) of a case.
func headsOf(c *goldentest.Case, name string) tensor.Seq {
	s := c.Shape(name)
	return tensor.SeqOf(c.Tensor(name), s[0], s[1], s[2]*s[3])
}

func compare(t *testing.T, c *goldentest.Case, name string, got []float32) {
	t.Helper()
	if err := c.Compare(name, got); err != nil {
		t.Error(err)
	}
}

func goldenDotProduct(t *testing.T, c *goldentest.Case, cfg goldenConfig) {
	d := attention.DotProduct{Heads: cfg.Heads, KVHeads: cfg.KVHeads, Left: &cfg.Left, Softcap: cfg.Softcap, Slopes: cfg.Slopes}
	q := headsOf(c, "in.q")
	d.Apply(q, q, headsOf(c, "in.k"), headsOf(c, "in.v"))
	compare(t, c, "out.y", q.Data)
}

func goldenRoPE(t *testing.T, c *goldentest.Case, cfg goldenConfig) {
	r := newRoPE(t, attention.RoPEConfig{Base: cfg.Base, Dim: cfg.RotaryDim, Interleaved: cfg.Interleaved}, cfg.D)
	x := headsOf(c, "in.x")
	r.Rotate(x, x, cfg.Offset)
	compare(t, c, "out.y", x.Data)
}

func goldenMultiHead(t *testing.T, c *goldentest.Case, cfg goldenConfig) {
	m, err := attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: cfg.Dim, Heads: cfg.Heads, KVHeads: cfg.KVHeads, HeadDim: cfg.HeadDim, QKVBias: cfg.Bias, Left: &cfg.Left,
		RoPE: &attention.RoPEConfig{Base: cfg.Base, Interleaved: cfg.Interleaved},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range m.Params() {
		p.SetFloat32s(c.Tensor("param." + name))
	}
	shape := c.Shape("in.u")
	src := tensor.SeqOf(c.Tensor("in.u"), shape[0], shape[1], shape[2])
	whole, pieces := like(src), like(src)
	m.Mix(whole, src)
	compare(t, c, "out.y", whole.Data)
	s := newStream(t, m, src.Batch)
	s.Mix(pieces.Slice(0, cfg.Prefix), src.Slice(0, cfg.Prefix))
	for i := cfg.Prefix; i < src.Len; i++ {
		s.Mix(pieces.Slice(i, i+1), src.Slice(i, i+1))
	}
	compare(t, c, "out.y", pieces.Data)
}
