package hybrid_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
)

// llama returns the configuration of a model as Describe finds it.
func llama() hybrid.Config {
	return hybrid.Config{
		Pattern: []string{"attention", "attention"}, Dim: 32, Heads: 4, Hidden: 48, Vocabulary: 40, Tokens: 37, Untied: true, Eps: 1e-4,
		Attention: &attention.MultiHeadConfig{Dim: 32, Heads: 4, KVHeads: 2, RoPE: &attention.RoPEConfig{
			Base: 500, Interleaved: true, Scaling: &attention.Scaling{Type: attention.LinearScaling, Factor: 2}}},
		Begin: []int{1}, End: []int{1, 2},
	}
}

// TestDescribe describes a model, makes another one, of other blocks too, and reads it from a
// file.
func TestDescribe(t *testing.T) {
	m, err := hybrid.New(llama(), rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := hybrid.Describe(m)
	if err != nil {
		t.Fatal(err)
	}
	c.Pattern[1] = "based"
	c.Begin, c.End = []int{1}, []int{1, 2}
	if m, err = hybrid.New(c, rand.New(rand.NewPCG(3, 4))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := hybrid.Save(path, c, m); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !hybrid.IsSaved(f) {
		t.Error("the file is not known as one that was saved")
	}
	loaded, config, err := hybrid.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	if a := config.Attention; a == nil || a.KVHeads != 2 || a.RoPE == nil || !a.RoPE.Interleaved || a.RoPE.Scaling == nil || config.Eps != 1e-4 || !slices.Equal(config.End, c.End) {
		t.Errorf("configuration %+v", config)
	}
	ids := []int{1, 5, 36, 7, 7, 20}
	want, err := m.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := loaded.Score(ids); err != nil || !slices.Equal(got, want) {
		t.Errorf("scores %v, want %v (%v)", got, want, err)
	}
}

// TestDescribeErrors describes what is not quite a Llama.
func TestDescribeErrors(t *testing.T) {
	part := func(m *lm.Model, block, i int) *seqmix.Residual {
		return m.Layers[block].(seqmix.Stack)[i].(*seqmix.Residual)
	}
	for name, change := range map[string]func(*lm.Model){
		"no last norm":     func(m *lm.Model) { m.Norm = nil },
		"norms with means": func(m *lm.Model) { part(m, 0, 0).Norm = nn.NewLayerNorm(32, 1e-4) },
		"another epsilon":  func(m *lm.Model) { part(m, 1, 1).Norm = nn.NewRMSNorm(32, 1e-6) },
		"no network":       func(m *lm.Model) { m.Layers[1] = m.Layers[1].(seqmix.Stack)[:1] },
		"no attention":     func(m *lm.Model) { part(m, 0, 0).Mixer = part(m, 0, 1).Mixer },
		"no gate":          func(m *lm.Model) { part(m, 0, 1).Mixer = part(m, 0, 0).Mixer },
		"GELU":             func(m *lm.Model) { part(m, 0, 1).Mixer.(*nn.GLU).Activation = nn.GELU },
		"positions":        func(m *lm.Model) { m.Positions = nn.NewEmbedding(10, 32) },
		"a window in one block": func(m *lm.Model) {
			a, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 32, Heads: 4, KVHeads: 2, Left: new(8)})
			if err != nil {
				t.Fatal(err)
			}
			part(m, 1, 0).Mixer = a
		},
		"biases": func(m *lm.Model) {
			for i := range m.Layers {
				a, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 32, Heads: 4, QKVBias: true})
				if err != nil {
					t.Fatal(err)
				}
				part(m, i, 0).Mixer = a
			}
		},
	} {
		m, err := hybrid.New(llama(), rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if _, err := hybrid.Describe(m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
