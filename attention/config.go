package attention

import (
	"fmt"
	"math"
)

// A MultiHeadConfig describes a [MultiHead]. Dim and Heads have to be given; the zero
// value of every other field stands for the choice of arXiv:1706.03762: as many heads
// of keys as of queries, no bias, and nothing that tells positions apart but the mask,
// which is causal. The JSON keys are those of Hugging Face configurations and of Based
// where these have one.
type MultiHeadConfig struct {
	Dim     int `json:"hidden_size"`                   // width d of the vectors
	Heads   int `json:"num_attention_heads"`           // H, of queries
	KVHeads int `json:"num_key_value_heads,omitempty"` // G, of keys and values, a divisor of Heads; Heads by default
	HeadDim int `json:"head_dim,omitempty"`            // width D of a head; Dim/Heads by default

	Layout  Layout `json:"-"`                       // names of the matrices; QKVO by default
	QKVBias bool   `json:"qkv_proj_bias,omitempty"` // biases of queries, keys and values
	OutBias bool   `json:"out_proj_bias,omitempty"` // bias of the output

	// ConvTaps puts a short convolution with so many taps, and a bias, behind the
	// matrices of queries, keys and values: each channel is convolved on its own, over
	// the position and the ones before it, as in the attention layers among those of
	// Mamba-2. 0 is none.
	ConvTaps int `json:"d_conv,omitempty"`

	// QKNorm gives every head of queries and keys an RMS norm before it is rotated, as
	// Qwen3 does. NormEps is its ε, 1e-6 by default.
	QKNorm  bool    `json:"qk_norm,omitempty"`
	NormEps float32 `json:"rms_norm_eps,omitempty"`

	// RoPE rotates queries and keys by their positions; nil does not.
	RoPE *RoPEConfig `json:"rope,omitempty"`

	// ALiBi subtracts from scores the distance times the slope of the head: see [Slopes].
	// Slopes, if given, are used instead, with ALiBi or without.
	ALiBi  bool      `json:"alibi,omitempty"`
	Slopes []float32 `json:"alibi_slopes,omitempty"`

	// Left is the number of keys before its own that a position sees, and Right that of
	// keys after it: see [DotProduct]. A causal window that is said to have W keys, as
	// "sliding_window" of Mistral, has Left = W-1; "window_size" of Based has
	// Left = window_size/2. With any Right but 0 there is no stream.
	Left  *int `json:"left,omitempty"`
	Right int  `json:"right,omitempty"`

	Scale   float32 `json:"softmax_scale,omitempty"` // of scores; 1/√HeadDim by default
	Softcap float32 `json:"softcap,omitempty"`       // bound of scores; none by default
}

// withDefaults returns c with all fields filled in that have a default, but for slopes.
func (c MultiHeadConfig) withDefaults() MultiHeadConfig {
	setDefault(&c.KVHeads, c.Heads)
	if c.HeadDim == 0 && c.Heads > 0 && c.Dim%c.Heads == 0 {
		c.HeadDim = c.Dim / c.Heads
	}
	setDefault(&c.NormEps, 1e-6)
	if c.HeadDim > 0 {
		setDefault(&c.Scale, float32(1/math.Sqrt(float64(c.HeadDim))))
	}
	return c
}

// maxElements bounds the elements of one parameter, and windows, so that a damaged
// configuration is an error rather than the end of the program.
const maxElements = math.MaxInt32

// validate checks a configuration with all defaults filled in.
func (c MultiHeadConfig) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"hidden_size", c.Dim}, {"num_attention_heads", c.Heads}, {"num_key_value_heads", c.KVHeads}} {
		if f.value < 1 || f.value > maxElements {
			return fmt.Errorf("attention: %s %d, want at least 1", f.name, f.value)
		}
	}
	rows := float64(c.Heads+2*c.KVHeads) * float64(c.HeadDim)
	switch {
	case c.HeadDim == 0:
		return fmt.Errorf("attention: hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim", c.Dim, c.Heads)
	case c.HeadDim < 0:
		return fmt.Errorf("attention: head_dim %d, want at least 1", c.HeadDim)
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("attention: num_key_value_heads %d does not divide num_attention_heads %d", c.KVHeads, c.Heads)
	case rows > maxElements || rows*float64(c.Dim) > maxElements:
		return fmt.Errorf("attention: %d heads of %d dimensions for vectors of %d have more than %d elements in a parameter", c.Heads, c.HeadDim, c.Dim, maxElements)
	case c.ConvTaps < 0 || c.ConvTaps > 1<<10:
		return fmt.Errorf("attention: d_conv %d, want 0 for none, or a few taps", c.ConvTaps)
	case c.Layout >= layouts:
		return fmt.Errorf("attention: unknown layout %d", c.Layout)
	case !(c.NormEps > 0) || !finite(c.NormEps):
		return fmt.Errorf("attention: rms_norm_eps %v, want a positive number", c.NormEps)
	case c.Left != nil && *c.Left > maxElements, c.Right > maxElements:
		return fmt.Errorf("attention: a window of more than %d keys", maxElements)
	case !finite(c.Scale):
		return fmt.Errorf("attention: softmax_scale %v", c.Scale)
	case !(c.Softcap >= 0) || !finite(c.Softcap):
		return fmt.Errorf("attention: softcap %v, want a positive number, or 0 for none", c.Softcap)
	}
	return c.validateSlopes()
}

func (c MultiHeadConfig) validateSlopes() error {
	if c.Slopes == nil {
		return nil
	}
	if len(c.Slopes) != c.Heads {
		return fmt.Errorf("attention: %d slopes for %d heads", len(c.Slopes), c.Heads)
	}
	for _, s := range c.Slopes {
		if !finite(s) {
			return fmt.Errorf("attention: slope %v", s)
		}
	}
	return nil
}

func finite(v float32) bool { return v-v == 0 }

// mask returns the window.
func (c MultiHeadConfig) mask() mask { return maskOf(c.Left, c.Right) }
