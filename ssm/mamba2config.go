package ssm

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// A Mamba2Config describes a [Mamba2]. Only DModel has to be given; the zero value of
// every other field stands for the choice of the paper. The JSON keys are those of the
// constructor in state-spaces/mamba and so of "ssm_cfg" in its checkpoints.
type Mamba2Config struct {
	DModel  int     `json:"d_model"`              // width d of the vectors
	DInner  int     `json:"d_inner,omitempty"`    // width E of the input of out_proj; Expand·DModel by default
	Expand  float64 `json:"expand,omitempty"`     // 2 by default
	DSSM    int     `json:"d_ssm,omitempty"`      // channels of the states; DInner by default
	HeadDim int     `json:"headdim,omitempty"`    // channels P of a head; 64 by default
	DState  int     `json:"d_state,omitempty"`    // states N of each channel; 128 by default
	NGroups int     `json:"ngroups,omitempty"`    // groups G of heads with B and C of their own; 1 by default
	DConv   int     `json:"d_conv,omitempty"`     // taps K of the convolution; 4 by default
	DTLimit Limit   `json:"dt_limit,omitzero"`    // range of Δ; none by default
	DHasDim bool    `json:"D_has_hdim,omitempty"` // D has an element for each channel, not each head

	Bias     bool  `json:"bias,omitempty"`      // biases of in_proj and out_proj
	ConvBias *bool `json:"conv_bias,omitempty"` // bias of the convolution; true by default

	// RMSNorm normalises the gated output of the states, before the gate if
	// NormBeforeGate is set; true by default. There is a norm for each of NormGroups
	// groups of channels, which are NGroups by default; Mamba2Simple of
	// state-spaces/mamba and models of Hugging Face have one. NormEps is its ε, 1e-5
	// by default.
	RMSNorm        *bool   `json:"rmsnorm,omitempty"`
	NormBeforeGate bool    `json:"norm_before_gate,omitempty"`
	NormGroups     int     `json:"norm_groups,omitempty"`
	NormEps        float32 `json:"norm_eps,omitempty"`

	// InitStates gives the mixer a parameter for the states that sequences begin with,
	// which are zero else.
	InitStates bool `json:"learnable_init_states,omitempty"`

	// What Init draws. A begins between the two numbers of AInit, -1 and -16 by
	// default but given without the sign; Δ between DTMin and DTMax, 0.001 and 0.1 by
	// default, and not below DTInitFloor, 1e-4 by default. The taps are between
	// ±ConvInit, or ±1/√K by default.
	AInit       [2]float64 `json:"A_init_range,omitzero"`
	DTMin       float64    `json:"dt_min,omitempty"`
	DTMax       float64    `json:"dt_max,omitempty"`
	DTInitFloor float64    `json:"dt_init_floor,omitempty"`
	ConvInit    float64    `json:"conv_init,omitempty"`
}

// MarshalJSON returns the two numbers, the second of which is null if there is no
// upper end.
func (l Limit) MarshalJSON() ([]byte, error) {
	pair := [2]any{l.Min, nil}
	if l.Max != 0 && !math.IsInf(l.Max, 1) {
		pair[1] = l.Max
	}
	return json.Marshal(pair)
}

// UnmarshalJSON reads an array of two numbers, either of which may be null.
func (l *Limit) UnmarshalJSON(b []byte) error {
	var pair []float64
	if err := json.Unmarshal(b, &pair); err != nil || len(pair) != 0 && len(pair) != 2 {
		return fmt.Errorf("a limit is an array of two numbers, not %.50s", b)
	}
	*l = Limit{}
	if len(pair) == 2 {
		l.Min, l.Max = pair[0], pair[1]
	}
	return nil
}

// withDefaults returns c with all fields filled in.
func (c Mamba2Config) withDefaults() Mamba2Config {
	setDefault(&c.Expand, 2)
	if c.DInner == 0 && c.Expand*float64(c.DModel) < math.MaxInt32 {
		c.DInner = int(c.Expand * float64(c.DModel))
	}
	setDefault(&c.DSSM, c.DInner)
	setDefault(&c.HeadDim, 64)
	setDefault(&c.DState, 128)
	setDefault(&c.NGroups, 1)
	setDefault(&c.DConv, 4)
	if c.ConvBias == nil {
		c.ConvBias = new(true)
	}
	if c.RMSNorm == nil {
		c.RMSNorm = new(true)
	}
	setDefault(&c.NormGroups, c.NGroups)
	setDefault(&c.NormEps, 1e-5)
	setDefault(&c.AInit, [2]float64{1, 16})
	setDefault(&c.DTMin, 0.001)
	setDefault(&c.DTMax, 0.1)
	setDefault(&c.DTInitFloor, 1e-4)
	if c.DConv > 0 {
		setDefault(&c.ConvInit, 1/math.Sqrt(float64(c.DConv)))
	}
	return c
}

