package checkpoint

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

// mambaNames are those of state-spaces/mamba and, but for the embedding, of Hugging Face.
func mambaNames(embedding string) naming {
	return naming{
		embedding: "backbone." + embedding + ".", layers: "backbone.layers.", norm: "backbone.norm_f.", head: "lm_head.",
		inside: []string{"0.norm.", "norm.", "0.mixer.", "mixer.", "1.norm.", "norm2.", "1.mixer.", "mlp."},
	}
}

// buildMambaOriginal reads what MambaLMHeadModel of state-spaces/mamba has saved: Mamba,
// Mamba-2 and Mamba-3, with MLPs and with attention in some of the layers.
func buildMambaOriginal(c *config, src Source) (*network, error) {
	names := mambaNames("embedding")
	if contains(src, "backbone.embeddings.weight") {
		names = mambaNames("embeddings")
	}
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	layers := names.countLayers(c, src, "n_layer", "num_hidden_layers")
	attention := c.ints("attn_layer_idx")
	for i := range layers {
		mixer, err := originalMixer(c, names.layer(src, i, "mixer."), slices.Contains(attention, i))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		block, err := mambaBlock(c, names.layer(src, i, ""), mixer)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, block)
	}
	m.Norm = mambaNorm(c, m.Dim(), 1e-5)
	return names.network(m, src, c), nil
}

// originalMixer returns the mixer of a layer.
func originalMixer(c *config, src Source, attention bool) (seqmix.Mixer, error) {
	sc := c.sub("ssm_cfg")
	layer := sc.stringOr("Mamba1", "layer")
	switch {
	case attention:
		return mambaAttention(c.sub("attn_cfg"), src)
	case layer == "Mamba1":
		cfg, err := ssm.MambaConfigOf(shapes(src))
		if err != nil {
			return nil, err
		}
		return ssm.NewMamba(cfg)
	case layer == "Mamba2":
		cfg, err := ssm.Mamba2ConfigOf(shapes(src), sc.intOr(1, "ngroups"))
		if err != nil {
			return nil, err
		}
		cfg.DTLimit = limitOf(sc, "dt_limit")
		cfg.NormBeforeGate = sc.boolOr(false, "norm_before_gate")
		return ssm.NewMamba2(cfg)
	case layer == "Mamba3":
		cfg, err := ssm.Mamba3ConfigOf(shapes(src))
		if err != nil {
			return nil, err
		}
		cfg.AFloor = sc.floatOr(0, "A_floor")
		return ssm.NewMamba3(cfg)
	}
	sc.fail("layer", "is %s, want Mamba1, Mamba2 or Mamba3", short(layer))
	return nil, c.err()
}

// limitOf returns a range of step sizes.
func limitOf(c *config, key string) (l ssm.Limit) {
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

// mambaBlock puts a norm before a mixer, and an MLP after it if there is one.
func mambaBlock(c *config, src Source, mixer seqmix.Mixer) (seqmix.Mixer, error) {
	dim := mixer.Dim()
	block := &seqmix.Residual{Norm: mambaNorm(c, dim, 1e-5), Mixer: mixer}
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
	return seqmix.Stack{block, &seqmix.Residual{Norm: mambaNorm(c, dim, 1e-5), Mixer: mlp}}, nil
}

// mambaNorm returns the norm of a configuration, which is an RMS norm in all that are
// published.
func mambaNorm(c *config, dim int, eps float64) seqmix.Mixer {
	if c.boolOr(true, "rms_norm") {
		return nn.NewRMSNorm(dim, float32(eps))
	}
	return nn.NewLayerNorm(dim, float32(eps))
}

// mambaAttention returns an attention layer among others of Mamba.
func mambaAttention(c *config, src Source) (seqmix.Mixer, error) {
	c.fail("", "describes attention layers, which are not supported")
	return nil, c.err()
}

// buildMambaHF reads the layout of Hugging Face: Mamba and FalconMamba.
func buildMambaHF(c *config, src Source) (*network, error) {
	names := mambaNames("embeddings")
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	eps := c.floatOr(1e-5, "layer_norm_epsilon")
	c.oneOf("hidden_act", "silu", "swish")
	falcon := c.stringOr("", "model_type") == "falcon_mamba"
	layers := names.countLayers(c, src, "num_hidden_layers", "n_layer")
	for i := range layers {
		cfg, err := ssm.MambaConfigOf(shapes(names.layer(src, i, "mixer.")))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if falcon {
			cfg.InnerNorm, cfg.NormEps = ssm.PlainNorm, float32(c.floatOr(1e-6, "mixer_rms_eps"))
		}
		mixer, err := ssm.NewMamba(cfg)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(m.Dim(), float32(eps)), Mixer: mixer})
	}
	m.Norm = nn.NewRMSNorm(m.Dim(), float32(eps))
	return names.network(m, src, c), nil
}
