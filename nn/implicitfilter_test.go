package nn

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// naiveFilter is the definition of an ImplicitFilter in float64.
func naiveFilter(f *ImplicitFilter, n int) [][]float64 {
	c := f.Config()
	out := make([][]float64, n)
	for t := range out {
		x := float64sOf(f.Z.Data()[t*c.EmbDim : (t+1)*c.EmbDim])
		for _, l := range f.Hidden {
			x = naiveLinear(l, x)
			for i := range x {
				x[i] = math.Sin(float64(f.Freq.Data()[i]) * x[i])
			}
		}
		x = naiveLinear(f.Out, x)
		sum := 0.0
		for i := range x {
			if *c.Modulate {
				x[i] *= math.Exp(-float64(f.T.Data()[t])*math.Abs(float64(f.Deltas.Data()[i]))) + c.Shift
			}
			sum += math.Abs(x[i])
		}
		for i := range x {
			if c.Normalized {
				x[i] /= sum
			}
		}
		out[t] = x
	}
	return out
}

func float64sOf(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func naiveLinear(l *Linear, x []float64) []float64 {
	y := make([]float64, l.Out())
	w := l.Weight.Float32s()
	for o := range y {
		if l.Bias != nil {
			y[o] = float64(l.Bias.Data()[o])
		}
		for i, v := range x {
			y[o] += float64(w[o*len(x)+i]) * v
		}
	}
	return y
}

func newFilter(t *testing.T, cfg ImplicitFilterConfig) *ImplicitFilter {
	f, err := NewImplicitFilter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Init(newRand())
	return f
}

func TestImplicitFilter(t *testing.T) {
	no, one, none := false, 1, 0
	for _, cfg := range []ImplicitFilterConfig{
		{Channels: 5, LMax: 200, EmbDim: 5, Width: 24, W: 10},
		{Channels: 3, LMax: 70, Shift: 0.05},
		{Channels: 4, LMax: 64, Modulate: &no, InnerMLPs: &one},
		{Channels: 4, LMax: 9, Normalized: true, InnerMLPs: &none, EmbDim: 33},
		{Channels: 1, LMax: 1},
	} {
		f := newFilter(t, cfg)
		for _, n := range []int{1, cfg.LMax / 3, cfg.LMax} {
			got := tensor.MatOf(make([]float32, n*cfg.Channels), n, cfg.Channels)
			f.Taps(got)
			size, worst := 0.0, 0.0
			for i, want := range naiveFilter(f, n) {
				for c, w := range want {
					size, worst = max(size, math.Abs(w)), max(worst, math.Abs(w-float64(got.Row(i)[c])))
				}
			}
			// Each layer multiplies the rounding errors before it by about W.
			if worst > 1e-6*max(f.cfg.W, 1)*size {
				t.Errorf("%+v: %d positions: error %.3g", cfg, n, worst/max(size, 1e-30))
			}
		}
	}
}

// The taps of a network whose parameters follow a rule, from an independent program in
// float64 (spec/hyena.md, T1).
func TestImplicitFilterValues(t *testing.T) {
	rule := func(l *Linear, layer int) {
		w := l.Weight.Data()
		for i := range w {
			w[i] = float32((7*i+5*layer+3)%13-6) / 16
		}
		if l.Bias != nil {
			for o := range l.Bias.Data() {
				l.Bias.Data()[o] = float32((7*o+5*(layer+10)+3)%13-6) / 16
			}
		}
	}
	for _, c := range []struct {
		emb   int
		shift float64
		want  map[int][]float64
	}{
		{3, 0, map[int][]float64{0: {.284693079, -.144295219, -.190890541}, 1: {.293059862, -.008441738, -.034262217}, 2: {-.314703215, .014764965, .004968205}, 7: {.003993457, .000047893, .000000053}}},
		{5, 0, map[int][]float64{0: {.305827628, .196825744, -.133689268}, 1: {.432120843, -.061805846, -.036091815}, 7: {-.032626178, .000015936, .000000049}}},
		{5, 0.05, map[int][]float64{0: {.321119009, .206667031, -.140373731}, 7: {-.067771662, .007983821, .011392237}}},
	} {
		f := newFilter(t, ImplicitFilterConfig{Channels: 3, LMax: 8, EmbDim: c.emb, Width: 4, W: 10, Shift: c.shift})
		for i, l := range f.Hidden {
			rule(l, i)
		}
		rule(f.Out, 3)
		h := tensor.MatOf(make([]float32, 24), 8, 3)
		f.Taps(h)
		for n, row := range c.want {
			for i, w := range row {
				if math.Abs(float64(h.Row(n)[i])-w) > 2e-6 {
					t.Errorf("emb_dim %d, shift %v: tap %d of channel %d is %v, want %v", c.emb, c.shift, n, i, h.Row(n)[i], w)
				}
			}
		}
		for i, w := range []float64{-3.070113457, -9.210340372, -15.350567287} {
			if math.Abs(float64(f.Deltas.Data()[i])-w) > 1e-6 {
				t.Errorf("δ[%d] is %v, want %v", i, f.Deltas.Data()[i], w)
			}
		}
	}
}

func TestImplicitFilterParams(t *testing.T) {
	f := newFilter(t, ImplicitFilterConfig{Channels: 2, LMax: 4})
	var names []string
	for name := range f.Params() {
		names = append(names, name)
	}
	want := "pos_emb.z pos_emb.t implicit_filter.0.weight implicit_filter.0.bias implicit_filter.1.freq implicit_filter.2.weight implicit_filter.2.bias implicit_filter.4.weight implicit_filter.4.bias implicit_filter.6.weight modulation.deltas"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("parameters %s, want %s", got, want)
	}
}

func TestImplicitFilterErrors(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"d_filter": 4}`, `{"d_filter": 4, "l_max": -1}`, `{"d_filter": 4, "l_max": 8, "emb_dim": 4}`, `{"d_filter": 4, "l_max": 8, "emb_dim": 1}`,
		`{"d_filter": 4, "l_max": 8, "filter_order": -2}`, `{"d_filter": 4, "l_max": 8, "num_inner_mlps": -1}`, `{"d_filter": 4, "l_max": 8, "target": 2}`,
		`{"d_filter": 1073741824, "l_max": 1073741824}`, `{"d_filter": 4, "l_max": 8, "fast_decay_pct": -1}`, `{"d_filter": 4, "l_max": 8, "num_inner_mlps": 1000000000}`,
	} {
		var cfg ImplicitFilterConfig
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := NewImplicitFilter(cfg); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("more taps than there are: no panic")
		}
	}()
	newFilter(t, ImplicitFilterConfig{Channels: 2, LMax: 4}).Taps(tensor.MatOf(make([]float32, 10), 5, 2))
}
