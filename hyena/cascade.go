package hyena

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A FilterKind says what the inner filter of a [Cascade] is.
type FilterKind uint8

// The kinds.
const (
	ModalFilter  FilterKind = iota // complex modal filter: StripedHyena, Evo
	LongFilter                     // real modal filter: "hcl" of StripedHyena 2, Evo 2
	MediumFilter                   // finite filter, taps in the order of lags, with D: "hcm"
	ShortFilter                    // finite filter, taps in the order of a Conv1d, without D: "hcs"
)

var kindNames = []string{"modal", "hcl", "hcm", "hcs"}

// MarshalText returns "modal", "hcl", "hcm" or "hcs".
func (k FilterKind) MarshalText() ([]byte, error) { return marshalName(kindNames, k, "kind of filter") }

// UnmarshalText is the inverse of MarshalText.
func (k *FilterKind) UnmarshalText(text []byte) error {
	return unmarshalName(kindNames, k, text, "kind of filter")
}

// A Split says where among the 3d channels of a projection those of the gates x2 and x1
// and of v are.
type Split uint8

// The splits.
const (
	DefaultSplit Split = iota // ByHead for ModalFilter, else Interleaved
	ByHead                    // for each head x2, x1 and v: "column_split_hyena" of StripedHyena
	Thirds                    // x2, x1, v
	Interleaved               // x2, x1, v of one channel after the other: "interleave" of Evo 2
)

var splitNames = []string{"default", "by_head", "thirds", "interleaved"}

// MarshalText returns "default", "by_head", "thirds" or "interleaved".
func (s Split) MarshalText() ([]byte, error) { return marshalName(splitNames, s, "split") }

// UnmarshalText is the inverse of MarshalText.
func (s *Split) UnmarshalText(text []byte) error { return unmarshalName(splitNames, s, text, "split") }

// A CascadeConfig describes a [Cascade]. Dim has to be given, and Heads if channels are
// split by heads; the zero value of every other field stands for the choice of
// StripedHyena or, depending on Kind, StripedHyena 2. The JSON keys are those of their
// configurations where these have one.
type CascadeConfig struct {
	Dim   int        `json:"hidden_size"`
	Kind  FilterKind `json:"filter_kind,omitempty"`
	Split Split      `json:"split,omitempty"`
	Heads int        `json:"num_attention_heads,omitempty"`

	ShortLength int   `json:"short_filter_length,omitempty"` // taps K of the first filter, 3 by default
	ShortBias   *bool `json:"short_filter_bias,omitempty"`   // true for ModalFilter by default

	States int `json:"state_size,omitempty"`    // of a modal filter: see ModalConfig
	Length int `json:"filter_length,omitempty"` // of a finite filter: 128 taps for MediumFilter and 7 for ShortFilter by default
	Groups int `json:"filter_groups,omitempty"` // of channels that share a finite filter, a divisor of Dim; Dim by default
}

func (c CascadeConfig) withDefaults() CascadeConfig {
	fillIn(&c.ShortLength, 3)
	fillIn(&c.Heads, 1)
	modal := c.Kind == ModalFilter
	if c.ShortBias == nil {
		c.ShortBias = &modal
	}
	if c.Split == DefaultSplit {
		c.Split = Interleaved
		if modal {
			c.Split = ByHead
		}
	}
	switch c.Kind {
	case MediumFilter:
		fillIn(&c.Length, 128)
		fillIn(&c.Groups, c.Dim)
	case ShortFilter:
		fillIn(&c.Length, 7)
		fillIn(&c.Groups, c.Dim)
	}
	return c
}

func (c *CascadeConfig) validate() error {
	if int(c.Kind) >= len(kindNames) || int(c.Split) >= len(splitNames) {
		return fmt.Errorf("hyena: no kind of filter %d or split %d", c.Kind, c.Split)
	}
	if c.Dim < 1 || c.Dim > maxSize || c.ShortLength < 1 || c.ShortLength > 1<<16 || tooMany(3, c.Dim, c.ShortLength) {
		return fmt.Errorf("hyena: hidden_size %d and short_filter_length %d, want positive numbers", c.Dim, c.ShortLength)
	}
	if c.Heads < 1 || c.Dim%c.Heads != 0 {
		return fmt.Errorf("hyena: num_attention_heads %d does not divide hidden_size %d", c.Heads, c.Dim)
	}
	if c.finite() && (c.Length < 1 || c.Length > maxSize || tooMany(c.Length, c.Dim) || c.Groups < 1 || c.Dim%c.Groups != 0) {
		return fmt.Errorf("hyena: filters of %d taps in %d groups of %d channels", c.Length, c.Groups, c.Dim)
	}
	return nil
}

func (c *CascadeConfig) finite() bool { return c.Kind == MediumFilter || c.Kind == ShortFilter }

// A Cascade is what lies between the projections of a block of StripedHyena
// (ParallelHyenaFilter) or StripedHyena 2 (HyenaCascade in vortex): a short filter, a
// gate, a longer filter, another gate. It makes d channels of 3d:
//
//	x2, x1, v = split(shortconv(z))          d each, K taps for each channel
//	y         = x2 · (h ∗ (x1·v) + D·x1·v)
//
// h is a [Modal] filter or has a few taps, which channels c·G/d of G groups share. Taps
// are stored in two orders: h[0] of [MediumFilter] is that of the position itself, of
// [ShortFilter] it is the last one.
//
// The parameters are short_filter_weight (3d, 1, K), short_filter_bias (3d), and those
// of the inner filter: D, poles and residues or D, log_poles and residues (see [Modal]),
// h (G, 1, taps) and D, or h.
type Cascade struct {
	cfg   CascadeConfig
	short *nn.CausalConv1D
	modal *Modal // nil if the filter is finite

	h, d *tensor.Tensor // of a finite filter; d is nil for ShortFilter
	long memo.Memo[*nn.LongConv]
}

