package hybrid

import (
	"fmt"
	"reflect"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
)

// Describe returns what makes a model with the shapes, names and parts of a Llama, whose
// blocks can then be replaced by others. It is an error if m is anything else, or has what
// a Config cannot say.
func Describe(m *lm.Model) (Config, error) {
	norm, ok := m.Norm.(*nn.RMSNorm)
	if !ok || m.Positions != nil || len(m.Layers) == 0 || m.Head.Bias != nil || m.Head.Out() != m.Embedding.Vocabulary() {
		return Config{}, fmt.Errorf("not a Llama: the embedding, the last norm or the head is another")
	}
	c := Config{
		Dim: m.Dim(), MaxLen: m.MaxLen, Vocabulary: m.Embedding.Vocabulary(), Tokens: m.Vocabulary,
		Untied: m.Head.Weight != m.Embedding.Weight, Eps: norm.Eps,
	}
	for i := range m.Layers {
		if err := c.add(m.Layers[i]); err != nil {
			return c, fmt.Errorf("block %d: %w", i, err)
		}
	}
	return c, nil
}

// add adds a block, which has to be like the ones before.
func (c *Config) add(block seqmix.Mixer) error {
	mixer, err := c.within(block, 0)
	if err != nil {
		return err
	}
	a, ok := mixer.(*attention.MultiHead)
	if !ok {
		return fmt.Errorf("not a Llama: it has a %T where attention would be", mixer)
	}
	if mixer, err = c.within(block, 1); err != nil {
		return err
	}
	mlp, ok := mixer.(*nn.GLU)
	if !ok || mlp.Up == nil || mlp.Activation != nn.SiLU {
		return fmt.Errorf("not a Llama: its network is no SwiGLU")
	}
	config := a.Config()
	switch {
	case config.QKVBias || config.OutBias || mlp.Gate.Bias != nil:
		return fmt.Errorf("attention and networks with biases are not supported")
	case config.Heads*config.HeadDim != c.Dim:
		return fmt.Errorf("%d heads of %d in a model %d wide are not supported", config.Heads, config.HeadDim, c.Dim)
	case config.QKNorm || config.ConvTaps > 0 || config.Slopes != nil || config.ALiBi || config.Right != 0 || config.Softcap != 0 || config.Layout != attention.QKVO:
		return fmt.Errorf("not a Llama: its attention has more than rotations")
	case c.Attention == nil:
		c.Attention, c.Heads, c.Hidden = &config, config.Heads, mlp.Gate.Out()
	case !reflect.DeepEqual(*c.Attention, config) || c.Hidden != mlp.Gate.Out():
		return fmt.Errorf("it has other shapes than the ones before")
	}
	c.Pattern = append(c.Pattern, "attention")
	return nil
}

// within returns the mixer of part i of a block of two residual parts.
func (c *Config) within(block seqmix.Mixer, i int) (seqmix.Mixer, error) {
	parts, ok := block.(seqmix.Stack)
	if !ok || len(parts) != 2 {
		return nil, fmt.Errorf("not a Llama: it is a %T, not attention and a network", block)
	}
	r, ok := parts[i].(*seqmix.Residual)
	if !ok {
		return nil, fmt.Errorf("not a Llama: a %T is in place of a residual part", parts[i])
	}
	if norm, ok := r.Norm.(*nn.RMSNorm); !ok || norm.Eps != c.Eps {
		return nil, fmt.Errorf("not a Llama: its norms are others than the last")
	}
	return r.Mixer, nil
}
