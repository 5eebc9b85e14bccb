package hyena

import (
	"errors"
	"fmt"
	"math"

	"github.com/seqmix/seqmix/nn"
)

// A Config describes a [Hyena]. DModel and LMax have to be given; the zero value of every
// other field stands for the choice of the paper. The JSON keys are those of safari and
// HyenaDNA ("layer" in their configurations).
type Config struct {
	DModel int `json:"d_model"` // width d of the vectors
	LMax   int `json:"l_max"`   // the most positions that a sequence can have

	Order       int `json:"order,omitempty"`              // gates N, 2 by default; there are N-1 long convolutions
	InnerFactor int `json:"inner_factor,omitempty"`       // channels of the operator over d, 1 by default
	ShortFilter int `json:"short_filter_order,omitempty"` // taps K of the short convolution, 3 by default

	// Activation is applied before the last projection. Identity is the default, also
	// called "id" in JSON.
	Activation Activation `json:"activation,omitzero"`

	// Layout says in which order the channels of the filters of several orders lie, and
	// Gates which chunks of the projection are which gates. Published code differs.
	Layout FilterLayout `json:"filter_layout,omitempty"`
	Gates  GateOrder    `json:"gate_order,omitempty"`

	// The implicit filter: see [nn.ImplicitFilterConfig].
	EmbDim       int     `json:"emb_dim,omitempty"`
	FilterOrder  int     `json:"filter_order,omitempty"`
	InnerMLPs    *int    `json:"num_inner_mlps,omitempty"`
	W            float64 `json:"w,omitempty"`
	Shift        float64 `json:"shift,omitempty"`
	Modulate     *bool   `json:"modulate,omitempty"`
	Normalized   bool    `json:"normalized,omitempty"`
	FastDecayPct float64 `json:"fast_decay_pct,omitempty"`
	SlowDecayPct float64 `json:"slow_decay_pct,omitempty"`
	Target       float64 `json:"target,omitempty"`

	// These are parts of the original class that its own code does not support for
	// values other than the default; New returns an error that wraps
	// errors.ErrUnsupported.
	NumHeads     int  `json:"num_heads,omitempty"`
	NumBlocks    int  `json:"num_blocks,omitempty"`
	OuterMixing  bool `json:"outer_mixing,omitempty"`
	PostOrderFFN bool `json:"post_order_ffn,omitempty"`

	// CacheLimit is the number of bytes that the taps of all filters may take up in
	// memory, and that the spectra of one convolution may (see [nn.LongConv]); 0 stands
	// for 256 MiB, and a negative number keeps none. What does not fit is made anew in
	// each call of Mix: filters of a million taps cost about as much to make as to apply.
	// A stream keeps its taps in any case.
	CacheLimit int `json:"-"`
}

// A FilterLayout is the order in which the (N-1)·d channels of the implicit filter lie.
// For Order 2 there is no difference.
type FilterLayout uint8

// The layouts. Channel v of convolution o is
const (
	ChannelMajor FilterLayout = iota // v·(N-1)+o: safari and hyena-dna
	OrderMajor                       // o·d+v: the standalone files of both, Hugging Face, zoology
)

var layoutNames = []string{"channel_major", "order_major"}

// MarshalText returns "channel_major" or "order_major".
func (l FilterLayout) MarshalText() ([]byte, error) {
	return marshalName(layoutNames, l, "filter layout")
}

// UnmarshalText is the inverse of MarshalText.
func (l *FilterLayout) UnmarshalText(text []byte) error {
	return unmarshalName(layoutNames, l, text, "filter layout")
}

// A GateOrder says which of the chunks x_0 … x_{N-1}, v of the projection gates when.
type GateOrder uint8

// The orders.
const (
	LastFirst  GateOrder = iota // x_{N-1} before the first convolution, x_0 after the last: Hyena, HyenaDNA
	FirstFirst                  // x_0 before the first convolution, x_{N-1} after the last: zoology
)

var gateNames = []string{"last_first", "first_first"}

// MarshalText returns "last_first" or "first_first".
func (g GateOrder) MarshalText() ([]byte, error) { return marshalName(gateNames, g, "gate order") }

// UnmarshalText is the inverse of MarshalText.
func (g *GateOrder) UnmarshalText(text []byte) error {
	return unmarshalName(gateNames, g, text, "gate order")
}

func marshalName[T ~uint8](names []string, v T, what string) ([]byte, error) {
	if int(v) >= len(names) {
		return nil, fmt.Errorf("hyena: no %s %d", what, v)
	}
	return []byte(names[v]), nil
}