// NewCascade returns a cascade whose parameters are ready to be loaded; see
// [Cascade.Init].
func NewCascade(cfg CascadeConfig) (*Cascade, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Cascade{short: nn.NewCausalConv1D(3*cfg.Dim, cfg.ShortLength, *cfg.ShortBias, nn.Identity)}
	switch cfg.Kind {
	case ModalFilter, LongFilter:
		form := ComplexPoles
		if cfg.Kind == LongFilter {
			form = LogPoles
		}
		m, err := NewModal(ModalConfig{Dim: cfg.Dim, Form: form, States: cfg.States})
		if err != nil {
			return nil, err
		}
		c.modal, cfg.States = m, m.Config().States
	case MediumFilter:
		c.h, c.d = tensor.New(cfg.Groups, 1, cfg.Length), tensor.New(cfg.Dim)
	default:
		c.h = tensor.New(cfg.Groups, 1, cfg.Length)
	}
	c.cfg = cfg
	return c, nil
}

// Config returns the configuration with all fields filled in.
func (c *Cascade) Config() CascadeConfig { return c.cfg }

// Dim returns the number d of channels of the result.
func (c *Cascade) Dim() int { return c.cfg.Dim }

// Params yields the parameters: see [Cascade].
func (c *Cascade) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []paramlist.Named{paramlist.Of("short_filter_weight", c.short.Weight), paramlist.Of("short_filter_bias", c.short.Bias)}
	if c.modal != nil {
		list = append(list, paramlist.Of("D", c.modal.d))
		for name, p := range c.modal.Params() {
			if p != c.modal.d {
				list = append(list, paramlist.Of(name, p))
			}
		}
	} else {
		list = append(list, paramlist.Of("h", c.h), paramlist.Of("D", c.d))
	}
	return paramlist.Yield(list...)
}

// Init draws the parameters: the short filter as PyTorch's Conv1d begins, a modal one by
// [Modal.Init], the taps of a finite one from a normal distribution of deviation
// 1/√taps, and D from one of deviation 1.
func (c *Cascade) Init(r *rand.Rand) {
	c.short.Init(r)
	if c.modal != nil {
		c.modal.Init(r)
		return
	}
	nn.Normal(c.h, r, 1/math.Sqrt(float64(c.cfg.Length)))
	if c.d != nil {
		nn.Normal(c.d, r, 1)
	}
}

// conv returns the finite filter, with D in tap 0.
func (c *Cascade) conv() *nn.LongConv {
	return c.long.Get(func() *nn.LongConv {
		n := c.cfg.Length
		taps := tensor.MatOf(make([]float32, n*c.cfg.Dim), n, c.cfg.Dim)
		for lag := range n {
			at := lag
			if c.cfg.Kind == ShortFilter {
				at = n - 1 - lag
			}
			for ch := range c.cfg.Dim {
				taps.Row(lag)[ch] = c.h.Data()[ch*c.cfg.Groups/c.cfg.Dim*n+at]
			}
		}
		if c.d != nil {
			for ch, d := range c.d.Data() {
				taps.Row(0)[ch] += d
			}
		}
		return nn.NewLongConv(taps)
	}, c.h, c.d)
}

// inner returns a stream of the inner filter.
func (c *Cascade) inner(batch int) (seqmix.Stream, error) {
	if c.modal != nil {
		return c.modal.NewStream(batch)
	}
	return c.conv().NewStream(batch)
}

// split computes the products of x1 and v, and x2, of n rows of 3d channels.
func (c *Cascade) split(x1v, x2, z tensor.Mat) {
	d := c.cfg.Dim
	width := d // of a stretch of channels of which x2, x1 and v follow each other
	switch c.cfg.Split {
	case Interleaved:
		for i := range z.Rows {
			p, g, row := x1v.Row(i), x2.Row(i), z.Row(i)
			for ch := range p {
				three := row[3*ch : 3*ch+3]
				p[ch], g[ch] = three[1]*three[2], three[0]
			}
		}
		return
	case ByHead:
		width = d / c.cfg.Heads
	}
	for at := 0; at < d; at += width {
		from := z.Slice(3*at, 3*(at+width))
		runGates(x1v.Slice(at, at+width), from.Slice(width, 2*width), from.Slice(2*width, 3*width))
		for i := range z.Rows {
			copy(x2.Row(i)[at:at+width], from.Row(i))
		}
	}
}

// Apply computes whole sequences: src is 3d wide, dst d, and they must not overlap. It
// panics with a *tensor.ShapeError if they do not fit.
func (c *Cascade) Apply(dst, src tensor.Seq) {
	if src.Batch == 0 {
		checkCascade("hyena.Cascade.Apply", dst, src, 0, c.cfg.Dim)
		return
	}
	s, err := c.NewStream(src.Batch)
	if err != nil {
		panic(err) // it always streams
	}
	s.Apply(dst, src)
}

func checkCascade(op string, dst, src tensor.Seq, batch, dim int) {
	tensor.CheckSeq(op, src, batch, -1, 3*dim)
	tensor.CheckSeq(op, dst, batch, src.Len, dim)
}
