package hyena

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

func newHyena(t testing.TB, cfg Config, seed uint64) *Hyena {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

// naiveHyena is the definition in float64, except that it takes the taps of the implicit
// filter as they are: those are tested on their own.
func naiveHyena(m *Hyena, src tensor.Seq, b int) []float64 {
	cfg, n := m.Config(), src.Len
	e, order := cfg.DModel*cfg.InnerFactor, cfg.Order
	z := make([][]float64, n)
	for t := range z {
		z[t] = naiveLinear(m.in, float64s(src.At(b, t)))
	}
	z = naiveShort(m.short.Weight.Data(), m.short.Bias.Data(), cfg.ShortFilter, z)
	gate := func(i int) [][]float64 {
		if cfg.Gates == LastFirst {
			i = order - 1 - i
		}
		return columns(z, i*e, (i+1)*e)
	}
	h := m.taps(n)
	v := columns(z, order*e, (order+1)*e)
	for o := range order - 1 {
		p := product(v, gate(o))
		v = make([][]float64, n)
		for t := range v {
			v[t] = make([]float64, e)
			for c := range e {
				at := o*e + c
				if cfg.Layout == ChannelMajor {
					at = c*(order-1) + o
				}
				v[t][c] = float64(m.d.Data()[at]) * p[t][c]
				for i := 0; i <= t; i++ {
					v[t][c] += float64(h.Row(t - i)[at]) * p[i][c]
				}
			}
		}
	}
	v = product(v, gate(order-1))
	var out []float64
	for t := range v {
		if cfg.Activation.Of() == nn.Tanh {
			for c := range v[t] {
				v[t][c] = math.Tanh(v[t][c])
			}
		}
		out = append(out, naiveLinear(m.out, v[t])...)
	}
	return out
}

var hyenas = map[string]Config{
	"order 2":        {DModel: 6, LMax: 90, EmbDim: 5, W: 10, FilterOrder: 16},
	"order 3":        {DModel: 5, LMax: 700, Order: 3, Shift: 0.05, FilterOrder: 8},
	"order major":    {DModel: 5, LMax: 90, Order: 4, Layout: OrderMajor, FilterOrder: 8, ShortFilter: 5},
	"zoology":        {DModel: 4, LMax: 400, Gates: FirstFirst, Layout: OrderMajor, FilterOrder: 8},
	"inner factor":   {DModel: 4, LMax: 90, Order: 3, InnerFactor: 3, Activation: Act(nn.Tanh), Gates: FirstFirst, FilterOrder: 8},
	"without caches": {DModel: 20, LMax: 600, FilterOrder: 8, CacheLimit: -1},
	"one tap":        {DModel: 3, LMax: 40, ShortFilter: 1, FilterOrder: 4, Normalized: true},
}

func TestHyena(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, cfg := range hyenas {
			m := newHyena(t, cfg, 1)
			for _, n := range []int{1, 2, 7, 40, 90, 300} {
				if n > cfg.LMax {
					continue
				}
				src := randomSeq(newRand(uint64(n)), 2, n, cfg.DModel)
				got := mix(m, src)
				for b := range 2 {
					wantClose(t, fmt.Sprintf("%s: %d positions", name, n), got.Sequence(b).Data, naiveHyena(m, src, b), 5e-6)
				}
			}
		}
	})
}

