// Package hybrid makes language models, of bytes mostly, whose blocks are of several kinds, and
// keeps them in files that say what they are.
package hybrid

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// Vocabulary is the number of tokens: the bytes. 0 does not occur in text: it begins
// files.
const Vocabulary = 256

// A Config describes a model.
type Config struct {
	// Pattern lists the mixers of the blocks, from the input on: see Mixers.
	Pattern []string `json:"pattern"`

	Dim    int `json:"dim"`               // width
	Heads  int `json:"heads"`             // of attention and Based
	Window int `json:"window"`            // previous positions that attention sees
	Hidden int `json:"hidden"`            // of the gated network in each block; 0 for no network
	MaxLen int `json:"max_len,omitempty"` // positions that hyena can take

	// Models of other tokens than bytes, as Describe finds them, have in addition:
	Vocabulary int                        `json:"vocabulary,omitempty"` // rows of the embedding; 0 for the bytes
	Tokens     int                        `json:"tokens,omitempty"`     // rows that are tokens; 0 for all
	Untied     bool                       `json:"untied,omitempty"`     // whether the head is not the embedding
	Eps        float32                    `json:"eps,omitempty"`        // of norms; 1e-5 by default
	Attention  *attention.MultiHeadConfig `json:"attention,omitempty"`  // in place of what Heads and Window say
	Begin      []int                      `json:"begin,omitempty"`      // what texts begin with
	End        []int                      `json:"end,omitempty"`        // what texts end with, each of them
}

// Mixers lists what a pattern may hold. Those whose names end in -graft have the shapes and
// biases that it takes to begin as what attention was: see examples/graft.
var Mixers = []string{"mamba", "mamba2", "attention", "based", "conv", "hyena", "mamba-graft", "mamba2-graft", "hyena-graft"}

// A mixer can be started with random weights.
type mixer interface {
	seqmix.Mixer
	Init(*rand.Rand)
}

func (c Config) mixer(name string) (mixer, error) {
	switch name {
	case "mamba":
		return ssm.NewMamba(ssm.MambaConfig{DModel: c.Dim})
	case "mamba2":
		return ssm.NewMamba2(ssm.Mamba2Config{DModel: c.Dim, HeadDim: 32, DState: 64})
	case "attention":
		if c.Attention != nil {
			return attention.NewMultiHead(*c.Attention)
		}
		return attention.NewMultiHead(attention.MultiHeadConfig{Dim: c.Dim, Heads: c.Heads, Left: &c.Window, RoPE: new(attention.RoPEConfig)})
	case "based":
		return based.NewLinearAttention(based.LinearAttentionConfig{DModel: c.Dim, Heads: c.Heads})
	case "conv":
		return based.NewGatedConv(based.GatedConvConfig{DModel: c.Dim, Expand: 2})
	case "hyena":
		if c.MaxLen == 0 {
			return nil, errNoLength
		}
		return hyena.New(hyena.Config{DModel: c.Dim, LMax: c.MaxLen})
	}
	return c.graftMixer(name)
}

// errNoLength is for filters as long as the text.
var errNoLength = errors.New("a pattern with hyena needs the greatest length of texts")

// graftMixer returns a mixer that can be initialised from attention. Of Mamba-2, each head
// has an input and an output of its own, as it has a key and a query, and as many states
// as these have elements. The filters of Hyena can change within a few positions.
func (c Config) graftMixer(name string) (mixer, error) {
	switch name {
	case "mamba-graft":
		return ssm.NewMamba(ssm.MambaConfig{DModel: c.Dim, Bias: true})
	case "mamba2-graft":
		width := c.Dim / c.Heads
		return ssm.NewMamba2(ssm.Mamba2Config{DModel: c.Dim, Expand: 1, HeadDim: width, DState: width, NGroups: c.Heads, Bias: true, RMSNorm: new(false)})
	case "hyena-graft":
		if c.MaxLen == 0 {
			return nil, errNoLength
		}
		return hyena.New(hyena.Config{DModel: c.Dim, LMax: c.MaxLen, EmbDim: 33, W: 4})
	}
	return nil, fmt.Errorf("no mixer is called %q (choose from %s)", name, strings.Join(Mixers, ", "))
}

