package nn

import (
	"iter"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// naiveTapGradient is the definition of TapGradient in float64. It returns the gradient of
// n taps and the largest magnitude of each channel.
func naiveTapGradient(n int, ddst, src tensor.Seq) (dh []float64, size []float64) {
	d := src.Dim
	dh, size = make([]float64, n*d), make([]float64, d)
	for b := range src.Batch {
		for lag := range n {
			for t := lag; t < src.Len; t++ {
				for c, v := range src.At(b, t-lag) {
					dh[lag*d+c] += float64(ddst.At(b, t)[c]) * float64(v)
				}
			}
		}
	}
	for i, v := range dh {
		size[i%d] = max(size[i%d], math.Abs(v))
	}
	return dh, size
}

func TestTapGradient(t *testing.T) {
	cases := [][3]int{ // positions, taps, channels
		{1, 1, 3}, {7, 9, 5}, {200, 3, 70}, {41, 41, 17}, {64, 64, 16}, {300, 45, 5}, {1000, 41, 19}, {1026, 1026, 3}, {2100, 130, 3}, {100, 60, 33},
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range cases {
			n, taps, dim := k[0], k[1], k[2]
			src, ddst := seededSeq(1, 2, n, dim), seededSeq(2, 2, n, dim)
			got := tensor.NewSeq(1, taps, dim).Mat()
			TapGradient(got, ddst, src)
			want, size := naiveTapGradient(taps, ddst, src)
			for i, w := range want {
				if d := math.Abs(float64(got.Data[i]) - w); !(d <= 4e-6*size[i%dim]) {
					t.Errorf("%d positions, %d taps, %d channels: tap %d is off by %.3g of the largest", n, taps, dim, i/dim, d/size[i%dim])
					break
				}
			}
			first := slices.Clone(got.Data)
			TapGradient(got, ddst, src)
			for i, v := range first {
				if math.Abs(float64(got.Data[i]-2*v)) > 1e-5*size[i%dim] {
					t.Errorf("%d positions, %d taps: the second call does not add", n, taps)
					break
				}
			}
		}
	})
}

// filtered is a long convolution whose taps, of one side or two, are made by filters.
type filtered struct{ fwd, back *ImplicitFilter }

func (m filtered) Dim() int { return m.fwd.cfg.Channels }

func (m filtered) conv(n int) *LongConv {
	h := tensor.NewSeq(1, n, m.Dim()).Mat()
	m.fwd.Taps(h)
	if m.back == nil {
		return NewLongConv(h)
	}
	g := tensor.NewSeq(1, n, m.Dim()).Mat()
	m.back.Taps(g)
	return NewTwoSidedConv(h, g)
}

func (m filtered) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.filtered.Mix", dst, src, m.Dim())
	m.conv(max(src.Len, 1)).Mix(dst, src)
}

func (m filtered) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for name, p := range m.fwd.Params() {
			if !yield(name, p) {
				return
			}
		}
		if m.back == nil {
			return
		}
		for name, p := range m.back.Params() {
			if !yield("back."+name, p) {
				return
			}
		}
	}
}

func (m filtered) Record(dst, src tensor.Seq) (seqmix.Tape, error) { return record(m, dst, src) }

func (m filtered) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	checkBackward("nn.filtered.Backward", dsrc, ddst, src, m.Dim())
	dh, dg := tensor.NewSeq(1, src.Len, m.Dim()).Mat(), tensor.Mat{}
	if m.back != nil {
		dg = tensor.NewSeq(1, src.Len, m.Dim()).Mat()
	}
	m.conv(src.Len).Backward(dsrc, ddst, src, dh, dg)
	m.fwd.Backward(dh, grads)
	if m.back != nil {
		m.back.Backward(dg, grads)
	}
}

func newFiltered(t *testing.T, cfg ImplicitFilterConfig, sides int) filtered {
	var list []*ImplicitFilter
	for range sides {
		f, err := NewImplicitFilter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f.Init(newRand())
		Uniform(f.Freq, newRand(), 3)
		list = append(list, f)
	}
	list = append(list, nil)
	return filtered{list[0], list[1]}
}

func TestImplicitFilterGradient(t *testing.T) {
	no, one := false, 1
	for name, k := range map[string]struct {
		cfg        ImplicitFilterConfig
		sides, len int
	}{
		"default":          {ImplicitFilterConfig{Channels: 3, LMax: 30, Width: 5}, 1, 13},
		"two sides":        {ImplicitFilterConfig{Channels: 3, LMax: 20, Width: 4, EmbDim: 5}, 2, 13},
		"normalised":       {ImplicitFilterConfig{Channels: 4, LMax: 13, Width: 4, Normalized: true, Shift: 0.1}, 1, 13},
		"without a window": {ImplicitFilterConfig{Channels: 4, LMax: 13, Width: 4, Modulate: &no, InnerMLPs: &one}, 1, 13},
		"by transforms":    {ImplicitFilterConfig{Channels: 2, LMax: 200, Width: 4}, 1, 150},
	} {
		t.Run(name, func(t *testing.T) {
			if err := mixtest.Test(newFiltered(t, k.cfg, k.sides), mixtest.Options{Len: k.len}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestImplicitFilterGradientParts compares the gradient of many positions with the sum of
// those of each alone.
func TestImplicitFilterGradientParts(t *testing.T) {
	const n = filterGradRows + 70
	f := newFiltered(t, ImplicitFilterConfig{Channels: 3, LMax: n, Width: 4}, 1)
	for _, p := range f.Params() {
		p.SetConstant(false) // as one who trains the features of positions does
	}
	dh := seededSeq(3, 1, n, 3).Mat()
	got, want := seqmix.NewGrads(f), seqmix.NewGrads(f)
	f.fwd.Backward(dh, got)
	for i := range n {
		g := filterGrad{filter: f.fwd, grads: want, first: i, rows: 1, scratch: new(tensor.Scratch)}
		g.run(dh.SliceRows(i, i+1))
	}
	for name, p := range f.Params() {
		g, w := got.Of(p), want.Of(p)
		var size float64
		for _, v := range w {
			size = max(size, math.Abs(float64(v)))
		}
		for i := range g {
			if d := math.Abs(float64(g[i] - w[i])); !(d <= 2e-5*size) {
				t.Errorf("%s: element %d is %v, want %v", name, i, g[i], w[i])
				break
			}
		}
	}
}