// TestHyenaGates proves that the gates are where the definition has them: swapping two
// chunks of the projection is what the other order does, and the layouts of filters of
// order 3 differ.
func TestHyenaGates(t *testing.T) {
	cfg := Config{DModel: 4, LMax: 50, FilterOrder: 8}
	m := newHyena(t, cfg, 1)
	cfg.Gates = FirstFirst
	z := newHyena(t, cfg, 1)
	src := randomSeq(newRand(2), 1, 50, 4)
	want := mix(m, src)
	if e := relError(mix(z, src).Data, want.Data); e < 1e-2 {
		t.Errorf("the order of the gates changes the result by %.2g only", e)
	}
	for _, name := range []string{"in_proj.weight", "in_proj.bias", "short_filter.weight", "short_filter.bias"} {
		v := param(t, z, name).Float32s()
		third := len(v) / 3
		for i := range third {
			v[i], v[third+i] = v[third+i], v[i]
		}
	}
	wantClose(t, "chunks swapped", mix(z, src).Data, want.Data, 1e-6)

	cfg = Config{DModel: 4, LMax: 50, FilterOrder: 8, Order: 3}
	m = newHyena(t, cfg, 1)
	cfg.Layout = OrderMajor
	if e := relError(mix(newHyena(t, cfg, 1), src).Data, mix(m, src).Data); e < 1e-2 {
		t.Errorf("the layout of the filters changes the result by %.2g only", e)
	}
}

func TestHyenaContract(t *testing.T) {
	for name, cfg := range hyenas {
		t.Run(name, func(t *testing.T) {
			m := newHyena(t, cfg, 1)
			if err := mixtest.Test(m, mixtest.Options{}); err != nil {
				t.Error(err)
			}
			if cfg.LMax >= 200 {
				if err := mixtest.Test(m, mixtest.Options{Batch: 3, Len: 140}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestHyenaStreamLengths proves that a stream is the convolution for every length up to
// 257: whole sequences are computed in other ways than their positions one by one.
func TestHyenaStreamLengths(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 257, FilterOrder: 16, EmbDim: 5, W: 10, Order: 3}, 1)
	src := randomSeq(newRand(2), 1, 257, 4)
	s, err := m.StreamUpTo(1, 257)
	if err != nil {
		t.Fatal(err)
	}
	got := like(src)
	for i := range src.Len {
		s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
		want := mix(m, src.Slice(0, i+1))
		wantClose(t, fmt.Sprintf("%d positions", i+1), got.Slice(0, i+1).Data, want.Data, 5e-6)
	}
}

func TestHyenaStreamLong(t *testing.T) {
	m := newHyena(t, Config{DModel: 3, LMax: 5000, FilterOrder: 16, EmbDim: 5, W: 10, Shift: 0.05}, 1)
	src := randomSeq(newRand(2), 1, 4096, 3)
	want := mix(m, src)
	for _, prompt := range []int{0, 1, 1000, 4000} {
		s, err := m.StreamUpTo(1, 4096)
		if err != nil {
			t.Fatal(err)
		}
		got := like(src)
		s.Mix(got.Slice(0, prompt), src.Slice(0, prompt))
		for i := prompt; i < src.Len; i++ {
			s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
		}
		wantClose(t, fmt.Sprintf("after a prompt of %d", prompt), got.Data, want.Data, 5e-6)
	}
}

// TestHyenaCausality changes an input; no output before it may change by more than
// rounding, and the outputs of a stream not at all.
func TestHyenaCausality(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 1026, FilterOrder: 16, EmbDim: 5, W: 10}, 1)
	for _, n := range []int{2, 3, 17, 1000, 1026} {
		src := randomSeq(newRand(uint64(n)), 1, n, 4)
		other := like(src)
		copy(other.Data, src.Data)
		at := n / 2
		for i := range other.At(0, at) {
			other.At(0, at)[i] += 3
		}
		a, b := mix(m, src), mix(m, other)
		wantClose(t, fmt.Sprintf("%d positions", n), b.Slice(0, at).Data, a.Slice(0, at).Data, 1e-6)
		if slices.Equal(a.At(0, at), b.At(0, at)) {
			t.Errorf("%d positions: the output at the changed input is the same", n)
		}
		x, y := like(src), like(src)
		for _, run := range [][2]tensor.Seq{{x, src}, {y, other}} {
			s, err := seqmix.NewStream(m, 1)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				s.Mix(run[0].Slice(i, i+1), run[1].Slice(i, i+1))
			}
		}
		if !slices.Equal(x.Slice(0, at).Data, y.Slice(0, at).Data) {
			t.Errorf("%d positions: outputs of a stream depend on a later input", n)
		}
	}
}

// Filters of fewer taps are the beginning of longer ones, however they were asked for.
func TestHyenaBankGrows(t *testing.T) {
	cfg := Config{DModel: 3, LMax: 5000, FilterOrder: 8}
	m := newHyena(t, cfg, 1)
	src := randomSeq(newRand(1), 1, 3000, 3)
	short := mix(m, src.Slice(0, 10))
	if n := m.bank().upTo(10)[0].Taps(); n != shortest {
		t.Errorf("%d taps for 10 positions, want %d", n, shortest)
	}
	long := mix(m, src)
	if n := m.bank().upTo(10)[0].Taps(); n != 4096 {
		t.Errorf("%d taps after 3000 positions, want 4096", n)
	}
	wantClose(t, "first positions", long.Slice(0, 10).Data, short.Data, 2e-6)
}

// Filters beyond the limit are not kept.
func TestHyenaCacheLimit(t *testing.T) {
	cfg := Config{DModel: 3, LMax: 5000, FilterOrder: 8, CacheLimit: 3 * 4 * 2048}
	m := newHyena(t, cfg, 1)
	src := randomSeq(newRand(1), 1, 3000, 3)
	for _, n := range []int{3000, 2000} {
		got := mix(m, src.Slice(0, n))
		cfg.CacheLimit = 0
		wantClose(t, "result", got.Data, mix(newHyena(t, cfg, 1), src.Slice(0, n)).Data, 1e-6)
		if kept := m.bank().convs.Load() != nil; kept != (n == 2000) {
			t.Errorf("%d positions: filters kept: %v", n, kept)
		}
	}
}

// Parameters may be changed in place, as loading and training do.
func TestHyenaFollowsParameters(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 50, FilterOrder: 8}, 1)
	src := randomSeq(newRand(2), 1, 50, 4)
	s, err := m.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	mix(m, src)
	for name, p := range m.Params() {
		if strings.HasSuffix(name, "weight") || strings.HasSuffix(name, "bias") || strings.HasSuffix(name, "freq") {
			v := p.Float32s()
			for i := range v {
				v[i] += 0.125
			}
			p.SetFloat32s(v)
			want := naiveHyena(m, src, 0)
			wantClose(t, "Mix after a change of "+name, mix(m, src).Data, want, 5e-6)
			s.Reset()
			got := like(src)
			s.Mix(got, src)
			wantClose(t, "stream after a change of "+name, got.Data, want, 5e-6)
		}
	}
}

