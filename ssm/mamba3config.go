package ssm

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Mamba3Config describes a [Mamba3]. Only DModel has to be given; the zero value of
// every other field stands for the choice of the paper. The JSON keys are those of the
// constructor in state-spaces/mamba and so of "ssm_cfg" in its checkpoints.
type Mamba3Config struct {
	DModel  int     `json:"d_model"`           // width d of the vectors
	DInner  int     `json:"d_inner,omitempty"` // channels E of the states; Expand·DModel by default
	Expand  float64 `json:"expand,omitempty"`  // 2 by default
	HeadDim int     `json:"headdim,omitempty"` // channels P of a head; 64 by default
	DState  int     `json:"d_state,omitempty"` // states N of each channel; 128 by default
	NGroups int     `json:"ngroups,omitempty"` // groups G of heads with B and C of their own; 1 by default

	// MIMO gives every head MIMORank inputs and outputs for one, 4 by default.
	MIMO     bool `json:"is_mimo,omitempty"`
	MIMORank int  `json:"mimo_rank,omitempty"`

	// RopeFraction is the part of the states that is rotated, 0.5 by default.
	RopeFraction float64 `json:"rope_fraction,omitempty"`

	// AActivation makes the rates positive, before they are negated and kept from
	// being above -AFloor, 1e-4 by default.
	AActivation RateActivation `json:"A_activation,omitempty"`
	AFloor      float64        `json:"A_floor,omitempty"`

	// OutProjNorm normalises each head before it is gated. NormEps is the ε of this
	// norm and of those of B and C, 1e-5 by default.
	OutProjNorm bool    `json:"is_outproj_norm,omitempty"`
	NormEps     float32 `json:"norm_eps,omitempty"`

	// What Init draws: Δ begins between DTMin and DTMax, 0.001 and 0.1 by default, and
	// not below DTInitFloor, 1e-4 by default.
	DTMin       float64 `json:"dt_min,omitempty"`
	DTMax       float64 `json:"dt_max,omitempty"`
	DTInitFloor float64 `json:"dt_init_floor,omitempty"`
}

// A RateActivation says how a [Mamba3] makes a positive rate of what the input
// projection gives. state-spaces/mamba has changed from softplus to the other in June
// 2026, and other implementations still use softplus. As text it is "ht" or "softplus".
type RateActivation uint8

// The activations of rates.
const (
	HeavyTailRate RateActivation = iota // see [HeavyTail]
	SoftplusRate
	rateActivations
)

var rateActivationNames = [rateActivations]string{"ht", "softplus"}

// String returns the name of the activation.
func (a RateActivation) String() string {
	if a < rateActivations {
		return rateActivationNames[a]
	}
	return fmt.Sprintf("RateActivation(%d)", uint8(a))
}

// MarshalText returns the name of the activation.
func (a RateActivation) MarshalText() ([]byte, error) {
	if a >= rateActivations {
		return nil, fmt.Errorf("ssm: %v has no name", a)
	}
	return []byte(a.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (a *RateActivation) UnmarshalText(text []byte) error {
	i := slices.Index(rateActivationNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("ssm: unknown activation of rates %q (choose one of %q)", text, rateActivationNames[:])
	}
	*a = RateActivation(i)
	return nil
}

// withDefaults returns c with all fields filled in.
func (c Mamba3Config) withDefaults() Mamba3Config {
	setDefault(&c.Expand, 2)
	if c.DInner == 0 && c.Expand*float64(c.DModel) < math.MaxInt32 {
		c.DInner = int(c.Expand * float64(c.DModel))
	}
	setDefault(&c.HeadDim, 64)
	setDefault(&c.DState, 128)
	setDefault(&c.NGroups, 1)
	setDefault(&c.MIMORank, 4)
	setDefault(&c.RopeFraction, 0.5)
	setDefault(&c.AFloor, 1e-4)
	setDefault(&c.NormEps, 1e-5)
	setDefault(&c.DTMin, 0.001)
	setDefault(&c.DTMax, 0.1)
	setDefault(&c.DTInitFloor, 1e-4)
	return c
}

// validate checks a configuration with all fields filled in.
func (c Mamba3Config) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"d_model", c.DModel}, {"d_inner", c.DInner}, {"headdim", c.HeadDim}, {"d_state", c.DState},
		{"ngroups", c.NGroups}, {"mimo_rank", c.MIMORank},
	} {
		if f.value < 1 || float64(f.value) > maxElements {
			return fmt.Errorf("ssm: Mamba3 with %s %d, want at least 1", f.name, f.value)
		}
	}
	inner, keys := float64(c.DInner), float64(c.rank())*float64(c.NGroups)*float64(c.DState)
	if (5*inner+2*keys)*float64(c.DModel) > maxElements || inner*max(float64(c.DState), 1)*float64(c.rank()) > maxElements {
		return fmt.Errorf("ssm: Mamba3 with d_model %d, d_inner %d, ngroups %d, d_state %d, rank %d has more than %d elements in a parameter or state",
			c.DModel, c.DInner, c.NGroups, c.DState, c.rank(), maxElements)
	}
	switch {
	case c.DInner%c.HeadDim != 0:
		return fmt.Errorf("ssm: Mamba3 with d_inner %d, which is not divided by headdim %d", c.DInner, c.HeadDim)
	case c.DInner/c.HeadDim%c.NGroups != 0:
		return fmt.Errorf("ssm: Mamba3 with %d heads, which are not divided by ngroups %d", c.DInner/c.HeadDim, c.NGroups)
	case !(0 < c.RopeFraction && c.RopeFraction <= 1) || c.angles() < 1:
		return fmt.Errorf("ssm: Mamba3 with rope_fraction %v of d_state %d, want a part of at least 2 states", c.RopeFraction, c.DState)
	case c.MIMO && c.DState%2 != 0:
		return fmt.Errorf("ssm: Mamba3 with is_mimo and d_state %d, want an even number", c.DState)
	case c.AActivation >= rateActivations:
		return fmt.Errorf("ssm: Mamba3 with unknown A_activation %d", c.AActivation)
	case !(c.AFloor > 0) || math.IsInf(c.AFloor, 0):
		return fmt.Errorf("ssm: Mamba3 with A_floor %v, want a positive number", c.AFloor)
	case !(c.NormEps > 0) || math.IsInf(float64(c.NormEps), 0):
		return fmt.Errorf("ssm: Mamba3 with norm_eps %v, want a positive number", c.NormEps)
	case !(c.DTInitFloor > 0):
		return fmt.Errorf("ssm: Mamba3 with dt_init_floor %v, want a positive number", c.DTInitFloor)
	}
	return validateSteps("Mamba3", c.DTMin, c.DTMax)
}

