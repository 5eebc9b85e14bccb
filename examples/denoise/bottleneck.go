package main

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

// bottleneck makes the sequence mixer in the middle of the network, dim wide. Which
// one it is shows in the names of the tensors. It also returns what it is called.
func (b *builder) bottleneck(dim int, cfg config) (seqmix.Streamer, string) {
	const mixer = "tsfm_Mamba_layers.0.mixer."
	switch {
	case b.err != nil:
		return nil, ""
	case b.has(mixer + "x_proj.weight"):
		return b.preNorm(dim, newMamba), "Mamba"
	case b.has(mixer + "dt_bias"):
		return b.preNorm(dim, newMamba2), "Mamba-2"
	case b.has(mixer + "ssm.layer.kernel.C"):
		return b.preNorm(dim, newS4), "S4"
	case b.has("tsfm_encoder.layer_norm.weight"):
		return b.postNorm(dim, cfg.Heads, newAttention), "attention"
	case b.has("tsfm_Mamba_layers.weight_ih_l0"):
		b.fail(errors.New("the bottleneck is an LSTM, which is not supported"))
	default:
		b.fail(errors.New("no bottleneck of a known kind"))
	}
	return nil, ""
}

// preNorm makes residual blocks of a norm and a mixer, and a norm at the end. newMixer
// makes a mixer of the sizes that its parameters have in the checkpoint.
func (b *builder) preNorm(dim int, newMixer func(shape func(name string) []int) (seqmix.Mixer, error)) seqmix.Streamer {
	const eps = 1e-5
	var s seqmix.Stack
	for i := 0; b.has(fmt.Sprintf("tsfm_Mamba_layers.%d.norm.weight", i)); i++ {
		name := fmt.Sprintf("tsfm_Mamba_layers.%d.", i)
		m, err := newMixer(func(param string) []int { return b.shape(name + "mixer." + param) })
		if err == nil && m.Dim() != dim {
			err = fmt.Errorf("%d wide, want %d", m.Dim(), dim)
		}
		if err != nil {
			b.fail(fmt.Errorf("%smixer: %w", name, err))
			return nil
		}
		s = append(s, &seqmix.Residual{Norm: nn.NewLayerNorm(dim, eps), Mixer: m})
		b.add(name, s[i])
	}
	norm := nn.NewLayerNorm(dim, eps)
	b.add("norm_f.", norm)
	return append(s, norm)
}

func newMamba(shape func(name string) []int) (seqmix.Mixer, error) {
	cfg, err := ssm.MambaConfigOf(shape)
	if err != nil {
		return nil, err
	}
	return ssm.NewMamba(cfg)
}

func newMamba2(shape func(name string) []int) (seqmix.Mixer, error) {
	cfg, err := ssm.Mamba2ConfigOf(shape, 1)
	if err != nil {
		return nil, err
	}
	return ssm.NewMamba2(cfg)
}

func newS4(shape func(name string) []int) (seqmix.Mixer, error) {
	in, conv, narrow, states := shape("in_proj.weight"), shape("conv1d.weight"), shape("ssm.input_linear.weight"), shape("ssm.layer.kernel.A_real")
	if len(in) != 2 || len(conv) != 3 || len(narrow) != 2 || len(states) != 2 {
		return nil, errors.New("not the parameters of a gated S4: want in_proj.weight, ssm.input_linear.weight and ssm.layer.kernel.A_real with two dimensions and conv1d.weight with three")
	}
	system := ssm.S4Config{DModel: narrow[0], DState: 2 * states[1], NSSM: states[0]}
	return ssm.NewGatedS4(ssm.GatedS4Config{
		DModel: in[1], DInner: conv[0], DConv: conv[2],
		SSM: ssm.S4BlockConfig{S4: system, InputLinear: true},
	})
}

// postNorm makes the layers of the first transformer (arXiv:1706.03762): residuals
// without norms, and norms between them. There is one in front, too.
func (b *builder) postNorm(dim, heads int, newMixer func(dim, heads int) (seqmix.Mixer, error)) seqmix.Streamer {
	const eps = 1e-6
	norm := func(name string) seqmix.Mixer {
		n := nn.NewLayerNorm(dim, eps)
		b.add(name, n)
		return n
	}
	s := seqmix.Stack{norm("tsfm_encoder.layer_norm.")}
	for i := 0; b.has(fmt.Sprintf("tsfm_encoder.layer_stack.%d.pos_ffn.w_1.weight", i)); i++ {
		name := fmt.Sprintf("tsfm_encoder.layer_stack.%d.", i)
		m, err := newMixer(dim, heads)
		if err != nil {
			b.fail(err)
			return nil
		}
		mlp, err := nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: b.size(name+"pos_ffn.w_1.weight", 0), Activation: nn.ReLU, Bias: true})
		if err != nil {
			b.fail(err)
			return nil
		}
		b.add(name+"slf_attn.", m)
		b.add(name+"pos_ffn.", mlp, "fc1.", "w_1.", "fc2.", "w_2.")
		s = append(s, seqmix.Stack{
			&seqmix.Residual{Mixer: m}, norm(name + "slf_attn.layer_norm."),
			&seqmix.Residual{Mixer: mlp}, norm(name + "pos_ffn.layer_norm."),
		})
	}
	return s
}

func newAttention(dim, heads int) (seqmix.Mixer, error) {
	if heads == 0 {
		return nil, errors.New("no tensor shows the number of heads: a file config.json with {\"network_config\": {\"tsfm_n_head\": …}} is missing beside the checkpoint")
	}
	return attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: heads, Layout: attention.WqsWksWvs})
}
