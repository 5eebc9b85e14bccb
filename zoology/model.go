package zoology

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
)

// A Block says what a layer of a model is.
type Block uint8

const (
	// TransformerBlock adds a sequence mixer and then a state mixer to the residual
	// stream, each behind a LayerNorm:
	//
	//	r = r + Mixer(LN1(r))
	//	r = r + StateMixer(LN2(r))
	//
	// Where the state mixer is the identity, as in all experiments of the papers about
	// recall, the second line is r + LN2(r), not r.
	TransformerBlock Block = iota

	// MambaBlock is r + Mixer(RMSNorm(r)), with a mixer that draws its own parameters.
	MambaBlock
)

// A ModelConfig describes a model. Vocabulary has to be given; the zero value of every
// other field stands for what the experiments about recall have. JSON keys are those of
// HazyResearch/zoology.
type ModelConfig struct {
	Vocabulary int `json:"vocab_size"`
	DModel     int `json:"d_model,omitempty"`  // width d, 128 by default
	Layers     int `json:"n_layers,omitempty"` // 2 by default

	// HiddenMult makes the state mixer an MLP with GELU and so many times d hidden
	// elements. 0 is the identity.
	HiddenMult int `json:"hidden_mult,omitempty"`

	// Positions gives the model a table of so many learned positions, which are as many
	// as it can take. 0 is none, and any length. Zoology gives them to attention without
	// a convolution in front of it, and to nothing else.
	Positions int `json:"max_position_embeddings,omitempty"`

	Eps   float32 `json:"layer_norm_epsilon,omitempty"` // 1e-5 by default
	Block Block   `json:"-"`
}

func (c ModelConfig) withDefaults() ModelConfig {
	setDefault(&c.DModel, 128)
	setDefault(&c.Layers, 2)
	setDefault(&c.Eps, 1e-5)
	return c
}

func (c ModelConfig) check() error {
	if c.Vocabulary < 1 || c.Vocabulary > maxSize || c.DModel < 1 || c.DModel > 1<<16 || c.Layers < 1 || c.Layers > 1<<10 ||
		c.HiddenMult < 0 || c.HiddenMult > 1<<10 || c.Positions < 0 || c.Positions > maxSize || c.Block > MambaBlock {
		return fmt.Errorf("zoology: a model with vocab_size %d, d_model %d, n_layers %d, hidden_mult %d, max_position_embeddings %d and blocks %d",
			c.Vocabulary, c.DModel, c.Layers, c.HiddenMult, c.Positions, c.Block)
	}
	return nil
}

// NewModel returns the model of Zoology (zoology/model.py) with the mixers that mixer
// returns for the layers 0, 1, …,
//
//	x      = E[id] (+ P[position])
//	logits = E · LN(layers(x))
//
// with parameters drawn from r: those of tables and linear layers from a normal
// distribution of deviation 0.02, or 0.02/√(2·Layers) for the last matrix of mixers that
// call it out_proj and of MLPs, and biases are 0. All else is what the mixer's own Init
// draws. Zoology leaves the matrices of Mamba at that too, but for out_proj, which it
// divides by √Layers.
//
// Dropout is no part of the model: see [train.Batch].
func NewModel(cfg ModelConfig, mixer func(layer int) (seqmix.Mixer, error), r *rand.Rand) (*lm.Model, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	table := nn.NewEmbedding(cfg.Vocabulary, cfg.DModel)
	table.Init(r, deviation)
	m := &lm.Model{Embedding: table, Head: table.Head(), Norm: nn.NewLayerNorm(cfg.DModel, cfg.Eps), MaxLen: cfg.Positions}
	if cfg.Positions > 0 {
		m.Positions = nn.NewEmbedding(cfg.Positions, cfg.DModel)
		m.Positions.Init(r, deviation)
	}
	for i := range cfg.Layers {
		s, err := mixer(i)
		if err != nil {
			return nil, fmt.Errorf("zoology: layer %d: %w", i, err)
		}
		blocks, err := cfg.layer(s, r)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, blocks...)
	}
	return m, m.Check()
}

// deviation is that of the first parameters of matrices.
const deviation = 0.02

// normEps is that of norms in layers, which no configuration changes.
const normEps = 1e-5

// layer puts the parts around a mixer, and draws its parameters.
func (c ModelConfig) layer(mixer seqmix.Mixer, r *rand.Rand) (seqmix.Stack, error) {
	if m, ok := mixer.(interface{ Init(*rand.Rand) }); ok {
		m.Init(r)
	}
	if c.Block == MambaBlock {
		scaleOutput(mixer, 1/math.Sqrt(float64(c.Layers)))
		return seqmix.Stack{&seqmix.Residual{Norm: nn.NewRMSNorm(c.DModel, normEps), Mixer: mixer}}, nil
	}
	c.initMatrices(mixer, r)
	state := &seqmix.Residual{Mixer: nn.NewLayerNorm(c.DModel, normEps)}
	if c.HiddenMult > 0 {
		mlp, err := nn.NewMLP(nn.MLPConfig{Dim: c.DModel, Hidden: c.HiddenMult * c.DModel, Activation: nn.GELU, Bias: true})
		if err != nil {
			return nil, err
		}
		c.initMatrices(mlp, r)
		state = &seqmix.Residual{Norm: state.Mixer, Mixer: mlp}
	}
	return seqmix.Stack{&seqmix.Residual{Norm: nn.NewLayerNorm(c.DModel, normEps), Mixer: mixer}, state}, nil
}

// initMatrices draws the parameters of linear layers, which are the matrices called
// weight and the biases beside them.
func (c ModelConfig) initMatrices(m seqmix.Mixer, r *rand.Rand) {
	linear := map[string]bool{}
	for name, p := range m.Params() {
		prefix, ok := strings.CutSuffix(name, "weight")
		if !ok || len(p.Shape()) != 2 {
			continue
		}
		linear[prefix] = true
		d := deviation
		if strings.HasSuffix(name, "out_proj.weight") || strings.HasSuffix(name, "fc2.weight") {
			d /= math.Sqrt(2 * float64(c.Layers))
		}
		nn.Normal(p, r, d)
	}
	for name, p := range m.Params() {
		if prefix, ok := strings.CutSuffix(name, "bias"); ok && linear[prefix] {
			nn.Fill(p, 0)
		}
	}
}

// scaleOutput multiplies the last matrix of a mixer.
func scaleOutput(m seqmix.Mixer, scale float64) {
	for name, p := range m.Params() {
		if strings.HasSuffix(name, "out_proj.weight") {
			for i := range p.Data() {
				p.Data()[i] *= float32(scale)
			}
		}
	}
}