// New returns a model with random weights.
func New(c Config, r *rand.Rand) (*lm.Model, error) {
	if len(c.Pattern) == 0 || c.Dim < 1 || c.Heads < 1 || c.Window < 0 || c.Hidden < 0 || c.MaxLen < 0 {
		return nil, fmt.Errorf("a model with the pattern %v, %d wide, %d heads, a window of %d, %d hidden, %d long", c.Pattern, c.Dim, c.Heads, c.Window, c.Hidden, c.MaxLen)
	}
	if c.Vocabulary < 0 || c.Tokens < 0 || c.Eps < 0 {
		return nil, fmt.Errorf("a model of %d tokens in %d rows, with %v in its norms", c.Tokens, c.Vocabulary, c.Eps)
	}
	eps := cmp.Or(c.Eps, 1e-5)
	e := nn.NewEmbedding(cmp.Or(c.Vocabulary, Vocabulary), c.Dim)
	e.Init(r, 0.02)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(c.Dim, eps), Vocabulary: c.Tokens}
	if c.Untied {
		m.Head = nn.NewLinear(c.Dim, e.Vocabulary(), false)
		m.Head.Init(r)
	}
	if slices.ContainsFunc(c.Pattern, func(name string) bool { return strings.HasPrefix(name, "hyena") }) {
		m.MaxLen = c.MaxLen
	}
	for i, name := range c.Pattern {
		mix, err := c.mixer(name)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", i, err)
		}
		mix.Init(r)
		block := seqmix.Stack{&seqmix.Residual{Norm: nn.NewRMSNorm(c.Dim, eps), Mixer: mix}}
		if c.Hidden > 0 {
			mlp, err := nn.NewGLU(nn.GLUConfig{Dim: c.Dim, Hidden: c.Hidden})
			if err != nil {
				return nil, fmt.Errorf("block %d: %w", i, err)
			}
			mlp.Init(r)
			block = append(block, &seqmix.Residual{Norm: nn.NewRMSNorm(c.Dim, eps), Mixer: mlp})
		}
		m.Layers = append(m.Layers, block)
	}
	return m, m.Check()
}

// configKey is where the configuration is in the metadata of a file.
const configKey = "hybrid"

// Save writes a model to a safetensors file, with its parameters in bfloat16 and its
// configuration in the metadata. The parameters of m are rounded to what the file holds.
func Save(path string, c Config, m *lm.Model) error {
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	m.Quantize(tensor.BFloat16)
	for name, t := range m.Params() {
		t.SetFloat32s(rounded(name, t).Float32s())
	}
	src, err := checkpoint.FromModel(halves{m}, nil)
	if err != nil {
		return err
	}
	return checkpoint.WriteFile(path, src, map[string]string{configKey: string(config)})
}

// rounded returns a copy in bfloat16, or in float32 of the positions of Hyena's filters: with
// 8 bits, many of them would be the same.
func rounded(name string, t *tensor.Tensor) *tensor.Tensor {
	c := tensor.FromFloat32s(t.Float32s(), t.Shape()...)
	if !strings.Contains(name, ".pos_emb.") {
		c.Convert(tensor.BFloat16)
	}
	return c
}

// halves has the parameters of a model in bfloat16, those too that are kept in float32 for
// arithmetic, such as norms.
type halves struct{ *lm.Model }

func (h halves) Params() iter.Seq2[string, *tensor.Tensor] {
	copies := map[*tensor.Tensor]*tensor.Tensor{} // a tied matrix has two names and one copy
	return func(yield func(string, *tensor.Tensor) bool) {
		for name, t := range h.Model.Params() {
			if copies[t] == nil {
				copies[t] = rounded(name, t)
			}
			if !yield(name, copies[t]) {
				return
			}
		}
	}
}

// Load reads a model that Save wrote.
func Load(f *checkpoint.File) (*lm.Model, Config, error) {
	var c Config
	if err := json.Unmarshal([]byte(f.Metadata()[configKey]), &c); err != nil {
		return nil, c, fmt.Errorf("%v: not a model of this program: metadata %q: %w", f, configKey, err)
	}
	m, err := New(c, rand.New(rand.NewPCG(0, 0)))
	if err != nil {
		return nil, c, fmt.Errorf("%v: %w", f, err)
	}
	m.Quantize(tensor.BFloat16)
	if err := checkpoint.Load(m, f, nil); err != nil {
		return nil, c, err
	}
	return m, c, nil
}