func TestHyenaTooLong(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 10}, 1)
	x := tensor.NewSeq(1, 11, 4)
	s, err := m.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	s.Mix(x.Slice(0, 8), x.Slice(0, 8))
	for name, f := range map[string]func(){
		"Mix":        func() { m.Mix(x, x) },
		"Stream.Mix": func() { s.Mix(x.Slice(0, 3), x.Slice(0, 3)) },
	} {
		func() {
			defer func() {
				var shape *tensor.ShapeError
				if err, ok := recover().(error); !ok || !errors.As(err, &shape) {
					t.Errorf("%s: want a panic with a *tensor.ShapeError", name)
				}
			}()
			f()
		}()
	}
	if _, err := m.StreamUpTo(1, 11); err == nil {
		t.Error("a stream of more positions than there are taps: no error")
	}
	if _, err := m.NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
}

func TestHyenaParams(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 10, Order: 3}, 1)
	want := []string{
		"in_proj.weight [16 4]", "in_proj.bias [16]", "short_filter.weight [16 1 3]", "short_filter.bias [16]", "filter_fn.bias [8]",
		"filter_fn.pos_emb.z [1 10 3]", "filter_fn.pos_emb.t [1 10 1]",
		"filter_fn.implicit_filter.0.weight [64 3]", "filter_fn.implicit_filter.0.bias [64]", "filter_fn.implicit_filter.1.freq [1 64]",
		"filter_fn.implicit_filter.2.weight [64 64]", "filter_fn.implicit_filter.2.bias [64]",
		"filter_fn.implicit_filter.4.weight [64 64]", "filter_fn.implicit_filter.4.bias [64]",
		"filter_fn.implicit_filter.6.weight [8 64]", "filter_fn.modulation.deltas [1 1 8]", "out_proj.weight [4 4]", "out_proj.bias [4]",
	}
	var got []string
	for name, p := range m.Params() {
		got = append(got, fmt.Sprint(name, " ", p.Shape()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("parameters %q, want %q", got, want)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	text := `{"d_model": 8, "l_max": 100, "order": 3, "activation": "gelu", "filter_layout": "order_major", "gate_order": "first_first", "modulate": false, "num_inner_mlps": 0}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	full := m.Config()
	if full.Activation.Of() != nn.GELU || full.Layout != OrderMajor || full.Gates != FirstFirst || *full.Modulate || *full.InnerMLPs != 0 || full.ShortFilter != 3 || full.FilterOrder != 64 || full.EmbDim != 3 {
		t.Errorf("configuration %+v", full)
	}
	back, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var again Config
	if err := json.Unmarshal(back, &again); err != nil {
		t.Fatal(err)
	}
	if last, err := json.Marshal(again); err != nil || string(last) != string(back) {
		t.Errorf("%s is read back as %s (%v)", back, last, err)
	}
}

func TestConfigErrors(t *testing.T) {
	for text, unsupported := range map[string]bool{
		`{}`: false, `{"d_model": 4}`: false, `{"d_model": -4, "l_max": 8}`: false, `{"d_model": 4, "l_max": 8, "order": 1}`: false,
		`{"d_model": 4, "l_max": 8, "inner_factor": -1}`: false, `{"d_model": 4, "l_max": 8, "short_filter_order": -1}`: false,
		`{"d_model": 4, "l_max": 8, "emb_dim": 4}`: false, `{"d_model": 16777216, "l_max": 8, "order": 60}`: false,
		`{"d_model": 4, "l_max": 8, "num_heads": 2}`: true, `{"d_model": 4, "l_max": 8, "num_blocks": 2}`: true,
		`{"d_model": 4, "l_max": 8, "outer_mixing": true}`: true, `{"d_model": 4, "l_max": 8, "post_order_ffn": true}`: true,
	} {
		var c Config
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := New(c); err == nil || errors.Is(err, errors.ErrUnsupported) != unsupported {
			t.Errorf("%s: error %v", text, err)
		}
	}
	for _, text := range []string{`{"activation": "glue"}`, `{"filter_layout": "rows"}`, `{"gate_order": "x"}`} {
		if err := json.Unmarshal([]byte(text), new(Config)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if _, err := New(Config{DModel: 4, LMax: 8, Layout: 9}); err == nil {
		t.Error("no such layout: no error")
	}
}

func FuzzStreamState(f *testing.F) {
	m := newHyena(f, Config{DModel: 3, LMax: 100, FilterOrder: 4}, 1)
	s, err := m.NewStream(2)
	if err != nil {
		f.Fatal(err)
	}
	s.Mix(tensor.NewSeq(2, 70, 3), randomSeq(newRand(1), 2, 70, 3))
	saved, _ := s.AppendBinary(nil)
	f.Add(saved)
	f.Add(saved[:len(saved)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		before, _ := s.AppendBinary(nil)
		if err := s.UnmarshalBinary(data); err != nil {
			if after, _ := s.AppendBinary(nil); string(after) != string(before) {
				t.Fatal("an error, but the state changed")
			}
		}
	})
}
