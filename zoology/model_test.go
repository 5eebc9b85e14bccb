package zoology

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

func newModel(t testing.TB, c Contender, cfg ModelConfig, length int) *lm.Model {
	t.Helper()
	cfg.Block = c.Block
	cfg = cfg.withDefaults()
	m, err := NewModel(cfg, func(layer int) (seqmix.Mixer, error) { return c.New(layer, cfg.DModel, length) }, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// all returns contenders of every kind.
func all() []Contender {
	return []Contender{Attention(), Sliding(4), Based(4), ELU(4), BaseConv(), Mamba(4), Mamba2(8), Hyena()}
}

// TestIdentity checks that a layer without a state mixer adds its second norm: with a
// mixer whose output is zero, the model is ln_f(e + LN2(e)), and not ln_f(e).
func TestIdentity(t *testing.T) {
	m := newModel(t, Attention(), ModelConfig{Vocabulary: 10, DModel: 8, Layers: 1}, 0)
	zero := nn.NewLinear(8, 8, false)
	m.Layers[0].(*seqmix.Residual).Mixer = zero
	norm := nn.NewLayerNorm(8, 1e-5)
	x, n := tensor.NewSeq(1, 3, 8), tensor.NewSeq(1, 3, 8)
	ids := []int{3, 1, 4}
	if err := m.Embedding.Lookup(x, ids); err != nil {
		t.Fatal(err)
	}
	norm.Mix(n, x)
	tensor.AddSeq(x, x, n)
	norm.Mix(x, x)
	h, err := m.Hidden(ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range h.Data {
		if math.Abs(float64(v-x.Data[i])) > 1e-6 {
			t.Fatalf("element %d is %v, want %v", i, v, x.Data[i])
		}
	}
}

// TestInit checks deviations of the first parameters.
func TestInit(t *testing.T) {
	deviationOf := func(p *tensor.Tensor) float64 {
		s := 0.0
		for _, v := range p.Data() {
			s += float64(v) * float64(v)
		}
		return math.Sqrt(s / float64(p.Len()))
	}
	for _, c := range []Contender{Attention(), Based(16), Mamba(16)} {
		m := newModel(t, c, ModelConfig{Vocabulary: 300, DModel: 64, HiddenMult: 4, Positions: 100}, 64)
		for name, p := range m.Params() {
			got, want := deviationOf(p), 0.02
			switch {
			case strings.HasSuffix(name, "out_proj.weight") && c.Block == MambaBlock:
				want = 1 / math.Sqrt(3*128) / math.Sqrt2
			case strings.HasSuffix(name, "out_proj.weight"), strings.HasSuffix(name, "fc2.weight"):
				want = 0.01
			case strings.Contains(name, "conv"), c.Block == MambaBlock && strings.Contains(name, "mixer."):
				continue
			case strings.HasSuffix(name, "norm.weight"), strings.HasSuffix(name, "mixer.weight"):
				want = 1
			case strings.HasSuffix(name, "bias"):
				want = 0
			}
			if math.Abs(got-want) > 0.1*want {
				t.Errorf("%s: %s has a deviation of %.4f, want %.4f", c.Name, name, got, want)
			}
		}
	}
}

// TestModelGradients checks the gradients of whole models of two layers, far from their
// small first parameters, where mistakes would not show.
func TestModelGradients(t *testing.T) {
	for _, c := range all() {
		t.Run(c.Name, func(t *testing.T) {
			m := newModel(t, c, ModelConfig{Vocabulary: 10, DModel: 8, HiddenMult: 2}, 64)
			r := rand.New(rand.NewPCG(2, 2))
			for _, p := range m.Layers.Params() {
				for i := range p.Data() {
					p.Data()[i] += float32(0.1 * r.NormFloat64())
				}
			}
			if err := mixtest.TestTrainer(m.Layers, mixtest.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStateBytes checks the sizes of the papers' plots.
func TestStateBytes(t *testing.T) {
	for _, test := range []struct {
		c      Contender
		dim, n int
		want   int
	}{
		{Based(8), 48, 1024, 9396}, {Based(16), 64, 1024, 40_548}, {Based(24), 128, 1024, 169_236}, {Based(64), 256, 1, 2_208_132},
		{Mamba2(8), 64, 1024, 8192}, {Mamba(16), 128, 1024, 32_768}, {Attention(), 64, 1024, 525_056},
		{Sliding(128), 128, 1024, 132_608}, {Sliding(8), 128, 1024, 9728}, {BaseConv(), 64, 256, 4 * 64 * (3 + 256)}, {Hyena(), 64, 1024, 524_288},
	} {
		m := newModel(t, test.c, ModelConfig{Vocabulary: 4, DModel: test.dim}, 8)
		if got, err := StateBytes(m, test.n); err != nil || got != test.want {
			t.Errorf("%s, width %d: %d bytes, want %d (%v)", test.c.Name, test.dim, got, test.want, err)
		}
	}
	if _, err := StateBytes(&lm.Model{Layers: seqmix.Stack{seqmix.Stack{unknown{}}}}, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a mixer of another kind: %v", err)
	}
}

// unknown is a mixer that the package does not know.
type unknown struct{ seqmix.Mixer }

func TestBadModels(t *testing.T) {
	mixer := func(int) (seqmix.Mixer, error) {
		return based.NewLinearAttention(based.LinearAttentionConfig{DModel: 128, Heads: 1})
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, cfg := range []ModelConfig{{}, {Vocabulary: -1}, {Vocabulary: 4, DModel: -1}, {Vocabulary: 4, Layers: -1}, {Vocabulary: 4, HiddenMult: -1}, {Vocabulary: 4, Block: 7}, {Vocabulary: 4, DModel: 64}} {
		if _, err := NewModel(cfg, mixer, r); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	if _, err := NewModel(ModelConfig{Vocabulary: 4}, func(int) (seqmix.Mixer, error) {
		return attention.NewMultiHead(attention.MultiHeadConfig{})
	}, r); err == nil {
		t.Error("a mixer that is an error: no error")
	}
}
