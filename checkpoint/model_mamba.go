package checkpoint

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

// buildMamba reads the models of Mamba's family, as MambaLMHeadModel of state-spaces/mamba
// saves them, and as Hugging Face does. The mixers are told apart by their tensors. There
// may be MLPs, and attention in some of the layers.
func buildMamba(c *config, src Source) (*network, error) {
	if contains(src, "model.backbone.norm_f.weight") { // as Codestral came first
		src = Sub(src, "model.")
	}
	names := mambaNames(src)
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	c.oneOf("hidden_act", "silu", "swish")
	mc := mambaConfig{
		all: c, own: c.sub("ssm_cfg"), attention: c.sub("attn_cfg"), attentionLayers: c.ints("attn_layer_idx"),
		eps: c.epsilonOr(1e-5, "layer_norm_epsilon", "norm_eps"),
	}
	for i := range names.countLayers(c, src, "num_hidden_layers", "n_layer", "n_layers") {
		block, err := mc.block(names.layer(src, i, ""), slices.Contains(mc.attentionLayers, i))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, block)
	}
	m.Norm = mc.norm(m.Dim())
	return names.network(m, src, c), nil
}

// mambaNames returns the names of state-spaces/mamba, or those of Hugging Face.
func mambaNames(src Source) naming {
	embedding := "backbone.embedding."
	if contains(src, "backbone.embeddings.weight") {
		embedding = "backbone.embeddings."
	}
	return naming{
		embedding: embedding, layers: "backbone.layers.", norm: "backbone.norm_f.", head: "lm_head.",
		inside: []string{"0.norm.", "norm.", "0.mixer.", "mixer.", "1.norm.", "norm2.", "1.mixer.", "mlp."},
	}
}

// A mambaConfig is what a configuration says of the layers.
type mambaConfig struct {
	all, own, attention *config
	attentionLayers     []int
	eps                 float32
}

// norm returns a norm between layers, which is an RMS norm in all models that were
// published.
func (mc *mambaConfig) norm(dim int) seqmix.Mixer {
	if mc.all.boolOr(true, "rms_norm") || mc.all.has("model_type") {
		return nn.NewRMSNorm(dim, mc.eps)
	}
	return nn.NewLayerNorm(dim, mc.eps)
}

// block puts a norm before the mixer of a layer, and an MLP after it if there is one.
func (mc *mambaConfig) block(src Source, attends bool) (seqmix.Mixer, error) {
	mixer, err := mc.mixer(Sub(src, "mixer."), attends)
	if err != nil {
		return nil, err
	}
	dim := mixer.Dim()
	block := &seqmix.Residual{Norm: mc.norm(dim), Mixer: mixer}
	if !contains(src, "mlp.fc2.weight") {
		return block, nil
	}
	_, hidden, err := matrix(src, "mlp.fc2.weight")
	if err != nil {
		return nil, err
	}
	mlp, err := nn.NewGLU(nn.GLUConfig{Dim: dim, Hidden: hidden, Layout: nn.FC1FC2, Bias: contains(src, "mlp.fc2.bias")})
	if err != nil {
		return nil, err
	}
	return seqmix.Stack{block, &seqmix.Residual{Norm: mc.norm(dim), Mixer: mlp}}, nil
}

// mixer returns the mixer of a layer.
func (mc *mambaConfig) mixer(src Source, attends bool) (seqmix.Mixer, error) {
	aLog, _ := src.Lookup("A_log")
	switch {
	case attends:
		return mc.attend(src)
	case contains(src, "B_bias"):
		return mc.mamba3(src)
	case aLog != nil && len(aLog.shape) == 1:
		return mc.mamba2(src)
	}
	return mc.mamba(src)
}

func (mc *mambaConfig) mamba(src Source) (seqmix.Mixer, error) {
	cfg, err := ssm.MambaConfigOf(shapes(src))
	if err != nil {
		return nil, err
	}
	if mc.all.stringOr("", "model_type") == "falcon_mamba" {
		cfg.InnerNorm, cfg.NormEps = ssm.PlainNorm, mc.all.epsilonOr(1e-6, "mixer_rms_eps")
	}
	return ssm.NewMamba(cfg)
}

