package checkpoint

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

// jambaNames are those of Hugging Face. Whether a layer attends is seen by its tensors.
var jambaNames = naming{
	embedding: "model.embed_tokens.", layers: "model.layers.", norm: "model.final_layernorm.", head: "lm_head.",
	inside: []string{
		"0.norm.", "input_layernorm.", "0.mixer.q_proj.", "self_attn.q_proj.", "0.mixer.k_proj.", "self_attn.k_proj.",
		"0.mixer.v_proj.", "self_attn.v_proj.", "0.mixer.o_proj.", "self_attn.o_proj.", "0.mixer.", "mamba.",
		"1.norm.", "pre_ff_layernorm.", "1.mixer.", "feed_forward.",
	},
}

// buildJamba reads Jamba (arXiv:2403.19887): layers of Mamba, a few of attention among
// them, which has no other notion of positions, and an MLP after each. Mixtures of experts
// are not supported.
func buildJamba(c *config, src Source) (*network, error) {
	m, err := jambaNames.newLM(c, src)
	if err != nil {
		return nil, err
	}
	c.oneOf("hidden_act", "silu", "swish")
	eps := c.epsilonOr(1e-6, "rms_norm_eps")
	t := transformer{config: attention.MultiHeadConfig{Dim: m.Dim(), Heads: c.int("num_attention_heads")}, eps: eps}
	for i := range jambaNames.countLayers(c, src, "num_hidden_layers") {
		layer := jambaNames.layer(src, i, "")
		if contains(layer, "feed_forward.router.weight") {
			return nil, fmt.Errorf("layer %d is a mixture of experts: %w", i, errors.ErrUnsupported)
		}
		mixer, err := t.jambaMixer(c, layer)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		mlp, err := swiGLU(Sub(layer, "feed_forward."))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, seqmix.Stack{
			&seqmix.Residual{Norm: nn.NewRMSNorm(m.Dim(), eps), Mixer: mixer},
			&seqmix.Residual{Norm: nn.NewRMSNorm(m.Dim(), eps), Mixer: mlp},
		})
	}
	m.Norm = nn.NewRMSNorm(m.Dim(), eps)
	return jambaNames.network(m, src, c), nil
}

func (t *transformer) jambaMixer(c *config, layer Source) (seqmix.Mixer, error) {
	if contains(layer, "self_attn.q_proj.weight") {
		return t.attention(c, Sub(layer, "self_attn."))
	}
	cfg, err := ssm.MambaConfigOf(shapes(Sub(layer, "mamba.")))
	if err != nil {
		return nil, err
	}
	cfg.NormEps = t.eps
	return ssm.NewMamba(cfg)
}
