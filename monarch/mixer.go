package monarch

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// shortTaps is the number of taps of the short convolution, which is causal whether or not
// the mixer is.
const shortTaps = 3

// normEps is ε of the norm in front, which does not depend on the model's.
const normEps = 1e-5

// A Mixer is the sequence mixer of Monarch Mixer as M2-BERT has it (arXiv:2310.12109,
// MonarchMixerSequenceMixing of HazyResearch/m2): products of projections with a long
// convolution between them, and another one of the input itself in place of a residual
// connection. With src of width d,
//
//	u         = src, or LayerNorm(src)                  see MixerConfig.Norm
//	x1, x2, v = split(shortconv(W_in · u))              d each, three taps for each channel
//	y         = x2 · (k ∗ (v · x1) + D · (v · x1))
//	r         = k2 ∗ u + D2 · u                         unless MixerConfig.Residual is false
//	dst       = W_out · (y + r)
//
// The Monarch matrices are the discrete Fourier transforms that compute the convolutions:
// there is nothing of them in the parameters. Each filter k consists of a part for
// the inputs up to a position and, if the mixer is bidirectional, one for those after it,
//
//	(k ∗ x)[t] = Σ_{s≤t} h[t-s]·x[s] + Σ_{s>t} g[s-t-1]·x[s]
//
// both of them implicit, see [nn.ImplicitFilter]. They have LMax taps, so no sequence can be
// longer: Mix panics with a *tensor.ShapeError. There is no mask: what pads a
// sequence is convolved too, so a shorter one has another result than a padded one.
//
// Its parameters are in_linear.weight (3d, d), in_linear.bias (3d), out_linear.weight
// (d, d), out_linear.bias (d), short_filter.weight (3d, 1, 3), short_filter.bias (3d) and,
// depending on the configuration, layernorm.weight (d) and layernorm.bias (d). Below filter_fn
// and, for the convolution of the input, filter_fn2 there are bias (d), which is D, the parameters
// of a [nn.ImplicitFilter], and the layers of the network for the other side as
// implicit_filter_rev. The frequencies are one tensor for all layers and both sides of a filter.
//
// A causal mixer streams without approximation: see [MixerStream].
type Mixer struct {
	cfg       MixerConfig
	norm      *nn.LayerNorm // nil without one
	in, out   *nn.Linear
	short     *nn.CausalConv1D
	main      *filter
	secondary *filter // nil without a convolution of the input
}

// NewMixer returns a mixer whose parameters are ready to be loaded; see [Mixer.Init].
func NewMixer(cfg MixerConfig) (*Mixer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := cfg.Dim
	m := &Mixer{
		cfg:   cfg,
		in:    nn.NewLinear(d, 3*d, true),
		out:   nn.NewLinear(d, d, true),
		short: nn.NewCausalConv1D(3*d, shortTaps, true, nn.Identity),
	}
	if cfg.Norm {
		m.norm = nn.NewLayerNorm(d, normEps)
	}
	var err error
	if m.main, err = newFilter(&cfg); err == nil && *cfg.Residual {
		m.secondary, err = newFilter(&cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("monarch: %w", err)
	}
	return m, nil
}

// Config returns the configuration with all fields filled in.
func (m *Mixer) Config() MixerConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *Mixer) Dim() int { return m.cfg.Dim }

// Init draws the parameters as the modules of M2-BERT do by themselves: linear layers and
// the short convolution evenly (see nn.Linear.Init), D from a normal distribution.
func (m *Mixer) Init(r *rand.Rand) {
	m.in.Init(r)
	m.out.Init(r)
	m.short.Init(r)
	for _, f := range m.filters() {
		f.init(r)
	}
}

// filters returns the filters that there are.
func (m *Mixer) filters() []*filter {
	if m.secondary == nil {
		return []*filter{m.main}
	}
	return []*filter{m.main, m.secondary}
}