// validate checks a configuration with all fields filled in.
func (c Mamba2Config) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"d_model", c.DModel}, {"d_inner", c.DInner}, {"d_ssm", c.DSSM}, {"headdim", c.HeadDim}, {"d_state", c.DState},
		{"ngroups", c.NGroups}, {"d_conv", c.DConv}, {"norm_groups", c.NormGroups},
	} {
		if f.value < 1 || float64(f.value) > maxElements {
			return fmt.Errorf("ssm: Mamba2 with %s %d, want at least 1", f.name, f.value)
		}
	}
	wide := 2*float64(c.DInner) + 2*float64(c.NGroups)*float64(c.DState) + float64(c.DSSM)
	if wide*float64(max(c.DModel, c.DConv)) > maxElements || float64(c.DSSM)*float64(c.DState) > maxElements {
		return fmt.Errorf("ssm: Mamba2 with d_model %d, d_inner %d, ngroups %d, d_state %d, d_conv %d has more than %d elements in a parameter or state",
			c.DModel, c.DInner, c.NGroups, c.DState, c.DConv, maxElements)
	}
	switch {
	case c.DSSM > c.DInner:
		return fmt.Errorf("ssm: Mamba2 with d_ssm %d, more than d_inner %d", c.DSSM, c.DInner)
	case c.DSSM%c.HeadDim != 0:
		return fmt.Errorf("ssm: Mamba2 with d_ssm %d, which is not divided by headdim %d", c.DSSM, c.HeadDim)
	case c.DSSM/c.HeadDim%c.NGroups != 0:
		return fmt.Errorf("ssm: Mamba2 with %d heads, which are not divided by ngroups %d", c.DSSM/c.HeadDim, c.NGroups)
	case c.DSSM%c.NormGroups != 0:
		return fmt.Errorf("ssm: Mamba2 with d_ssm %d, which is not divided by norm_groups %d", c.DSSM, c.NormGroups)
	case !(c.NormEps > 0) || math.IsInf(float64(c.NormEps), 0):
		return fmt.Errorf("ssm: Mamba2 with norm_eps %v, want a positive number", c.NormEps)
	case !(0 < c.AInit[0] && c.AInit[0] <= c.AInit[1] && c.AInit[1] < math.MaxFloat32):
		return fmt.Errorf("ssm: Mamba2 with A_init_range %v, want positive numbers in this order", c.AInit)
	case !(c.DTInitFloor > 0) || !(c.ConvInit > 0):
		return fmt.Errorf("ssm: Mamba2 with dt_init_floor %v and conv_init %v, want positive numbers", c.DTInitFloor, c.ConvInit)
	}
	if err := c.DTLimit.validate(); err != nil {
		return fmt.Errorf("ssm: Mamba2 with dt_limit: %w", err)
	}
	return validateSteps("Mamba2", c.DTMin, c.DTMax)
}

// heads returns the dimensions of the states.
func (c Mamba2Config) heads() headSizes {
	return headSizes{heads: c.DSSM / c.HeadDim, p: c.HeadDim, groups: c.NGroups, n: c.DState}
}

// keyWidth returns the width of B, and of C.
func (c Mamba2Config) keyWidth() int { return c.NGroups * c.DState }

// convWidth returns the number of channels of the convolution: x, B and C.
func (c Mamba2Config) convWidth() int { return c.DSSM + 2*c.keyWidth() }

// mlpWidth returns the width of the branch that passes by the states.
func (c Mamba2Config) mlpWidth() int { return c.DInner - c.DSSM }

// projWidth returns the number of rows of in_proj.
func (c Mamba2Config) projWidth() int {
	return 2*c.mlpWidth() + c.DSSM + c.convWidth() + c.heads().heads
}

// Mamba2ConfigOf returns the configuration of a mixer whose parameters are known:
// shape returns the shape of the tensor of the given name (see [Mamba2.Params]), or nil
// if there is none. No shape shows the number of groups, the limits of Δ, nor the
// order, the groups and the ε of the norm: groups is that of B and C, and the rest is
// up to the caller.
func Mamba2ConfigOf(shape func(name string) []int, groups int) (Mamba2Config, error) {
	dims := func(name string, n int) []int {
		if s := shape(name); len(s) == n {
			return s
		}
		return nil
	}
	in, conv, out, steps := dims("in_proj.weight", 2), dims("conv1d.weight", 3), dims("out_proj.weight", 2), dims("dt_bias", 1)
	if in == nil || conv == nil || out == nil || steps == nil {
		return Mamba2Config{}, errors.New("ssm: not the parameters of a Mamba2: want in_proj.weight and out_proj.weight with two dimensions, conv1d.weight with three and dt_bias with one")
	}
	heads, mlp := steps[0], in[0]-conv[0]-steps[0]-out[1]
	ssm := out[1] - mlp
	keys := (conv[0] - ssm) / 2
	if heads < 1 || mlp < 0 || ssm < 1 || ssm%heads != 0 || groups < 1 || keys < groups || keys%groups != 0 {
		return Mamba2Config{}, fmt.Errorf("ssm: shapes that no Mamba2 of %d groups has: in_proj.weight %v, conv1d.weight %v, out_proj.weight %v, dt_bias %v", groups, in, conv, out, steps)
	}
	d := dims("D", 1)
	return Mamba2Config{
		DModel: in[1], DInner: out[1], DSSM: ssm, HeadDim: ssm / heads, DState: keys / groups, NGroups: groups, DConv: conv[2],
		DHasDim: len(d) == 1 && d[0] != heads, Bias: shape("in_proj.bias") != nil, ConvBias: new(shape("conv1d.bias") != nil),
		RMSNorm: new(shape("norm.weight") != nil), InitStates: shape("init_states") != nil,
	}, nil
}
