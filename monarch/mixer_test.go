package monarch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

var mixerConfigs = map[string]monarch.MixerConfig{
	"M2-BERT":            {Dim: 6, LMax: 700},
	"with a norm":        {Dim: 7, LMax: 300, Norm: true, Width: 9},
	"no residual":        {Dim: 5, LMax: 64, Residual: new(false), WMod: 0.5, Width: 4},
	"causal":             {Dim: 6, LMax: 700, Bidirectional: new(false), Width: 16},
	"causal, norm":       {Dim: 3, LMax: 300, Bidirectional: new(false), Norm: true, EmbDim: 3, Width: 7},
	"causal, no residue": {Dim: 40, LMax: 300, Bidirectional: new(false), Residual: new(false), Width: 8, W: 1},
}

// newMixer returns a mixer with random parameters.
func newMixer(t testing.TB, cfg monarch.MixerConfig, seed uint64) *monarch.Mixer {
	t.Helper()
	m, err := monarch.NewMixer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	for name, p := range m.Params() {
		switch name {
		case "layernorm.weight", "layernorm.bias":
			randomize(r, p, 1)
		case "filter_fn.modulation.deltas", "filter_fn2.modulation.deltas", "filter_fn.pos_emb.z", "filter_fn2.pos_emb.z":
			for i := range p.Data() {
				p.Data()[i] += float32(0.1 * r.NormFloat64())
			}
		case "filter_fn.implicit_filter.1.freq", "filter_fn2.implicit_filter.1.freq":
			for i := range p.Data() {
				p.Data()[i] = float32(1 + r.Float64()) // so that float32 taps are good ones
			}
		}
	}
	return m
}

// naiveMixer computes one sequence by the definition, in float64.
func naiveMixer(m *monarch.Mixer, src tensor.Seq) []float64 {
	c := m.Config()
	d, n := c.Dim, src.Len
	p := map[string][]float64{}
	for name, t := range m.Params() {
		for _, v := range t.Float32s() {
			p[name] = append(p[name], float64(v))
		}
	}
	linear := func(w, b, x []float64) []float64 {
		y := make([]float64, len(w)/len(x))
		copy(y, b)
		for i := range y {
			for j, v := range x {
				y[i] += w[i*len(x)+j] * v
			}
		}
		return y
	}
	// taps returns those of all channels for every lag.
	taps := func(filter, network string) [][]float64 {
		h := make([][]float64, n)
		for i := range h {
			a := p[filter+".pos_emb.z"][i*c.EmbDim : (i+1)*c.EmbDim]
			for layer := 0; layer < 6; layer += 2 {
				at := fmt.Sprintf("%s.%s.%d", filter, network, layer)
				a = linear(p[at+".weight"], p[at+".bias"], a)
				for j, f := range p[filter+".implicit_filter.1.freq"] {
					a[j] = math.Sin(c.WMod * f * a[j])
				}
			}
			h[i] = linear(p[filter+"."+network+".6.weight"], nil, a)
			for j, delta := range p[filter+".modulation.deltas"] {
				h[i][j] *= math.Exp(-p[filter+".pos_emb.t"][i] * math.Abs(delta))
			}
		}
		return h
	}
	convolve := func(filter string, x [][]float64) [][]float64 {
		h := taps(filter, "implicit_filter")
		var g [][]float64
		if *c.Bidirectional {
			g = taps(filter, "implicit_filter_rev")
		}
		y := make([][]float64, n)
		for t := range y {
			y[t] = make([]float64, d)
			for ch := range d {
				y[t][ch] = p[filter+".bias"][ch] * x[t][ch]
				for s := range n {
					if s <= t {
						y[t][ch] += h[t-s][ch] * x[s][ch]
					} else if g != nil {
						y[t][ch] += g[s-t-1][ch] * x[s][ch]
					}
				}
			}
		}
		return y
	}
	u, z, v := make([][]float64, n), make([][]float64, n), make([][]float64, n)
	for t := range u {
		for _, x := range src.At(0, t) {
			u[t] = append(u[t], float64(x))
		}
		if c.Norm {
			u[t] = layerNorm(u[t], p["layernorm.weight"], p["layernorm.bias"])
		}
		z[t] = linear(p["in_linear.weight"], p["in_linear.bias"], u[t])
		v[t] = make([]float64, d)
	}
	x2 := make([][]float64, n)
	for t := range z {
		short := slices.Clone(p["short_filter.bias"])
		for ch := range short {
			for k := range 3 {
				if t-2+k >= 0 {
					short[ch] += p["short_filter.weight"][ch*3+k] * z[t-2+k][ch]
				}
			}
		}
		for ch := range d {
			v[t][ch] = short[ch] * short[2*d+ch]
		}
		x2[t] = short[d : 2*d]
	}
	y := convolve("filter_fn", v)
	var r [][]float64
	if *c.Residual {
		r = convolve("filter_fn2", u)
	}
	var dst []float64
	for t := range y {
		for ch := range d {
			y[t][ch] *= x2[t][ch]
			if r != nil {
				y[t][ch] += r[t][ch]
			}
		}
		dst = append(dst, linear(p["out_linear.weight"], p["out_linear.bias"], y[t])...)
	}
	return dst
}

