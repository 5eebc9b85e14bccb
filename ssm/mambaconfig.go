package ssm

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A MambaConfig describes a [Mamba]. Only DModel has to be given; the zero value of
// every other field stands for the choice of the paper. The JSON keys are those of
// the constructor in state-spaces/mamba and so of "ssm_cfg" in its checkpoints.
//
// Networks that were pruned fit too: DInner, DState, DConv and DTRank can be anything
// from 1 on and need not have to do with DModel nor with each other.
type MambaConfig struct {
	DModel int     `json:"d_model"`           // width d of the vectors
	DInner int     `json:"d_inner,omitempty"` // channels E of the scan; Expand·DModel by default
	Expand float64 `json:"expand,omitempty"`  // 2 by default
	DState int     `json:"d_state,omitempty"` // states N of each channel; 16 by default
	DConv  int     `json:"d_conv,omitempty"`  // taps K of the convolution; 4 by default
	DTRank Rank    `json:"dt_rank,omitempty"` // rank R of the projection to Δ; ⌈DModel/16⌉ by default

	Bias     bool  `json:"bias,omitempty"`      // biases of in_proj and out_proj
	ConvBias *bool `json:"conv_bias,omitempty"` // bias of the convolution; true by default

	// InnerNorm normalises the low-rank input of Δ, B and C. NormEps is its ε, 1e-6
	// by default.
	InnerNorm InnerNorm `json:"inner_norm,omitempty"`
	NormEps   float32   `json:"norm_eps,omitempty"`

	// What Init draws. Δ begins between DTMin and DTMax, 0.001 and 0.1 by default,
	// and not below DTInitFloor, 1e-4 by default. The weight of dt_proj is "random",
	// which is the default, or "constant", with a bound of DTScale/√R; DTScale is 1
	// by default.
	DTMin       float64 `json:"dt_min,omitempty"`
	DTMax       float64 `json:"dt_max,omitempty"`
	DTInit      string  `json:"dt_init,omitempty"`
	DTScale     float64 `json:"dt_scale,omitempty"`
	DTInitFloor float64 `json:"dt_init_floor,omitempty"`
}

// A Rank is a number that can be left to the mixer: 0 in Go, "auto" in JSON.
type Rank int

// MarshalJSON returns the number, or "auto".
func (r Rank) MarshalJSON() ([]byte, error) {
	if r == 0 {
		return []byte(`"auto"`), nil
	}
	return json.Marshal(int(r))
}

// UnmarshalJSON reads a number or "auto".
func (r *Rank) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*r = 0
		return nil
	}
	if err := json.Unmarshal(b, (*int)(r)); err != nil {
		return fmt.Errorf("a rank is a number or \"auto\": %w", err)
	}
	return nil
}

// An InnerNorm says how a [Mamba] normalises what x_proj makes of its input, before
// it is used: each of the low-rank input of Δ, of B and of C has an RMS norm of its
// own (arXiv:1910.07467). As text it is "none", "plain" or "weighted".
type InnerNorm uint8

// The inner norms.
const (
	NoNorm       InnerNorm = iota // Mamba
	PlainNorm                     // without weights: FalconMamba
	WeightedNorm                  // dt_layernorm, b_layernorm, c_layernorm: Jamba
	innerNorms
)

var innerNormNames = [innerNorms]string{"none", "plain", "weighted"}

// String returns the name of the norm.
func (n InnerNorm) String() string {
	if n < innerNorms {
		return innerNormNames[n]
	}
	return fmt.Sprintf("InnerNorm(%d)", uint8(n))
}

