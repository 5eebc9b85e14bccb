package nn

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An ImplicitFilterConfig describes an [ImplicitFilter]. The zero value of all fields but
// the first two stands for the choice of Hyena. The JSON keys are those of safari and
// HyenaDNA.
type ImplicitFilterConfig struct {
	Channels int `json:"d_filter"`
	LMax     int `json:"l_max"` // taps of each channel

	EmbDim    int     `json:"emb_dim,omitempty"`        // positional features: odd, 3 by default
	Width     int     `json:"filter_order,omitempty"`   // of the hidden layers, 64 by default
	InnerMLPs *int    `json:"num_inner_mlps,omitempty"` // hidden layers after the first, 2 by default
	W         float64 `json:"w,omitempty"`              // initial frequency of the sines, 1 by default

	// Shift is added to the decaying window, so that taps never vanish. It is 0 in the
	// code that models are trained with. HyenaDNA as published on Hugging Face needs
	// 0.05, which no configuration says.
	Shift      float64 `json:"shift,omitempty"`
	Modulate   *bool   `json:"modulate,omitempty"`   // whether there is a window, true by default
	Normalized bool    `json:"normalized,omitempty"` // whether Σ|h| over channels is made 1 at every position

	// The windows of the channels reach Target, 0.01 by default, after from
	// FastDecayPct to SlowDecayPct times LMax positions, 0.3 and 1.5 by default.
	FastDecayPct float64 `json:"fast_decay_pct,omitempty"`
	SlowDecayPct float64 `json:"slow_decay_pct,omitempty"`
	Target       float64 `json:"target,omitempty"`
}

// WithDefaults returns c with all fields filled in.
func (c ImplicitFilterConfig) WithDefaults() ImplicitFilterConfig {
	fillIn(&c.EmbDim, 3)
	fillIn(&c.Width, 64)
	fillIn(&c.W, 1)
	fillIn(&c.FastDecayPct, 0.3)
	fillIn(&c.SlowDecayPct, 1.5)
	fillIn(&c.Target, 1e-2)
	if c.InnerMLPs == nil {
		n := 2
		c.InnerMLPs = &n
	}
	if c.Modulate == nil {
		yes := true
		c.Modulate = &yes
	}
	return c
}

func fillIn[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// maxFilterSize bounds every number of a configuration, so that products do not overflow.
const maxFilterSize = 1 << 30

func (c *ImplicitFilterConfig) validate() error {
	for _, f := range []struct {
		key          string
		value, least int
	}{
		{"d_filter", c.Channels, 1}, {"l_max", c.LMax, 1}, {"emb_dim", c.EmbDim, 3}, {"filter_order", c.Width, 1}, {"num_inner_mlps", *c.InnerMLPs, 0},
	} {
		if f.value < f.least || f.value > maxFilterSize {
			return fmt.Errorf("nn: implicit filter: %s %d, want at least %d", f.key, f.value, f.least)
		}
	}
	if widest := max(c.Channels, c.EmbDim, c.Width); *c.InnerMLPs > 1<<10 || int64(widest) > 1<<40/int64(max(c.LMax, c.Width)) {
		return fmt.Errorf("nn: implicit filter: %d positions, width %d, %d channels, %d layers are too many elements", c.LMax, c.Width, c.Channels, *c.InnerMLPs)
	}
	if c.EmbDim%2 == 0 {
		return fmt.Errorf("nn: implicit filter: emb_dim %d is even", c.EmbDim)
	}
	for _, f := range []struct {
		key   string
		value float64
	}{{"fast_decay_pct", c.FastDecayPct}, {"slow_decay_pct", c.SlowDecayPct}, {"target", c.Target}} {
		if !(f.value > 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("nn: implicit filter: %s %v, want a positive number", f.key, f.value)
		}
	}
	if c.Target >= 1 {
		return fmt.Errorf("nn: implicit filter: target %v, want less than 1", c.Target)
	}
	for _, v := range []float64{c.W, c.Shift} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("nn: implicit filter: w %v and shift %v, want finite numbers", c.W, c.Shift)
		}
	}
	return nil
}

// An ImplicitFilter makes the taps of a long convolution from few parameters, as Hyena
// and Monarch Mixer do (arXiv:2302.10866): a network with sines for activations maps
// features of the position to the taps of all channels at that position, and a window
// makes them decay,
//
//	a    = sin(f · (W_0 z[n] + b_0))
//	a    = sin(f · (W_i a + b_i))                for each inner layer
//	h[n] = (W_out a) · (exp(-t[n]·|δ|) + Shift)
//
// where the vector f of frequencies is the same in all layers. The taps of a shorter
// filter are the first ones of a longer.
//
// The parameters have the names that they have in safari below filter_fn: pos_emb.z
// (1, LMax, EmbDim), pos_emb.t (1, LMax, 1), implicit_filter.0.weight and so on, with
// implicit_filter.1.freq (1, Width) for f, and modulation.deltas (1, 1, Channels) for δ.
// NewImplicitFilter sets z, t and δ to what they are before training. All stay float32:
// rounding them would change the filter far more than rounding the matrices of projections
// does.
//
// z, t and δ are constants (see [tensor.Tensor.SetConstant]): checkpoints hold them, and
// training leaves them alone unless it is told otherwise. t is never trained. δ is not by
// default in safari (modulation_lr 0), nor is z in HyenaDNA (lr_pos_emb 0), whereas safari
// and M2-BERT have z learn at 1e-5, some hundredth of the rate of everything else, without
// decay; so the z of a checkpoint may differ from what is made here. To train z, call
// SetConstant(false) on it and give it such a rate.
type ImplicitFilter struct {
	Z, T   *tensor.Tensor
	Hidden []*Linear
	Freq   *tensor.Tensor
	Out    *Linear
	Deltas *tensor.Tensor

	cfg ImplicitFilterConfig
}

