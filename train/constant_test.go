package train_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/train"
)

// TestConstants tests that training leaves the constants among parameters alone, decay
// included, and changes all else, and what is declared no constant.
func TestConstants(t *testing.T) {
	for _, positions := range []bool{false, true} {
		r := rand.New(rand.NewPCG(5, 6))
		e := nn.NewEmbedding(vocabulary, dim)
		e.Init(r, 0.5)
		mixer, err := hyena.New(hyena.Config{DModel: dim, LMax: 20})
		if err != nil {
			t.Fatal(err)
		}
		mixer.Init(r)
		m := &lm.Model{Embedding: e, Head: e.Head(), Layers: seqmix.Stack{mixer}}
		before := map[string][]float32{}
		for name, p := range m.Params() {
			if positions && strings.HasSuffix(name, "pos_emb.z") {
				p.SetConstant(false)
			}
			before[name] = slices.Clone(p.Float32s())
		}
		run, err := train.NewRun(m, train.Config{
			Steps: 3, Rate: func(int) float64 { return 0.01 }, AdamW: train.AdamWConfig{WeightDecay: 0.1},
			Batch: func(step int) ([]train.Batch, error) { return []train.Batch{batch(uint64(step), 2, 20)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Run(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		for name, p := range m.Params() {
			constant := strings.HasSuffix(name, "pos_emb.z") && !positions || strings.HasSuffix(name, "pos_emb.t") || strings.HasSuffix(name, "modulation.deltas")
			if constant != p.IsConstant() {
				t.Errorf("%s is a constant: %v, want %v", name, p.IsConstant(), constant)
			}
			if same := slices.Equal(before[name], p.Float32s()); same != constant {
				t.Errorf("positions trained %v: %s unchanged: %v, want %v", positions, name, same, constant)
			}
		}
	}
}