// MarshalText returns the name of the norm.
func (n InnerNorm) MarshalText() ([]byte, error) {
	if n >= innerNorms {
		return nil, fmt.Errorf("ssm: %v has no name", n)
	}
	return []byte(n.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (n *InnerNorm) UnmarshalText(text []byte) error {
	i := slices.Index(innerNormNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("ssm: unknown inner norm %q (choose one of %q)", text, innerNormNames[:])
	}
	*n = InnerNorm(i)
	return nil
}

// withDefaults returns c with all fields filled in.
func (c MambaConfig) withDefaults() MambaConfig {
	setDefault(&c.Expand, 2)
	if c.DInner == 0 && c.Expand*float64(c.DModel) < math.MaxInt32 {
		c.DInner = int(c.Expand * float64(c.DModel))
	}
	setDefault(&c.DState, 16)
	setDefault(&c.DConv, 4)
	setDefault(&c.DTRank, Rank((c.DModel+15)/16))
	if c.ConvBias == nil {
		c.ConvBias = new(true)
	}
	setDefault(&c.NormEps, 1e-6)
	setDefault(&c.DTMin, 0.001)
	setDefault(&c.DTMax, 0.1)
	setDefault(&c.DTInit, "random")
	setDefault(&c.DTScale, 1)
	setDefault(&c.DTInitFloor, 1e-4)
	return c
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// maxElements bounds the elements of one parameter, so that a damaged configuration
// is an error rather than the end of the program.
const maxElements = 1<<31 - 1

// validate checks a configuration with all fields filled in.
func (c MambaConfig) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"d_model", c.DModel}, {"d_inner", c.DInner}, {"d_state", c.DState}, {"d_conv", c.DConv}, {"dt_rank", int(c.DTRank)}} {
		if f.value < 1 || float64(f.value) > maxElements {
			return fmt.Errorf("ssm: Mamba with %s %d, want at least 1", f.name, f.value)
		}
	}
	wide := float64(2*c.DInner + int(c.DTRank) + 2*c.DState)
	if wide*float64(max(c.DModel, c.DInner, c.DState, c.DConv)) > maxElements {
		return fmt.Errorf("ssm: Mamba with d_model %d, d_inner %d, d_state %d, d_conv %d, dt_rank %d has more than %d elements in a parameter",
			c.DModel, c.DInner, c.DState, c.DConv, c.DTRank, maxElements)
	}
	switch {
	case c.InnerNorm >= innerNorms:
		return fmt.Errorf("ssm: Mamba with unknown inner norm %d", c.InnerNorm)
	case !(c.NormEps > 0) || math.IsInf(float64(c.NormEps), 0):
		return fmt.Errorf("ssm: Mamba with norm_eps %v, want a positive number", c.NormEps)
	case c.DTInit != "random" && c.DTInit != "constant":
		return fmt.Errorf("ssm: Mamba with dt_init %q (choose one of \"random\", \"constant\")", c.DTInit)
	case !(c.DTScale > 0) || !(c.DTInitFloor > 0):
		return fmt.Errorf("ssm: Mamba with dt_scale %v and dt_init_floor %v, want positive numbers", c.DTScale, c.DTInitFloor)
	}
	return validateSteps("Mamba", c.DTMin, c.DTMax)
}

// validateSteps checks the range that Init draws Δ from.
func validateSteps(what string, least, most float64) error {
	if !(0 < least && least <= most && most < math.MaxFloat32) {
		return fmt.Errorf("ssm: %s with dt_min %v and dt_max %v, want positive numbers in this order", what, least, most)
	}
	return nil
}

// MambaConfigOf returns the configuration of a mixer whose parameters are known:
// shape returns the shape of the tensor of the given name (see [Mamba.Params]), or nil
// if there is none. Sizes read off the tensors are the ones to trust: configuration
// files of pruned and of converted networks are often out of date.
//
// What no shape shows is up to the caller: inner norms without weights, and the ε of
// norms.
func MambaConfigOf(shape func(name string) []int) (MambaConfig, error) {
	dims := func(name string, n int) []int {
		if s := shape(name); len(s) == n {
			return s
		}
		return nil
	}
	in, conv, x, dt, a := dims("in_proj.weight", 2), dims("conv1d.weight", 3), dims("x_proj.weight", 2), dims("dt_proj.weight", 2), dims("A_log", 2)
	if in == nil || conv == nil || x == nil || dt == nil || a == nil {
		return MambaConfig{}, errors.New("ssm: not the parameters of a Mamba: want in_proj.weight, x_proj.weight, dt_proj.weight and A_log with two dimensions and conv1d.weight with three")
	}
	c := MambaConfig{
		DModel: in[1], DInner: a[0], DState: a[1], DConv: conv[2], DTRank: Rank(dt[1]),
		Bias: shape("in_proj.bias") != nil, ConvBias: new(shape("conv1d.bias") != nil),
	}
	if shape("dt_layernorm.weight") != nil {
		c.InnerNorm = WeightedNorm
	}
	if min(c.DModel, c.DInner, c.DState, c.DConv, int(c.DTRank)) < 1 {
		return MambaConfig{}, fmt.Errorf("ssm: parameters of a Mamba without elements: in_proj.weight %v, conv1d.weight %v, dt_proj.weight %v, A_log %v", in, conv, dt, a)
	}
	return c, nil
}