// NewImplicitFilter returns a filter whose layers are ready to be loaded.
func NewImplicitFilter(cfg ImplicitFilterConfig) (*ImplicitFilter, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	f := &ImplicitFilter{
		Z:      tensor.New(1, cfg.LMax, cfg.EmbDim),
		T:      tensor.New(1, cfg.LMax, 1),
		Freq:   tensor.New(1, cfg.Width),
		Out:    &Linear{Weight: tensor.New(cfg.Channels, cfg.Width)},
		Deltas: tensor.New(1, 1, cfg.Channels),
		cfg:    cfg,
	}
	in := cfg.EmbDim
	for range *cfg.InnerMLPs + 1 {
		f.Hidden = append(f.Hidden, &Linear{Weight: tensor.New(cfg.Width, in), Bias: tensor.New(cfg.Width)})
		in = cfg.Width
	}
	f.setFeatures()
	for _, t := range []*tensor.Tensor{f.Z, f.T, f.Deltas} {
		t.SetConstant(true)
	}
	return f, nil
}

// setFeatures sets z, t and δ.
func (f *ImplicitFilter) setFeatures() {
	c := f.cfg
	z, bands := f.Z.Data(), (c.EmbDim-1)/2
	linspace(f.T.Data(), 0, 1)
	for n := range c.LMax {
		row := z[n*c.EmbDim : (n+1)*c.EmbDim]
		row[0] = f.T.Data()[n]
		for j := range bands {
			freq := 1e-4
			if bands > 1 {
				freq += (float64(bands-1) - 1e-4) * float64(j) / float64(bands-1)
			}
			sin, cos := math.Sincos(freq * 2 * math.Pi * float64(n) / float64(c.LMax))
			row[1+j], row[1+bands+j] = float32(cos), float32(-sin)
		}
	}
	linspace(f.Deltas.Data(), math.Log(c.Target)/c.SlowDecayPct, math.Log(c.Target)/c.FastDecayPct)
}

// linspace fills x with numbers from lo to hi at equal distances.
func linspace(x []float32, lo, hi float64) {
	for i := range x {
		x[i] = float32(lo + (hi-lo)*float64(i)/float64(max(len(x)-1, 1)))
	}
}

// Config returns the configuration with all fields filled in.
func (f *ImplicitFilter) Config() ImplicitFilterConfig { return f.cfg }

// Init draws the layers, see [Linear.Init], and sets all frequencies to W.
func (f *ImplicitFilter) Init(r *rand.Rand) {
	for _, l := range f.Hidden {
		l.Init(r)
	}
	f.Out.Init(r)
	Fill(f.Freq, float32(f.cfg.W))
}

// Params yields the parameters in the order of checkpoints.
func (f *ImplicitFilter) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []paramlist.Named{paramlist.Of("pos_emb.z", f.Z), paramlist.Of("pos_emb.t", f.T)}
	for i, l := range f.Hidden {
		list = append(list, l.weightAndBias(fmt.Sprintf("implicit_filter.%d", 2*i))...)
		if i == 0 {
			list = append(list, paramlist.Of("implicit_filter.1.freq", f.Freq))
		}
	}
	list = append(list, f.Out.weightAndBias(fmt.Sprintf("implicit_filter.%d", 2*len(f.Hidden)))...)
	return paramlist.Yield(append(list, paramlist.Of("modulation.deltas", f.Deltas))...)
}

// filterRows is the number of positions that are computed at a time.
const filterRows = 64

// Taps computes the taps of the first dst.Rows positions: row n of dst gets those of
// position n of all channels. It panics with a *tensor.ShapeError if dst has more than
// LMax rows or does not have Channels columns.
func (f *ImplicitFilter) Taps(dst tensor.Mat) {
	f.checkTaps("nn.ImplicitFilter.Taps", dst)
	par.Do(dst.Rows, filterRows, par.Func(func(lo, hi int) {
		s := tensor.GetScratch()
		defer tensor.PutScratch(s)
		for ; lo < hi; lo += filterRows {
			s.Reset()
			f.taps(dst.SliceRows(lo, min(lo+filterRows, hi)), lo, s)
		}
	}))
}

// taps computes the positions from first on.
func (f *ImplicitFilter) taps(dst tensor.Mat, first int, s *tensor.Scratch) {
	n, emb := dst.Rows, f.cfg.EmbDim
	x := tensor.MatOf(f.Z.Data()[first*emb:(first+n)*emb], n, emb)
	freq := f.Freq.Data()
	for _, l := range f.Hidden {
		y := tensor.MatOf(s.Take(n*f.cfg.Width), n, f.cfg.Width)
		l.ApplyMat(y, x)
		for i := range n {
			kernel.Mul(y.Row(i), y.Row(i), freq)
		}
		kernel.Sin(y.Data, y.Data)
		x = y
	}
	f.Out.ApplyMat(dst, x)
	window, t, shift := s.Take(f.cfg.Channels), f.T.Data()[first:], float32(f.cfg.Shift)
	for i := range n {
		row := dst.Row(i)
		if *f.cfg.Modulate {
			for c, d := range f.Deltas.Data() {
				window[c] = -t[i] * float32(math.Abs(float64(d)))
			}
			kernel.Exp(window, window)
			kernel.AddConst(window, window, shift)
			kernel.Mul(row, row, window)
		}
		if f.cfg.Normalized {
			normalise(row)
		}
	}
}

// normalise makes Σ|x| one.
func normalise(x []float32) {
	var sum float64
	for _, v := range x {
		sum += math.Abs(float64(v))
	}
	kernel.Scale(x, float32(1/sum), x)
}