// Params yields the parameters.
func (m *Mixer) Params() iter.Seq2[string, *tensor.Tensor] {
	list := slices.Concat(prefixed("in_linear.", m.in.Params()), prefixed("out_linear.", m.out.Params()))
	if m.norm != nil {
		list = append(list, prefixed("layernorm.", m.norm.Params())...)
	}
	list = append(list, prefixed("short_filter.", m.short.Params())...)
	for i, f := range m.filters() {
		list = append(list, prefixed([]string{"filter_fn.", "filter_fn2."}[i], f.all())...)
	}
	return paramlist.Yield(list...)
}

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they have more
// than LMax positions.
func (m *Mixer) Mix(dst, src tensor.Seq) {
	const op = "monarch.Mixer.Mix"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	short, err := m.short.NewStream(src.Batch)
	if err != nil {
		panic(err) // it always streams
	}
	var convs [2]mixable
	for i, f := range m.filters() {
		convs[i] = f.bank().upTo(src.Len)
	}
	s := tensor.GetScratch()
	m.mix(dst, src, short, convs, s)
	tensor.PutScratch(s)
}

// checkLen panics if src has more than so many positions.
func checkLen(op string, src tensor.Seq, most int) {
	if src.Len > most {
		panic(&tensor.ShapeError{Op: op, Got: []int{src.Batch, src.Len, src.Dim}, Want: []int{src.Batch, most, src.Dim}})
	}
}

// A mixable computes a sequence, or the next positions of one.
type mixable interface{ Mix(dst, src tensor.Seq) }

// blockRows is how many positions of all sequences go through the projections at a time:
// enough for the products to be efficient, few enough for what lies between them to stay
// in the cache.
const blockRows = 256

// mix computes the mixer with the short and the long convolutions given, of whole
// sequences or of streams.
func (m *Mixer) mix(dst, src tensor.Seq, short mixable, long [2]mixable, s *tensor.Scratch) {
	d := m.cfg.Dim
	y := s.TakeSeq(src.Batch, src.Len, d)
	x2 := s.TakeSeq(src.Batch, src.Len, d)
	u := src
	if m.norm != nil {
		u = s.TakeSeq(src.Batch, src.Len, d)
		m.norm.Mix(u, src)
	}
	m.project(y, x2, u, short, s)
	long[0].Mix(y, y)
	gateRows(y.Mat(), y.Mat(), x2.Mat())
	if m.secondary != nil {
		r := x2
		long[1].Mix(r, u)
		tensor.AddSeq(y, y, r)
	}
	if out := rowsOf(dst); out.Data != nil {
		m.out.ApplyMat(out, y.Mat())
		return
	}
	m.out.ApplyMat(x2.Mat(), y.Mat())
	tensor.Copy(dst, x2)
}

// project computes v·x1 and x2 at all positions.
func (m *Mixer) project(v, x2, u tensor.Seq, short mixable, s *tensor.Scratch) {
	d := m.cfg.Dim
	step := min(max(1, blockRows/u.Batch), u.Len)
	room, rows := s.Take(u.Batch*step*3*d), s.Take(u.Batch*step*d)
	for t := 0; t < u.Len; t += step {
		end := min(t+step, u.Len)
		n := end - t
		part := u.Slice(t, end)
		in := rowsOf(part)
		if in.Data == nil {
			c := tensor.SeqOf(rows[:u.Batch*n*d], u.Batch, n, d)
			tensor.Copy(c, part)
			in = c.Mat()
		}
		z := tensor.SeqOf(room[:u.Batch*n*3*d], u.Batch, n, 3*d)
		m.in.ApplyMat(z.Mat(), in)
		short.Mix(z, z)
		for b := range u.Batch {
			p := z.Sequence(b).Mat()
			gateRows(v.Sequence(b).Slice(t, end).Mat(), p.Slice(0, d), p.Slice(2*d, 3*d))
			for i := range n {
				copy(x2.At(b, t+i), p.Row(i)[d:2*d])
			}
		}
	}
}

// rowsOf returns all positions of s as the rows of one matrix, if the memory allows, and
// a matrix without data if not.
func rowsOf(s tensor.Seq) tensor.Mat {
	switch {
	case s.Contiguous():
		return s.Mat()
	case s.Len == 1:
		return tensor.Mat{Data: s.Data, Rows: s.Batch, Cols: s.Dim, Stride: s.Stride}
	}
	return tensor.Mat{}
}