func layerNorm(x, w, b []float64) []float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = (v-mean)/math.Sqrt(square+1e-5)*w[i] + b[i]
	}
	return y
}

func randomSeq(seed uint64, batch, length, dim int) tensor.Seq {
	return tensor.SeqOf(randomMat(newRand(seed), batch*length, dim).Data, batch, length, dim)
}

func TestMixerAgainstDefinition(t *testing.T) {
	for name, cfg := range mixerConfigs {
		m := newMixer(t, cfg, 1)
		for _, length := range []int{1, 2, 7, 64, cfg.LMax} {
			src := randomSeq(uint64(length), 2, length, cfg.Dim)
			dst := tensor.NewSeq(2, length, cfg.Dim)
			m.Mix(dst, src)
			for b := range 2 {
				wantClose(t, fmt.Sprintf("%s, length %d", name, length), dst.Sequence(b).Data, naiveMixer(m, src.Sequence(b)), 5e-6)
			}
		}
	}
}

func TestMixerContract(t *testing.T) {
	for name, cfg := range mixerConfigs {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 2, Len: 64}, {Batch: 1, Len: 150}}) {
			if o.Len > cfg.LMax {
				continue
			}
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				m := newMixer(t, cfg, 2)
				err := mixtest.TestMixer(m, o)
				if !*m.Config().Bidirectional {
					err = errors.Join(err, mixtest.TestStreamer(m, o))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestMixerGradient has fewer taps, which finite differences make anew every time.
func TestMixerGradient(t *testing.T) {
	for name, cfg := range mixerConfigs {
		cfg.LMax, cfg.Dim, cfg.Width = 16, min(cfg.Dim, 6), 5
		if err := mixtest.TestTrainer(newMixer(t, cfg, 2), mixtest.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := monarch.MixerConfig{Dim: 2, LMax: 70, Width: 3, Residual: new(false)}
	if err := mixtest.TestTrainer(newMixer(t, long, 2), mixtest.Options{Len: 70}); err != nil {
		t.Errorf("by transforms: %v", err)
	}
}

func TestBidirectionalDoesNotStream(t *testing.T) {
	m := newMixer(t, mixerConfigs["M2-BERT"], 1)
	if _, err := m.NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewStream: %v, want errors.ErrUnsupported", err)
	}
	if _, err := seqmix.NewStream(m, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("seqmix.NewStream: %v, want errors.ErrUnsupported", err)
	}
}

// Changing the input at one position changes outputs before it if the mixer is
// bidirectional, and only then.
func TestMixerCausality(t *testing.T) {
	for name, cfg := range mixerConfigs {
		m := newMixer(t, cfg, 3)
		src := randomSeq(1, 1, 50, cfg.Dim)
		before, after := tensor.NewSeq(1, 50, cfg.Dim), tensor.NewSeq(1, 50, cfg.Dim)
		m.Mix(before, src)
		const at = 30
		src.At(0, at)[0]++
		m.Mix(after, src)
		change := relError(after.Slice(0, at).Data, before.Slice(0, at).Data)
		if *m.Config().Bidirectional && change < 1e-4 {
			t.Errorf("%s: earlier outputs change by %g only", name, change)
		} else if !*m.Config().Bidirectional && change > 1e-6 {
			t.Errorf("%s: earlier outputs change by %g", name, change)
		}
		if later := relError(after.Slice(at, 50).Data, before.Slice(at, 50).Data); later < 1e-4 {
			t.Errorf("%s: later outputs change by %g only", name, later)
		}
	}
}

// A stream computes what Mix does at lengths far beyond those of the contract test.
func TestMixerStreamLong(t *testing.T) {
	cfg := monarch.MixerConfig{Dim: 20, LMax: 5000, Bidirectional: new(false), Width: 8}
	m := newMixer(t, cfg, 4)
	src := randomSeq(5, 2, 3000, cfg.Dim)
	want, got := tensor.NewSeq(2, 3000, cfg.Dim), tensor.NewSeq(2, 3000, cfg.Dim)
	m.Mix(want, src)
	s, err := m.StreamUpTo(2, 3000)
	if err != nil {
		t.Fatal(err)
	}
	for from, i := 0, 0; from < 3000; i++ {
		to := min(from+[]int{1, 3, 64, 1, 700, 129}[i%6], 3000)
		s.Mix(got.Slice(from, to), src.Slice(from, to))
		from = to
	}
	wantClose(t, "stream", got.Data, want.Data, 5e-6)
	defer func() {
		if _, ok := recover().(*tensor.ShapeError); !ok {
			t.Error("a position beyond the limit: no ShapeError")
		}
	}()
	s.Mix(got.Slice(0, 1), src.Slice(0, 1))
}

// The last tap of the filter for later inputs is never used, that of the other one is.
func TestMixerLastTap(t *testing.T) {
	m := newMixer(t, monarch.MixerConfig{Dim: 2, LMax: 8, Width: 3}, 5)
	src := randomSeq(1, 1, 8, 2)
	params := maps.Collect(m.Params())
	run := func() []float32 {
		dst := tensor.NewSeq(1, 8, 2)
		m.Mix(dst, src)
		return dst.Data
	}
	before := run()
	// The features of the last position make the last taps of both sides.
	z := params["filter_fn.pos_emb.z"].Data()
	z[7*5]++
	naive := naiveMixer(m, src)
	after := run()
	wantClose(t, "after a change of the last features", after, naive, 5e-6)
	if slices.Equal(before[14:], after[14:]) {
		t.Error("the last forward tap is not used")
	}
	if e := relError(after[:14], before[:14]); e > 1e-6 {
		t.Errorf("positions before the last change by %g: the last backward tap is used", e)
	}
}

func TestMixerConfigJSON(t *testing.T) {
	var cfg monarch.MixerConfig
	text := `{"hidden_size": 16, "long_conv_l_max": 24, "bidirectional": true, "residual_long_conv": true,
		"hyena_training_additions": false, "hyena_emb_dim": 5, "hyena_filter_order": 12, "hyena_w": 10, "hyena_w_mod": 1}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	m, err := monarch.NewMixer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]string{}
	for name, p := range m.Params() {
		sizes[name] = fmt.Sprint(p.Shape())
	}
	for name, want := range map[string]string{
		"in_linear.weight": "[48 16]", "short_filter.weight": "[48 1 3]", "filter_fn.bias": "[16]", "filter_fn.pos_emb.z": "[1 24 5]",
		"filter_fn2.implicit_filter.1.freq": "[1 12]", "filter_fn2.implicit_filter_rev.6.weight": "[16 12]", "filter_fn.modulation.deltas": "[1 1 16]",
	} {
		if sizes[name] != want {
			t.Errorf("%s has shape %q, want %s", name, sizes[name], want)
		}
	}
	if len(sizes) != 6+2*(1+2+7+1+1+7) {
		t.Errorf("%d parameters", len(sizes))
	}
	for _, bad := range []monarch.MixerConfig{{}, {Dim: 3}, {LMax: 3}, {Dim: -1, LMax: 4}, {Dim: 2, LMax: 4, EmbDim: 4}, {Dim: 2, LMax: 4, Width: -3}, {Dim: 2, LMax: 4, WMod: math.NaN()}} {
		if _, err := monarch.NewMixer(bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
