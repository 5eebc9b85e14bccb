package hyena

import (
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Hyena is the operator of Hyena (arXiv:2302.10866; HyenaOperator in safari and
// hyena-dna): products of projections of the input, between which run convolutions with
// implicit filters as long as the sequence. With src of width d, e = d·InnerFactor and
// order N,
//
//	x_0, …, x_{N-1}, v = split(shortconv(W_in · src))     e each, K taps for each channel
//	v = h_o ∗ (v · x_{N-1-o}) + D_o · (v · x_{N-1-o})      for o = 0 … N-2
//	dst = W_out · act(v · x_0)
//
// The paper counts one convolution more than there is here and in all published code.
// The filters h_o come from an [nn.ImplicitFilter] with LMax taps, so no sequence can
// be longer: Mix panics with a *tensor.ShapeError.
//
// Its parameters are in_proj.weight ((N+1)e, d), in_proj.bias, short_filter.weight
// ((N+1)e, 1, K), short_filter.bias, filter_fn.bias ((N-1)e) for D, those of the implicit
// filter with filter_fn. in front, out_proj.weight (d, e) and out_proj.bias.
//
// A stream computes the same without approximation: see [Stream]. For one with a state
// of fixed size see [Hyena.Distill].
type Hyena struct {
	cfg     Config
	in, out *nn.Linear
	short   *nn.CausalConv1D
	filter  *nn.ImplicitFilter
	d       *tensor.Tensor
	banks   memo.Memo[*bank]
}

// New returns a mixer whose parameters are ready to be loaded; see [Hyena.Init].
func New(cfg Config) (*Hyena, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	filter, err := nn.NewImplicitFilter(cfg.filter())
	if err != nil {
		return nil, fmt.Errorf("hyena: %w", err)
	}
	cfg.complete(filter.Config())
	e, n := cfg.channels(), cfg.Order
	return &Hyena{
		cfg:    cfg,
		in:     nn.NewLinear(cfg.DModel, (n+1)*e, true),
		short:  nn.NewCausalConv1D((n+1)*e, cfg.ShortFilter, true, nn.Identity),
		filter: filter,
		d:      tensor.New((n - 1) * e),
		out:    nn.NewLinear(e, cfg.DModel, true),
	}, nil
}

// Config returns the configuration with all fields filled in.
func (m *Hyena) Config() Config { return m.cfg }

// Filter returns the implicit filter. It is the mixer's own.
func (m *Hyena) Filter() *nn.ImplicitFilter { return m.filter }

// Dim returns the width of the vectors.
func (m *Hyena) Dim() int { return m.cfg.DModel }

// Init draws the parameters as the layers of safari are made: linear layers and the
// short convolution evenly (see [nn.Linear.Init]), D from a normal distribution.
func (m *Hyena) Init(r *rand.Rand) {
	m.in.Init(r)
	m.short.Init(r)
	nn.Normal(m.d, r, 1)
	m.filter.Init(r)
	m.out.Init(r)
}

// Params yields the parameters in the order of checkpoints.
func (m *Hyena) Params() iter.Seq2[string, *tensor.Tensor] {
	return prefixed(
		prefixedParams{"in_proj.", m.in.Params()},
		prefixedParams{"short_filter.", m.short.Params()},
		prefixedParams{"filter_fn.", paramlist.Yield(paramlist.Of("bias", m.d))},
		prefixedParams{"filter_fn.", m.filter.Params()},
		prefixedParams{"out_proj.", m.out.Params()},
	)
}

// A bank holds the long convolutions of a mixer, for as many taps as were needed so far.
type bank struct {
	m     *Hyena
	convs atomic.Pointer[[]*nn.LongConv]
	mu    sync.Mutex // held while convs are made
}

// bank returns the long convolutions for the present parameters.
func (m *Hyena) bank() *bank {
	params := []*tensor.Tensor{m.d}
	for _, p := range m.filter.Params() {
		params = append(params, p)
	}
	return m.banks.Get(func() *bank { return &bank{m: m} }, params...)
}

// shortest is how many taps a bank has at the least: filters are made anew when longer
// ones are needed, at least twice as long.
const shortest = 1024

const defaultCacheLimit = 256 << 20

// upTo returns the convolutions, for sequences of up to n positions. Those that are too
// large to be kept are made for the caller only.
func (b *bank) upTo(n int) []*nn.LongConv {
	if c := b.convs.Load(); c != nil && (*c)[0].Taps() >= n {
		return *c
	}
	taps := min(b.m.cfg.LMax, max(shortest, 1<<bits.Len(uint(n-1))))
	limit := b.m.cfg.CacheLimit
	if limit == 0 {
		limit = defaultCacheLimit
	}
	if 4*taps*b.m.d.Len() > limit {
		return b.m.convs(min(n, taps))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.convs.Load(); c != nil && (*c)[0].Taps() >= n {
		return *c
	}
	c := b.m.convs(taps)
	b.convs.Store(&c)
	return c
}

// convs returns the long convolutions with so many taps. D is part of the first one.
func (m *Hyena) convs(taps int) []*nn.LongConv {
	e, n := m.cfg.channels(), m.cfg.Order-1
	h := m.taps(taps)
	kernel.Add(h.Row(0), h.Row(0), m.d.Data())
	list := make([]*nn.LongConv, n)
	for o := range list {
		part := h.Slice(o*e, (o+1)*e)
		if m.cfg.Layout == ChannelMajor && n > 1 {
			part = everyNth(h, o, n)
		}
		list[o] = nn.NewLongConv(part)
		list[o].CacheLimit = m.cfg.CacheLimit
	}
	return list
}

// taps returns the first taps of the implicit filter.
func (m *Hyena) taps(n int) tensor.Mat {
	channels := m.filter.Config().Channels
	h := tensor.MatOf(make([]float32, n*channels), n, channels)
	m.filter.Taps(h)
	return h
}

// everyNth returns columns first, first+n, first+2n … of a matrix.
func everyNth(h tensor.Mat, first, n int) tensor.Mat {
	cols := h.Cols / n
	part := tensor.MatOf(make([]float32, h.Rows*cols), h.Rows, cols)
	for i := range h.Rows {
		row := part.Row(i)
		for c := range row {
			row[c] = h.Row(i)[c*n+first]
		}
	}
	return part
}

// wholeConvs convolves whole sequences.
type wholeConvs []*nn.LongConv

func (w wholeConvs) convolve(o int, x tensor.Seq) { w[o].Mix(x, x) }

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they have more
// than LMax positions.
func (m *Hyena) Mix(dst, src tensor.Seq) {
	const op = "hyena.Hyena.Mix"
	tensor.CheckMix(op, dst, src, m.Dim())
	m.checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	short, err := m.short.NewStream(src.Batch)
	if err != nil {
		panic(err) // it always streams
	}
	s := tensor.GetScratch()
	m.operate(dst, src, short, wholeConvs(m.bank().upTo(src.Len)), s)
	tensor.PutScratch(s)
}

// checkLen panics if src has more than so many positions.
func (m *Hyena) checkLen(op string, src tensor.Seq, most int) {
	if src.Len > most {
		panic(&tensor.ShapeError{Op: op, Got: []int{src.Batch, src.Len, src.Dim}, Want: []int{src.Batch, most, src.Dim}})
	}
}

// NewStream returns a *[Stream] at the beginning of batch sequences of up to LMax
// positions.
func (m *Hyena) NewStream(batch int) (seqmix.Stream, error) {
	return m.StreamUpTo(batch, m.cfg.LMax)
}
