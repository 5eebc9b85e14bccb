package checkpoint

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
)

// buildLlama reads Llama and Mistral as Hugging Face saves them.
func buildLlama(c *config, src Source) (*network, error) { return llama(c, src, false) }

// buildLlamaInterleaved reads models whose rows of queries and keys were not sorted for
// rotations of halves, as Hugging Face does it: those of llama2.c and of GGUF files.
func buildLlamaInterleaved(c *config, src Source) (*network, error) { return llama(c, src, true) }

func llama(c *config, src Source, interleaved bool) (*network, error) {
	names := llamaNames(src)
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	c.oneOf("hidden_act", "silu", "swish")
	eps := c.epsilonOr(1e-6, "rms_norm_eps")
	t := transformer{
		config: attention.MultiHeadConfig{Dim: m.Dim(), Heads: c.int("num_attention_heads"), Left: window(c)},
		eps:    eps,
	}
	rope := c.rope()
	rope.Interleaved = interleaved
	t.config.RoPE = &rope
	if e, ok := src.Lookup(stretchName); ok {
		if t.stretch, err = e.Float32s(); err != nil {
			return nil, err
		}
	}
	for i := range names.countLayers(c, src, "num_hidden_layers") {
		if err := t.add(m, c, names.layer(src, i, "")); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	m.Norm = nn.NewRMSNorm(m.Dim(), eps)
	return names.network(m, withoutSuffixes(src, "rotary_emb.inv_freq", stretchName), c), nil
}

// stretchName is the tensor in which GGUF files have what the scaling "llama3" makes of
// the wavelengths.
const stretchName = "rope_freqs.weight"

// llamaNames returns the names of Hugging Face, which begin with "model." if there is a
// head.
func llamaNames(src Source) naming {
	prefix := "model."
	if contains(src, "embed_tokens.weight") {
		prefix = ""
	}
	return naming{
		embedding: prefix + "embed_tokens.", layers: prefix + "layers.", norm: prefix + "norm.", head: "lm_head.",
		inside: []string{"0.norm.", "input_layernorm.", "0.mixer.", "self_attn.", "1.norm.", "post_attention_layernorm.", "1.mixer.", "mlp."},
	}
}

// window returns the keys before its own that a position sees. Mistral counts its own
// among the sliding window.
func window(c *config) *int {
	if !c.has("sliding_window") || c.stringOr("", "model_type") != "mistral" {
		return nil
	}
	w := c.int("sliding_window")
	if w < 1 {
		c.fail("sliding_window", "is %d, want at least 1, or null for none", w)
	}
	return new(w - 1)
}

// rope returns the rotary embedding: of rope_parameters, as transformers 5 has it, or of
// rope_theta and rope_scaling.
func (c *config) rope() attention.RoPEConfig {
	scaling := c.sub("rope_parameters", "rope_scaling")
	r := attention.RoPEConfig{Base: scaling.floatOr(c.floatOr(10000, "rope_theta"), "rope_theta")}
	if scaling.values == nil {
		return r
	}
	r.Scaling = new(attention.Scaling)
	if err := scaling.decode(r.Scaling); err != nil && c.err() == nil {
		*c.fault = err
	}
	if r.Scaling.OriginalPositions == 0 {
		r.Scaling.OriginalPositions = c.intOr(0, "original_max_position_embeddings", "max_position_embeddings")
	}
	return r
}

// A transformer makes the layers of a model with attention: attention and an MLP, with
// RMS norms before both.
type transformer struct {
	config  attention.MultiHeadConfig // but for what the tensors show
	eps     float32
	stretch []float32 // by which wavelengths of rotations are multiplied; nil for none
}

// frequencies returns those of a rotary embedding of dim dimensions, stretched.
func (t *transformer) frequencies(base float64, dim int) []float64 {
	f := make([]float64, len(t.stretch))
	for i, s := range t.stretch {
		f[i] = math.Pow(base, -2*float64(i)/float64(dim)) / float64(s)
	}
	return f
}

// add adds a layer. Widths and biases are those of the tensors.
func (t *transformer) add(m *lm.Model, c *config, src Source) error {
	mixer, err := t.attention(c, Sub(src, "self_attn."))
	if err != nil {
		return err
	}
	mlp, err := swiGLU(Sub(src, "mlp."))
	if err != nil {
		return err
	}
	m.Layers = append(m.Layers, seqmix.Stack{
		&seqmix.Residual{Norm: nn.NewRMSNorm(m.Dim(), t.eps), Mixer: mixer},
		&seqmix.Residual{Norm: nn.NewRMSNorm(m.Dim(), t.eps), Mixer: mlp},
	})
	return nil
}

// swiGLU returns the MLP of a layer.
func swiGLU(src Source) (*nn.GLU, error) {
	hidden, dim, err := matrix(src, "gate_proj.weight")
	if err != nil {
		return nil, err
	}
	return nn.NewGLU(nn.GLUConfig{Dim: dim, Hidden: hidden, Bias: contains(src, "gate_proj.bias")})
}

// attention returns the attention of a layer.
func (t *transformer) attention(c *config, src Source) (seqmix.Mixer, error) {
	queries, _, err := matrix(src, "q_proj.weight")
	if err != nil {
		return nil, err
	}
	keys, _, err := matrix(src, "k_proj.weight")
	if err != nil {
		return nil, err
	}
	cfg := t.config
	if cfg.Heads < 1 || queries%cfg.Heads != 0 {
		c.fail("num_attention_heads", "is %d, which does not divide the %d rows of q_proj.weight", cfg.Heads, queries)
		return nil, c.err()
	}
	cfg.HeadDim = queries / cfg.Heads
	cfg.KVHeads = max(keys/cfg.HeadDim, 1)
	cfg.QKVBias, cfg.OutBias = contains(src, "q_proj.bias"), contains(src, "o_proj.bias")
	if cfg.RoPE != nil {
		rope := *cfg.RoPE
		rope.Dim = c.intOr(int(float64(cfg.HeadDim)*c.floatOr(1, "partial_rotary_factor")), "rotary_dim")
		if t.stretch != nil {
			rope.Scaling, rope.Frequencies = nil, t.frequencies(rope.Base, rope.Dim)
		}
		cfg.RoPE = &rope
	}
	if n := c.intOr(cfg.KVHeads, "num_key_value_heads"); n != cfg.KVHeads {
		c.fail("num_key_value_heads", "is %d, but k_proj.weight has %d rows of heads of %d", n, keys, cfg.HeadDim)
	}
	if n := c.intOr(cfg.HeadDim, "head_dim"); n != cfg.HeadDim {
		c.fail("head_dim", "is %d, but q_proj.weight has %d rows for %d heads", n, queries, cfg.Heads)
	}
	return attention.NewMultiHead(cfg)
}
