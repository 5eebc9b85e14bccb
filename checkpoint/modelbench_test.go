package checkpoint_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// newMamba returns a random model of Mamba's family.
func newMamba(t testing.TB, layers, dim, vocabulary int) *lm.Model {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	e := nn.NewEmbedding(vocabulary, dim)
	e.Init(r, 0.1)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5)}
	for range layers {
		mixer, err := ssm.NewMamba(ssm.MambaConfig{DModel: dim})
		if err != nil {
			t.Fatal(err)
		}
		mixer.Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mixer})
	}
	return m
}

// mambaConfig is the config.json of a model that newMamba returned.
const mambaConfig = `{"model_type": "mamba", "num_hidden_layers": 24, "vocab_size": 50277, "layer_norm_epsilon": 1e-05}`

// mambaName is the name in the layout of Hugging Face.
func mambaName(param string) string {
	switch param {
	case "embedding.weight":
		return "backbone.embeddings.weight"
	case "norm.weight":
		return "backbone.norm_f.weight"
	case "head.weight":
		return "lm_head.weight"
	}
	return "backbone." + param
}

// BenchmarkLoadModel opens and loads a checkpoint of the shape of mamba-130m in bfloat16
// and computes the first logits, with the file in the page cache.
func BenchmarkLoadModel(b *testing.B) {
	dir := b.TempDir()
	m := newMamba(b, 24, 768, 50280)
	m.Quantize(tensor.BFloat16)
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), m, mambaName); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(mambaConfig), 0o666); err != nil {
		b.Fatal(err)
	}
	for name, d := range map[string]*tensor.DType{"bfloat16": nil, "float32": new(tensor.Float32), "int8": new(tensor.Int8), "int4": new(tensor.Int4)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{Weights: d})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(f.FileBytes))
				m, err := f.Load()
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
				s, err := m.NewSession()
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Feed(1); err != nil {
					b.Fatal(err)
				}
				s.Logits()
			}
		})
	}
}
