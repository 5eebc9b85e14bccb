package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/nn"
)

// buildBased reads the models of HazyResearch/based (arXiv:2402.18668): Based, whose layers
// are gated short convolutions, Taylor linear attention or sliding windows, and the
// attention baseline beside it. The kind of a layer shows in its tensors; only windows do
// not, and are those of the configuration.
//
// What their training left behind is not used: counts and metrics, the frequencies of
// rotations, and the decay of based-1b, which the published code does not apply either.
func buildBased(c *config, src Source) (n *network, err error) {
	if contains(src, "model.transformer.ln_f.weight") { // based-1b-50b
		src = Sub(src, "model.")
	}
	src = Without(src, func(name string) bool {
		return strings.HasSuffix(name, "rotary_emb.inv_freq") || name == "transformer.decay.decay" ||
			strings.HasPrefix(name, "train_metrics") || strings.Contains(name, "num-tokens")
	})
	if src, err = withEmbedding(src); err != nil {
		return nil, err
	}
	names := basedNames
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	c.oneOf("activation_function", "swiglu")
	for key, want := range map[string]bool{"rms_norm": true, "prenorm": true, "parallel_block": false} {
		if c.boolOr(want, key) != want {
			c.fail(key, "is %v, which is not supported", !want)
		}
	}
	if n := c.intOr(0, "max_position_embeddings"); n > 0 {
		c.fail("max_position_embeddings", "is %d, want 0: embeddings of positions are not supported", n)
	}
	b := basedConfig{all: c, dim: m.Dim(), eps: c.epsilonOr(1e-5, "layer_norm_epsilon")}
	for i := range names.countLayers(c, src, "n_layer") {
		layer, err := b.layer(names.layer(src, i, ""), i)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, layer)
	}
	m.Norm = nn.NewRMSNorm(m.Dim(), b.eps)
	return names.network(m, src, c), nil
}

var basedNames = naming{
	embedding: "transformer.embeddings.word_embeddings.", layers: "transformer.layers.", norm: "transformer.ln_f.", head: "lm_head.",
	inside: []string{"0.norm.", "norm1.", "0.mixer.", "mixer.", "1.norm.", "norm2.", "1.mixer.", "mlp."},
}

// withEmbedding returns the tensors with an embedding among them. It is the head, of which
// safetensors files do not have a second copy.
func withEmbedding(src Source) (Source, error) {
	if contains(src, basedNames.embedding+"weight") {
		return src, nil
	}
	return canonical(src, func(name string) string {
		if name == basedNames.head+"weight" {
			return basedNames.embedding + "weight"
		}
		return name
	})
}

// A basedConfig is what a configuration says of the layers.
type basedConfig struct {
	all *config
	dim int
	eps float32
}

// layer returns a mixer and an MLP, with norms before both.
func (b *basedConfig) layer(src Source, i int) (seqmix.Mixer, error) {
	mixer, err := b.mixer(Sub(src, "mixer."), b.part(i))
	if err != nil {
		return nil, err
	}
	_, hidden, err := matrix(src, "mlp.fc2.weight")
	if err != nil {
		return nil, err
	}
	mlp, err := nn.NewGLU(nn.GLUConfig{Dim: b.dim, Hidden: hidden, Layout: nn.FC1FC2, Bias: contains(src, "mlp.fc2.bias")})
	if err != nil {
		return nil, err
	}
	return seqmix.Stack{
		&seqmix.Residual{Norm: nn.NewRMSNorm(b.dim, b.eps), Mixer: mixer},
		&seqmix.Residual{Norm: nn.NewRMSNorm(b.dim, b.eps), Mixer: mlp},
	}, nil
}

// part returns what the configuration says of the mixer of a layer. It is empty for
// attention that sees everything.
func (b *basedConfig) part(i int) *config {
	for _, key := range []string{"alt_mixer_2", "alt_mixer"} {
		if slices.Contains(b.all.ints(key+"_layers"), i) {
			return b.all.sub(key)
		}
	}
	return b.all.sub("mixer")
}

