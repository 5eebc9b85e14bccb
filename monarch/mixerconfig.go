package monarch

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/nn"
)

// A MixerConfig describes a [Mixer]. The zero value of all fields but the first two
// stands for the choice of M2-BERT. The JSON keys are those of its configurations.
type MixerConfig struct {
	Dim  int `json:"hidden_size"`
	LMax int `json:"long_conv_l_max"` // positions of the longest sequence

	// Bidirectional says whether a position sees the later ones too. If not, the mixer is
	// causal and streams.
	Bidirectional *bool `json:"bidirectional,omitempty"`      // true by default
	Residual      *bool `json:"residual_long_conv,omitempty"` // whether there is a convolution of the input itself; true by default
	Norm          bool  `json:"hyena_training_additions,omitempty"`

	EmbDim int     `json:"hyena_emb_dim,omitempty"`      // positional features of a filter: odd, 5 by default
	Width  int     `json:"hyena_filter_order,omitempty"` // of a filter's hidden layers, 128 by default
	W      float64 `json:"hyena_w,omitempty"`            // initial frequency of a filter's sines, 10 by default
	WMod   float64 `json:"hyena_w_mod,omitempty"`        // multiplies the frequencies, 1 by default

	// CacheLimit bounds the bytes of the spectra that are kept of each convolution, see
	// nn.LongConv.
	CacheLimit int `json:"-"`
}

func (c MixerConfig) withDefaults() MixerConfig {
	if c.Bidirectional == nil {
		c.Bidirectional = new(true)
	}
	if c.Residual == nil {
		c.Residual = new(true)
	}
	if c.EmbDim == 0 {
		c.EmbDim = 5
	}
	if c.Width == 0 {
		c.Width = 128
	}
	if c.W == 0 {
		c.W = 10
	}
	if c.WMod == 0 {
		c.WMod = 1
	}
	return c
}

func (c *MixerConfig) validate() error {
	if c.Dim < 1 || c.Dim > maxSize || c.LMax < 1 || c.LMax > 1<<30 {
		return fmt.Errorf("monarch: a mixer of width %d for sequences of %d positions", c.Dim, c.LMax)
	}
	if math.IsNaN(c.WMod) || math.IsInf(c.WMod, 0) {
		return fmt.Errorf("monarch: frequencies times %v", c.WMod)
	}
	return nil
}

// filter returns the configuration of one implicit filter.
func (c *MixerConfig) filter() nn.ImplicitFilterConfig {
	return nn.ImplicitFilterConfig{Channels: c.Dim, LMax: c.LMax, EmbDim: c.EmbDim, Width: c.Width, W: c.W}
}