// rank returns the number of inputs and outputs of a head.
func (c Mamba3Config) rank() int {
	if c.MIMO {
		return c.MIMORank
	}
	return 1
}

// angles returns the number of pairs of states that are rotated.
func (c Mamba3Config) angles() int { return int(float64(c.DState)*c.RopeFraction+1e-9) / 2 }

// sizes returns the dimensions of the states.
func (c Mamba3Config) sizes() (headSizes, rotarySizes) {
	heads := c.DInner / c.HeadDim
	return headSizes{heads: heads, p: c.HeadDim, groups: heads, n: c.DState},
		rotarySizes{keyGroups: c.NGroups, rank: c.rank(), turning: c.angles(), halves: c.MIMO}
}

// keyWidth returns the width of B, and of C.
func (c Mamba3Config) keyWidth() int { return c.rank() * c.NGroups * c.DState }

// projWidth returns the number of rows of in_proj.
func (c Mamba3Config) projWidth() int {
	return 2*c.DInner + 2*c.keyWidth() + 3*(c.DInner/c.HeadDim) + c.angles()
}

// Mamba3ConfigOf returns the configuration of a mixer whose parameters are known:
// shape returns the shape of the tensor of the given name (see [Mamba3.Params]), or nil
// if there is none. No shape shows AActivation, AFloor nor NormEps, which are up to the
// caller.
func Mamba3ConfigOf(shape func(name string) []int) (Mamba3Config, error) {
	dims := func(name string, n int) []int {
		if s := shape(name); len(s) == n {
			return s
		}
		return nil
	}
	in, bias, out := dims("in_proj.weight", 2), dims("B_bias", 3), dims("out_proj.weight", 2)
	if in == nil || bias == nil || out == nil {
		return Mamba3Config{}, errors.New("ssm: not the parameters of a Mamba3: want in_proj.weight and out_proj.weight with two dimensions and B_bias with three")
	}
	heads, rank, n := bias[0], bias[1], bias[2]
	wrong := fmt.Errorf("ssm: shapes that no Mamba3 has: in_proj.weight %v, B_bias %v, out_proj.weight %v", in, bias, out)
	if min(heads, rank, n, out[1]) < 1 || out[1]%heads != 0 {
		return Mamba3Config{}, wrong
	}
	// What is left of the rows are B and C and, of fewer than one group's, angles.
	left := in[0] - 2*out[1] - 3*heads
	groups := left / (2 * rank * n)
	angles := left - groups*2*rank*n
	if left < 0 || groups < 1 || heads%groups != 0 || angles < 1 || 2*angles > n {
		return Mamba3Config{}, wrong
	}
	return Mamba3Config{
		DModel: in[1], DInner: out[1], HeadDim: out[1] / heads, DState: n, NGroups: groups,
		MIMO: shape("mimo_x") != nil, MIMORank: rank, RopeFraction: 2 * float64(angles) / float64(n),
		OutProjNorm: shape("norm.weight") != nil,
	}, nil
}