func (b *basedConfig) mixer(src Source, part *config) (seqmix.Mixer, error) {
	switch {
	case contains(src, "Wqkv.weight"):
		return b.attention(src, part)
	case contains(src, "proj_q.weight"):
		return b.linear(src, part)
	}
	rows, _, err := matrix(src, "in_proj.weight")
	if err != nil {
		return nil, err
	}
	conv, ok := src.Lookup("conv.conv.weight")
	if !ok || len(conv.shape) != 3 {
		return nil, &LoadError{Source: describe(src), Missing: []string{fullName(src, "conv.conv.weight")}}
	}
	return based.NewGatedConv(based.GatedConvConfig{
		DModel: b.dim, Expand: rows / b.dim, Kernel: conv.shape[2],
		Bias: new(contains(src, "in_proj.bias")), ConvBias: contains(src, "conv.conv.bias"),
	})
}

// attention returns attention, in a window if the configuration has one. A window of W
// keys is W/2 before a position and none after it.
func (b *basedConfig) attention(src Source, part *config) (seqmix.Mixer, error) {
	cfg := attention.MultiHeadConfig{
		Dim: b.dim, Heads: b.all.int("n_head"), Layout: attention.Wqkv,
		QKVBias: contains(src, "Wqkv.bias"), OutBias: contains(src, "out_proj.bias"),
	}
	if cfg.Heads < 1 || b.dim%cfg.Heads != 0 {
		b.all.fail("n_head", "is %d, which does not divide the width of %d", cfg.Heads, b.dim)
		return nil, b.all.err()
	}
	if !part.boolOr(true, "causal") {
		part.fail("causal", "is false, want true")
	}
	if part.has("window_size") {
		cfg.Left = new(part.int("window_size") / 2)
	}
	fraction := b.all.floatOr(0, "rotary_emb_fraction")
	if dim := int(fraction * float64(b.dim/cfg.Heads)); fraction >= 0 && fraction <= 1 && dim > 0 {
		cfg.RoPE = &attention.RoPEConfig{
			Base: b.all.floatOr(10000, "rotary_emb_base"), Dim: dim, Interleaved: b.all.boolOr(false, "rotary_emb_interleaved"),
		}
	} else if fraction != 0 {
		b.all.fail("rotary_emb_fraction", "is %v, want a part of the heads of %d", fraction, b.dim/cfg.Heads)
	}
	if b.all.has("rotary_emb_scale_base") {
		b.all.fail("rotary_emb_scale_base", "asks for xPos, which is not supported")
	}
	return attention.NewMultiHead(cfg)
}

func (b *basedConfig) linear(src Source, part *config) (seqmix.Mixer, error) {
	features, _, err := matrix(src, "proj_q.weight")
	if err != nil {
		return nil, err
	}
	values, _, err := matrix(src, "proj_v.weight")
	if err != nil {
		return nil, err
	}
	if target := part.sub("feature_map").stringOr("TaylorExp", "_target_"); !strings.HasSuffix(target, "TaylorExp") {
		part.fail("feature_map", "is %s, want TaylorExp: other choices are not supported", short(target))
	}
	heads := part.intOr(b.all.intOr(16, "n_head"), "num_heads")
	if heads < 1 || features%heads != 0 || values%heads != 0 {
		part.fail("num_heads", "is %d, which does not divide the %d rows of proj_q.weight and the %d of proj_v.weight", heads, features, values)
		return nil, b.all.err()
	}
	if f := part.intOr(features/heads, "feature_dim"); f != features/heads {
		part.fail("feature_dim", "is %d, but proj_q.weight has %d rows for %d heads", f, features, heads)
	}
	cfg := based.LinearAttentionConfig{DModel: b.dim, Heads: heads, FeatureDim: features / heads, HeadDim: values / heads}
	if part.has("eps") {
		cfg.Eps = part.epsilonOr(1e-12, "eps")
	}
	return based.NewLinearAttention(cfg)
}
