package monarch

import (
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A filter is the long convolution of a [Mixer], with implicit taps: those for the inputs
// before a position and, if it has two sides, those for the ones after it,
//
//	y[t] = Σ_{s≤t} h[t-s]·x[s] + Σ_{s>t} g[s-t-1]·x[s] + D·x[t]
//
// The two networks that make h and g share z, t, δ and the frequencies.
type filter struct {
	d        *tensor.Tensor // (Dim)
	fwd, rev *nn.ImplicitFilter
	wMod     float32
	limit    int // of the cache
	banks    memo.Memo[*bank]
}

func newFilter(cfg *MixerConfig) (*filter, error) {
	f := &filter{d: tensor.New(cfg.Dim), wMod: float32(cfg.WMod), limit: cfg.CacheLimit}
	var err error
	if f.fwd, err = nn.NewImplicitFilter(cfg.filter()); err != nil || !*cfg.Bidirectional {
		return f, err
	}
	if f.rev, err = nn.NewImplicitFilter(cfg.filter()); err != nil {
		return nil, err
	}
	f.rev.Z, f.rev.T, f.rev.Freq, f.rev.Deltas = f.fwd.Z, f.fwd.T, f.fwd.Freq, f.fwd.Deltas
	return f, nil
}

// init draws the parameters as the modules of M2-BERT do by themselves.
func (f *filter) init(r *rand.Rand) {
	nn.Normal(f.d, r, 1)
	f.fwd.Init(r)
	if f.rev != nil {
		f.rev.Init(r)
	}
}

// params returns the parameters, D first and those that both networks share only once.
func (f *filter) params() []paramlist.Named {
	list := []paramlist.Named{paramlist.Of("bias", f.d)}
	list = append(list, prefixed("", f.fwd.Params())...)
	if f.rev == nil {
		return list
	}
	for _, p := range prefixed("", f.rev.Params()) {
		if shared := slices.ContainsFunc(list, func(q paramlist.Named) bool { return q.Param == p.Param }); !shared {
			p.Name = strings.Replace(p.Name, "implicit_filter.", "implicit_filter_rev.", 1)
			list = append(list, p)
		}
	}
	return list
}

func (f *filter) all() iter.Seq2[string, *tensor.Tensor] { return paramlist.Yield(f.params()...) }

// A bank holds the convolution of a filter, for as many taps as were needed so far.
type bank struct {
	filter *filter
	conv   atomic.Pointer[nn.LongConv]
	mu     sync.Mutex // held while conv is made
}

// bank returns the convolution for the present parameters.
func (f *filter) bank() *bank {
	var params []*tensor.Tensor
	for _, p := range f.params() {
		params = append(params, p.Param)
	}
	return f.banks.Get(func() *bank { return &bank{filter: f} }, params...)
}

// shortest is how many taps a convolution has at the least: filters are made anew when
// longer ones are needed, at least twice as long.
const shortest = 512

// upTo returns a convolution for sequences of up to n positions.
func (b *bank) upTo(n int) *nn.LongConv {
	if c := b.conv.Load(); c != nil && c.Taps() >= n {
		return c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.conv.Load(); c != nil && c.Taps() >= n {
		return c
	}
	most := b.filter.fwd.Config().LMax
	c := b.filter.convolution(min(most, max(shortest, 1<<bits.Len(uint(n-1)))))
	b.conv.Store(c)
	return c
}

// convolution returns the convolution with so many taps. D is part of the first one.
func (f *filter) convolution(n int) *nn.LongConv {
	channels := len(f.d.Data())
	h := tensor.MatOf(make([]float32, n*channels), n, channels)
	f.taps(h, f.fwd)
	kernel.Add(h.Row(0), h.Row(0), f.d.Data())
	if f.rev == nil {
		c := nn.NewLongConv(h)
		c.CacheLimit = f.limit
		return c
	}
	// Lag 0 has one tap, and the last one of the other side is never used.
	g := tensor.MatOf(make([]float32, n*channels), n, channels)
	f.taps(g.SliceRows(1, n), f.rev)
	c := nn.NewTwoSidedConv(h, g)
	c.CacheLimit = f.limit
	return c
}

// taps computes the taps of one side.
func (f *filter) taps(dst tensor.Mat, network *nn.ImplicitFilter) {
	if f.wMod != 1 {
		network = f.scaled(network)
	}
	network.Taps(dst)
}

// scaled returns the network with its frequencies multiplied.
func (f *filter) scaled(network *nn.ImplicitFilter) *nn.ImplicitFilter {
	scaled := *network
	scaled.Freq = tensor.New(network.Freq.Shape()...)
	kernel.Scale(scaled.Freq.Data(), f.wMod, network.Freq.Data())
	return &scaled
}
