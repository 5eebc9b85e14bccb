package checkpoint_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// exampleModel returns a small language model with random weights.
func exampleModel() *lm.Model {
	r := rand.New(rand.NewPCG(1, 1))
	e := nn.NewEmbedding(40, 64)
	e.Init(r, 1)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(64, 1e-5)}
	for range 2 {
		mixer, err := ssm.NewMamba(ssm.MambaConfig{DModel: 64})
		if err != nil {
			log.Fatal(err)
		}
		mixer.Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(64, 1e-5), Mixer: mixer})
	}
	return m
}

func ExampleOpenModel() {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// A directory as state-spaces/mamba publishes them.
	saved := exampleModel()
	rename := strings.NewReplacer("embedding.", "backbone.embedding.", "layers.", "backbone.layers.", "head.", "lm_head.").Replace
	err = checkpoint.Save(filepath.Join(dir, "model.safetensors"), saved, func(name string) string {
		if name == "norm.weight" {
			return "backbone.norm_f.weight"
		}
		return rename(name)
	})
	if err != nil {
		log.Fatal(err)
	}
	config := `{"d_model": 64, "n_layer": 2, "vocab_size": 37, "ssm_cfg": {}, "rms_norm": true}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		log.Fatal(err)
	}

	// What it is, and what it will take, is known before anything is loaded.
	f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{Weights: new(tensor.Int8)})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Printf("%s, %d layers, %d tokens in %d rows\n", f.Architecture, f.Layers, f.Vocabulary, f.Rows)
	fmt.Printf("%d parameters, %d bytes in the file, %d in memory\n", f.Parameters, f.FileBytes, f.MemoryBytes)

	model, err := f.Load()
	if err != nil {
		log.Fatal(err)
	}
	s, err := model.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Feed(1, 2, 3); err != nil {
		log.Fatal(err)
	}
	for _, err := range s.Generate(context.Background(), lm.Options{MaxTokens: 5}) {
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(s.Len(), "tokens, all below 37:", slices.Max(s.Tokens()) < 37)
	// Output:
	// Mamba, 2 layers, 37 tokens in 40 rows
	// 68032 parameters, 272128 bytes in the file, 107008 in memory
	// 8 tokens, all below 37: true
}