// mamba2 returns a Mamba-2. Its norm is one for each group of heads, as in the code that
// models are trained with. Hugging Face's own code has one for all, which gives other
// numbers for a model like Codestral, of several groups.
func (mc *mambaConfig) mamba2(src Source) (seqmix.Mixer, error) {
	cfg, err := ssm.Mamba2ConfigOf(shapes(src), 1)
	if err != nil {
		return nil, err
	}
	groups := mc.all.intOr(0, "n_groups")
	if groups = mc.own.intOr(groups, "ngroups"); groups == 0 {
		groups = 1
		if states := mc.own.intOr(mc.all.intOr(0, "state_size"), "d_state"); states > 0 {
			groups = max(cfg.DState/states, 1)
		}
	}
	if cfg, err = ssm.Mamba2ConfigOf(shapes(src), groups); err != nil {
		return nil, err
	}
	cfg.DTLimit = mc.all.limit("time_step_limit")
	if mc.own.has("dt_limit") {
		cfg.DTLimit = mc.own.limit("dt_limit")
	}
	cfg.NormBeforeGate = mc.own.boolOr(false, "norm_before_gate")
	cfg.NormEps = mc.eps
	return ssm.NewMamba2(cfg)
}

func (mc *mambaConfig) mamba3(src Source) (seqmix.Mixer, error) {
	cfg, err := ssm.Mamba3ConfigOf(shapes(src))
	if err != nil {
		return nil, err
	}
	cfg.AFloor = mc.own.floatOr(0, "A_floor")
	if name := mc.own.stringOr("", "A_activation"); name != "" {
		if err := cfg.AActivation.UnmarshalText([]byte(name)); err != nil {
			mc.own.fail("A_activation", "is %s, want ht or softplus", short(name))
		}
	}
	return ssm.NewMamba3(cfg)
}

// limit returns a range of step sizes.
func (c *config) limit(key string) (l ssm.Limit) {
	v, _ := c.look([]string{key})
	list, ok := v.([]any)
	switch {
	case v == nil:
		return l
	case !ok || len(list) != 2:
		c.fail(key, "is %s, want two numbers", valueName(v))
		return l
	}
	ends := config{file: c.file, path: c.path + key + ".", values: map[string]any{"0": list[0], "1": list[1]}, fault: c.fault}
	return ssm.Limit{Min: ends.floatOr(0, "0"), Max: ends.floatOr(0, "1")}
}

// attend returns an attention layer among others of Mamba: the class MHA of
// state-spaces/mamba.
func (mc *mambaConfig) attend(src Source) (seqmix.Mixer, error) {
	c := mc.attention
	in, dim, err := matrix(src, "in_proj.weight")
	if err != nil {
		return nil, err
	}
	_, out, err := matrix(src, "out_proj.weight")
	if err != nil {
		return nil, err
	}
	heads := c.int("num_heads")
	switch {
	case c.intOr(0, "mlp_dim") > 0:
		c.fail("mlp_dim", "describes an MLP beside attention, which is not supported")
	case !c.boolOr(false, "causal"):
		c.fail("causal", "is not true, want attention that does not see later positions")
	case heads < 1 || out%heads != 0:
		c.fail("num_heads", "is %d, which does not divide the %d columns of out_proj.weight", heads, out)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	cfg := attention.MultiHeadConfig{
		Dim: dim, Heads: heads, HeadDim: out / heads, KVHeads: c.intOr(heads, "num_heads_kv"), Layout: attention.InProj,
		QKVBias: contains(src, "in_proj.bias"), OutBias: contains(src, "out_proj.bias"), Scale: float32(c.floatOr(0, "softmax_scale")),
	}
	if (heads+2*cfg.KVHeads)*cfg.HeadDim != in {
		c.fail("num_heads_kv", "is %d, but in_proj.weight has %d rows for %d heads of %d", cfg.KVHeads, in, heads, cfg.HeadDim)
		return nil, c.err()
	}
	if e, ok := src.Lookup("conv1d.weight"); ok && len(e.shape) == 3 {
		cfg.ConvTaps = e.shape[2]
	}
	if dim := c.intOr(0, "rotary_emb_dim"); dim > 0 {
		cfg.RoPE = &attention.RoPEConfig{Dim: dim, Base: c.floatOr(0, "rotary_emb_base"), Interleaved: c.boolOr(false, "rotary_emb_interleaved")}
	}
	return attention.NewMultiHead(cfg)
}