func unmarshalName[T ~uint8](names []string, v *T, text []byte, what string) error {
	for i, name := range names {
		if name == string(text) {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("hyena: %s %.40q, want one of %q", what, text, names)
}

// An Activation is an activation of package nn, with the difference that the zero value
// is the identity.
type Activation struct{ act *nn.Activation }

// Act returns a as an Activation.
func Act(a nn.Activation) Activation { return Activation{&a} }

// Of returns the activation.
func (a Activation) Of() nn.Activation {
	if a.act == nil {
		return nn.Identity
	}
	return *a.act
}

// MarshalText returns the name that package nn gives the activation.
func (a Activation) MarshalText() ([]byte, error) { return a.Of().MarshalText() }

// UnmarshalText reads a name that package nn knows, or "id".
func (a *Activation) UnmarshalText(text []byte) error {
	if string(text) == "id" || len(text) == 0 {
		*a = Activation{}
		return nil
	}
	v, err := nn.ParseActivation(string(text))
	if err != nil {
		return err
	}
	*a = Act(v)
	return nil
}

// IsZero reports whether a is the zero value.
func (a Activation) IsZero() bool { return a.act == nil }

func (c Config) withDefaults() Config {
	fillIn(&c.Order, 2)
	fillIn(&c.InnerFactor, 1)
	fillIn(&c.ShortFilter, 3)
	fillIn(&c.NumHeads, 1)
	fillIn(&c.NumBlocks, 1)
	return c
}

func fillIn[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// maxSize bounds every number of a configuration, so that products do not overflow.
const maxSize = 1 << 24

func (c *Config) validate() error {
	for _, f := range []struct {
		key                string
		value, least, most int
	}{
		{"d_model", c.DModel, 1, maxSize}, {"l_max", c.LMax, 1, 1 << 30}, {"order", c.Order, 2, 64},
		{"inner_factor", c.InnerFactor, 1, 1 << 10}, {"short_filter_order", c.ShortFilter, 1, 1 << 16},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("hyena: %s %d, want %d to %d", f.key, f.value, f.least, f.most)
		}
	}
	if tooMany(c.DModel, c.InnerFactor, c.Order+1, c.DModel) || tooMany(c.DModel, c.InnerFactor, c.Order+1, c.ShortFilter) {
		return fmt.Errorf("hyena: d_model %d, inner_factor %d and order %d are too many elements", c.DModel, c.InnerFactor, c.Order)
	}
	for _, f := range []struct {
		key string
		bad bool
	}{
		{"num_heads above 1", c.NumHeads != 1}, {"num_blocks above 1", c.NumBlocks != 1},
		{"outer_mixing", c.OuterMixing}, {"post_order_ffn", c.PostOrderFFN},
	} {
		if f.bad {
			return fmt.Errorf("hyena: %s: %w", f.key, errors.ErrUnsupported)
		}
	}
	if int(c.Layout) >= len(layoutNames) || int(c.Gates) >= len(gateNames) {
		return fmt.Errorf("hyena: no filter layout %d or gate order %d", c.Layout, c.Gates)
	}
	return nil
}

// tooMany reports whether a tensor with these dimensions cannot be held in memory.
func tooMany(dims ...int) bool {
	n, most := int64(1), int64(min(1<<40, math.MaxInt/8))
	for _, d := range dims {
		if d > 0 && n > most/int64(d) {
			return true
		}
		n *= int64(d)
	}
	return false
}

// channels returns the number of channels of the operator.
func (c *Config) channels() int { return c.DModel * c.InnerFactor }

func (c *Config) filter() nn.ImplicitFilterConfig {
	return nn.ImplicitFilterConfig{
		Channels: c.channels() * (c.Order - 1), LMax: c.LMax,
		EmbDim: c.EmbDim, Width: c.FilterOrder, InnerMLPs: c.InnerMLPs, W: c.W,
		Shift: c.Shift, Modulate: c.Modulate, Normalized: c.Normalized,
		FastDecayPct: c.FastDecayPct, SlowDecayPct: c.SlowDecayPct, Target: c.Target,
	}
}

// complete fills in what the filter has made of its part of the configuration.
func (c *Config) complete(f nn.ImplicitFilterConfig) {
	c.EmbDim, c.FilterOrder, c.InnerMLPs, c.W = f.EmbDim, f.Width, f.InnerMLPs, f.W
	c.Modulate, c.FastDecayPct, c.SlowDecayPct, c.Target = f.Modulate, f.FastDecayPct, f.SlowDecayPct, f.Target
}
