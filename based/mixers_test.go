package based_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

func linearAttention(t testing.TB, cfg based.LinearAttentionConfig, seed uint64) *based.LinearAttention {
	t.Helper()
	m, err := based.NewLinearAttention(cfg)
	if err != nil {
		t.Fatal(err)
	}
	randomParams(newRand(seed), m)
	return m
}

func gatedConv(t testing.TB, cfg based.GatedConvConfig, seed uint64) *based.GatedConv {
	t.Helper()
	m, err := based.NewGatedConv(cfg)
	if err != nil {
		t.Fatal(err)
	}
	randomParams(newRand(seed), m)
	return m
}

func baseConv(t testing.TB, cfg based.BaseConvConfig, seed uint64) *based.BaseConv {
	t.Helper()
	m, err := based.NewBaseConv(cfg)
	if err != nil {
		t.Fatal(err)
	}
	randomParams(newRand(seed), m)
	return m
}

// params returns the parameters of m in float64.
func params(m seqmix.Mixer) map[string][]float64 {
	all := map[string][]float64{}
	for name, p := range m.Params() {
		for _, v := range p.Float32s() {
			all[name] = append(all[name], float64(v))
		}
	}
	return all
}

// apply returns w·x + bias.
func apply(w, bias, x []float64) []float64 {
	n := len(x)
	y := make([]float64, len(w)/n)
	for i := range y {
		y[i] = dot(w[i*n:(i+1)*n], x)
		if bias != nil {
			y[i] += bias[i]
		}
	}
	return y
}

func float64s(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}

func silu(x float64) float64 { return x / (1 + math.Exp(-x)) }

func naiveLinearAttention(m *based.LinearAttention, src tensor.Seq, names [4]string) []float64 {
	c, p := m.Config(), params(m)
	project := func(name string) tensor.Seq {
		w := p[name+".weight"]
		y := tensor.NewSeq(src.Batch, src.Len, len(w)/src.Dim)
		for b := range src.Batch {
			for i := range src.Len {
				for j, v := range apply(w, nil, float64s(src.At(b, i))) {
					y.At(b, i)[j] = float32(v)
				}
			}
		}
		return y
	}
	q, k, v := project(names[0]), project(names[1]), project(names[2])
	o := naive(based.Attention{Heads: c.Heads, Map: c.Map, Eps: c.Eps}, recurrent, q, k, v)
	var out []float64
	for i := 0; i < len(o); i += v.Dim {
		out = append(out, apply(p[names[3]+".weight"], nil, o[i:i+v.Dim])...)
	}
	return out
}

func TestLinearAttention(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(10)
		for _, c := range []struct {
			cfg   based.LinearAttentionConfig
			names [4]string
		}{
			{based.LinearAttentionConfig{DModel: 32}, [4]string{"proj_q", "proj_k", "proj_v", "out_proj"}},
			{based.LinearAttentionConfig{DModel: 24, Heads: 3, FeatureDim: 5, HeadDim: 7, Names: based.ZoologyNames}, [4]string{"proj_q", "proj_k", "proj_v", "proj_o"}},
			{based.LinearAttentionConfig{DModel: 40, Heads: 2, FeatureDim: 16, Eps: 1e-6, Names: based.FLANames}, [4]string{"q_proj", "k_proj", "v_proj", "o_proj"}},
			{based.LinearAttentionConfig{DModel: 12, Heads: 2, FeatureDim: 3, Map: based.ELU{}}, [4]string{"proj_q", "proj_k", "proj_v", "out_proj"}},
		} {
			m := linearAttention(t, c.cfg, 11)
			for _, length := range []int{1, 7, 130, 450} {
				src := randomSeq(r, 2, length, m.Dim())
				want := naiveLinearAttention(m, src, c.names)
				near(t, fmt.Sprintf("%+v, length %d", c.cfg, length), mix(m, src).Data, want, 2e-5)
				s := newStream[*based.LinearAttentionStream](t, m, 2)
				near(t, fmt.Sprintf("stream of %+v, length %d", c.cfg, length), feed(s, src, 1, 5, length/2).Data, want, 2e-5)
			}
		}
	})
}

// TestStreamBits proves that streams give the same bits wherever they are cut, but for
// those of long convolutions.
func TestStreamBits(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(12)
		for name, m := range mixers(t) {
			src := randomSeq(r, 2, 200, m.Dim())
			want := feed(newStream[seqmix.Stream](t, m, 2), src)
			for range 3 {
				pieces := randomPieces(r, src.Len)
				got := feed(newStream[seqmix.Stream](t, m, 2), src, pieces...)
				if c, ok := m.(*based.BaseConv); ok && c.Config().KernelSize < 0 {
					near(t, fmt.Sprintf("%s, in pieces of %v", name, pieces), got.Data, want.Data, 1e-5)
				} else if !equal(got, want) {
					t.Errorf("%s: in pieces of %v, the bits differ", name, pieces)
				}
			}
			near(t, name+" as a whole", mix(m, src).Data, want.Data, 1e-5)
		}
	})
}

// mixers returns one of every kind.
func mixers(t testing.TB) map[string]seqmix.Streamer {
	r := newRand(13)
	list := map[string]seqmix.Streamer{
		"LinearAttention": linearAttention(t, based.LinearAttentionConfig{DModel: 20, Heads: 2, FeatureDim: 6}, 1),
		"LinearAttention as in Based": linearAttention(t, based.LinearAttentionConfig{
			DModel: 64, Heads: 2, FeatureDim: 16}, 1),
		"GatedConv":          gatedConv(t, based.GatedConvConfig{DModel: 10}, 2),
		"GatedConv with all": gatedConv(t, based.GatedConvConfig{DModel: 104, Expand: 5, Kernel: 6, Bias: new(false), ConvBias: true}, 3),
		"GatedConv of 1 tap": gatedConv(t, based.GatedConvConfig{DModel: 3, Expand: 2, Kernel: 1}, 3),
		"BaseConv":           baseConv(t, based.BaseConvConfig{DModel: 9}, 4),
		"BaseConv with SiLU": baseConv(t, based.BaseConvConfig{DModel: 9, KernelSize: 5, Activate: true}, 4),
		"BaseConv, implicit": baseConv(t, based.BaseConvConfig{DModel: 7, KernelSize: -1, LMax: 40}, 5),
		"BaseConv, explicit": baseConv(t, based.BaseConvConfig{DModel: 18, KernelSize: -1, LMax: 170, Implicit: new(false), Activate: true}, 6),
	}
	for name, m := range featureMaps(r, 4) {
		list["LinearAttention, "+name] = linearAttention(t, based.LinearAttentionConfig{DModel: 8, Heads: 2, FeatureDim: 4, Map: m}, 7)
	}
	// Weights of both signs may add up to nothing; these products are positive.
	delete(list, "LinearAttention, Polynomial")
	return list
}

func TestContract(t *testing.T) {
	for name, m := range mixers(t) {
		t.Run(name, func(t *testing.T) {
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 2, Len: 1}, {Batch: 3, Len: 70}, {Batch: 1, Len: 200}}) {
				// Long sequences are for what is divided into chunks.
				if _, ok := m.(*based.GatedConv); ok && o.Len >= 70 || o.Len == 200 && testing.Short() {
					continue
				}
				if err := mixtest.Test(m, o); err != nil {
					t.Errorf("%+v: %v", o, err)
				}
			}
		})
	}
}

func naiveGatedConv(m *based.GatedConv, src tensor.Seq) []float64 {
	c, p := m.Config(), params(m)
	e := c.Expand * c.DModel / 2
	var out []float64
	for b := range src.Batch {
		var xs [][]float64
		for i := range src.Len {
			xs = append(xs, apply(p["in_proj.weight"], p["in_proj.bias"], float64s(src.At(b, i))))
			y := make([]float64, e)
			for ch := range y {
				for j := range c.Kernel {
					if at := i - c.Kernel + 1 + j; at >= 0 {
						y[ch] += p["conv.conv.weight"][ch*c.Kernel+j] * xs[at][ch]
					}
				}
				if bias := p["conv.conv.bias"]; bias != nil {
					y[ch] += bias[ch]
				}
				y[ch] = silu(y[ch]) * xs[i][e+ch]
			}
			out = append(out, apply(p["out_proj.weight"], p["out_proj.bias"], y)...)
		}
	}
	return out
}

func TestGatedConv(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(14)
		for _, cfg := range []based.GatedConvConfig{
			{DModel: 8}, {DModel: 140}, {DModel: 5, Expand: 2, Kernel: 1}, {DModel: 6, Kernel: 7, Bias: new(false), ConvBias: true},
		} {
			m := gatedConv(t, cfg, 15)
			for _, length := range []int{1, 2, 200} {
				src := randomSeq(r, 2, length, m.Dim())
				near(t, fmt.Sprintf("%+v, length %d", cfg, length), mix(m, src).Data, naiveGatedConv(m, src), 1e-5)
			}
		}
	})
}

// TestGatedConvState moves the state from one stream to another.
func TestGatedConvState(t *testing.T) {
	m := gatedConv(t, based.GatedConvConfig{DModel: 131, Kernel: 4}, 16)
	src := randomSeq(newRand(17), 2, 9, m.Dim())
	s, c := newStream[*based.GatedConvStream](t, m, 2), newStream[*based.GatedConvStream](t, m, 2)
	feed(s, src.Slice(0, 5))
	state := s.State()
	if got, want := state.Shape(), []int{2, 3, 262}; !slices.Equal(got, want) {
		t.Fatalf("the state has shape %v, want %v", got, want)
	}
	w := params(m)
	for b := range 2 {
		for i := range 3 { // inputs 2, 3 and 4
			want := apply(w["in_proj.weight"], w["in_proj.bias"], float64s(src.At(b, 2+i)))[:262]
			near(t, "the state", state.Data()[(b*3+i)*262:][:262], want, 1e-5)
		}
	}
	c.SetState(state)
	if rest := src.Slice(5, 9); !equal(feed(s, rest), feed(c, rest)) {
		t.Error("a stream with the state of another goes on differently")
	}
	mustPanic(t, "a state of another shape", func() { c.SetState(tensor.New(2, 3, 131)) })
}

func naiveBaseConv(m *based.BaseConv, src tensor.Seq) []float64 {
	c, p := m.Config(), params(m)
	act := func(x float64) float64 { return x }
	if c.Activate {
		act = silu
	}
	// taps[j] is that of the input j positions before.
	taps := make([][]float64, max(c.KernelSize, c.LMax))
	for j := range taps {
		taps[j] = make([]float64, c.DModel)
		var hidden []float64
		if w := p["conv.mlp.0.weight"]; w != nil {
			a := 2 * math.Pi * float64(j) / float64(c.LMax) * 1e-4
			hidden = apply(w, p["conv.mlp.0.bias"], []float64{float64(j) / float64(c.LMax-1), math.Cos(a), -math.Sin(a)})
			for i := range hidden {
				hidden[i] = max(hidden[i], 0)
			}
			taps[j] = apply(p["conv.mlp.2.weight"], p["conv.mlp.2.bias"], hidden)
		}
		for ch := range taps[j] {
			switch {
			case c.KernelSize > 0:
				taps[j][ch] = p["conv.conv.weight"][ch*c.KernelSize+c.KernelSize-1-j]
			case hidden == nil:
				taps[j][ch] = p["conv.filter"][ch*c.LMax+j]
			}
		}
	}
	var out []float64
	for b := range src.Batch {
		for i := range src.Len {
			x := float64s(src.At(b, i))
			gate := apply(p["projection.weight"], p["projection.bias"], x)
			for ch := range x {
				y := x[ch]
				if c.KernelSize > 0 {
					y = p["conv.conv.bias"][ch]
				}
				for j := 0; j < len(taps) && j <= i; j++ {
					y += taps[j][ch] * float64(src.At(b, i-j)[ch])
				}
				out = append(out, act(y)*act(gate[ch])+x[ch])
			}
		}
	}
	return out
}

func TestBaseConv(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(18)
		for _, cfg := range []based.BaseConvConfig{
			{DModel: 8}, {DModel: 5, KernelSize: 1, Activate: true}, {DModel: 7, KernelSize: -1, LMax: 30}, {DModel: 20, KernelSize: -1, LMax: 300},
			{DModel: 6, KernelSize: -1, LMax: 20, Implicit: new(false)}, {DModel: 3, KernelSize: -1, LMax: 200, Implicit: new(false), Activate: true},
		} {
			m := baseConv(t, cfg, 19)
			for _, length := range []int{1, 40, 250} {
				src := randomSeq(r, 2, length, m.Dim())
				want := naiveBaseConv(m, src)
				near(t, fmt.Sprintf("%+v, length %d", cfg, length), mix(m, src).Data, want, 1e-5)
				near(t, fmt.Sprintf("stream of %+v, length %d", cfg, length), feed(newStream[seqmix.Stream](t, m, 2), src, 3).Data, want, 1e-5)
			}
		}
	})
}

// TestBaseConvReset changes a long filter: a stream sees it when it is reset.
func TestBaseConvReset(t *testing.T) {
	for _, cfg := range []based.BaseConvConfig{{DModel: 4}, {DModel: 4, KernelSize: -1, LMax: 16}, {DModel: 4, KernelSize: -1, LMax: 16, Implicit: new(false)}} {
		m := baseConv(t, cfg, 20)
		src := randomSeq(newRand(21), 1, 12, 4)
		s := newStream[seqmix.Stream](t, m, 1)
		feed(s, src)
		randomParams(newRand(22), m)
		s.Reset()
		near(t, fmt.Sprintf("%+v", cfg), feed(s, src).Data, mix(m, src).Data, 1e-5)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []based.LinearAttentionConfig{
		{}, {DModel: -1}, {DModel: 8}, {DModel: 32, Heads: -2}, {DModel: 32, FeatureDim: -1}, {DModel: 32, HeadDim: -1}, {DModel: 32, Eps: -1},
		{DModel: 32, Eps: float32(math.NaN())}, {DModel: 32, Names: 9}, {DModel: 1 << 30, Heads: 1 << 30}, {DModel: 32, FeatureDim: 1 << 20},
		{DModel: 32, Map: based.Polynomial{}}, {DModel: 32, FeatureDim: 4, Map: based.Polynomial{Proj1: tensor.New(5, 4), Proj2: tensor.New(4, 4)}},
		{DModel: 32, FeatureDim: 4, Map: based.Polynomial{Proj1: tensor.New(4, 5), Proj2: tensor.New(4, 5)}}, {DModel: 32, Map: based.CosFormer{}},
	} {
		if _, err := based.NewLinearAttention(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	for _, c := range []based.GatedConvConfig{{}, {DModel: 4, Expand: -1}, {DModel: 4, Kernel: -1}, {DModel: 3, Expand: 3}, {DModel: 1 << 30}, {DModel: 4, Kernel: 1 << 30}} {
		if _, err := based.NewGatedConv(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	for _, c := range []based.BaseConvConfig{{}, {DModel: 4, KernelSize: -2}, {DModel: 4, KernelSize: -1}, {DModel: 4, KernelSize: -1, LMax: 1}, {DModel: 1 << 20}, {DModel: 4, KernelSize: 1 << 30}} {
		if _, err := based.NewBaseConv(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	for name, m := range mixers(t) {
		for _, batch := range []int{0, -1, math.MaxInt32 << 20} {
			if _, err := m.NewStream(batch); err == nil {
				t.Errorf("%s: a stream of %d sequences without an error", name, batch)
			}
		}
	}
}

func TestConfigJSON(t *testing.T) {
	var l based.LinearAttentionConfig
	var g based.GatedConvConfig
	var b based.BaseConvConfig
	for text, v := range map[string]any{
		`{"d_model":1024,"num_heads":16,"feature_dim":16,"l_max":2048}`:         &l,
		`{"d_model":1024,"expand_proj":4,"kernel_sizes":3,"use_bias":true}`:     &g,
		`{"d_model":64,"kernel_size":-1,"l_max":256,"implicit_long_conv":true}`: &b,
	} {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatal(err)
		}
	}
	m, err := based.NewLinearAttention(l)
	if err != nil {
		t.Fatal(err)
	}
	want := based.LinearAttentionConfig{DModel: 1024, Heads: 16, FeatureDim: 16, HeadDim: 64, Eps: 1e-12, Map: based.Taylor{}}
	if m.Config() != want {
		t.Errorf("%+v, want %+v", m.Config(), want)
	}
	if g.DModel != 1024 || g.Expand != 4 || !*g.Bias || b.DModel != 64 || b.KernelSize != -1 || b.LMax != 256 || !*b.Implicit {
		t.Errorf("read %+v and %+v", g, b)
	}
}

// FuzzState reads damaged states.
func FuzzState(f *testing.F) {
	m := linearAttention(f, based.LinearAttentionConfig{DModel: 6, Heads: 2, FeatureDim: 2}, 23)
	src := randomSeq(newRand(24), 1, 70, 6)
	for _, n := range []int{0, 5, 70} {
		s := newStream[*based.LinearAttentionStream](f, m, 1)
		feed(s, src.Slice(0, n))
		saved, _ := s.AppendBinary(nil)
		f.Add(saved[:len(saved)-4], 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		s := newStream[*based.LinearAttentionStream](t, m, 1)
		before, _ := s.AppendBinary(nil)
		if err := s.UnmarshalBinary(withChecksum(body)); err != nil {
			if after, _ := s.AppendBinary(nil); !slices.Equal(before, after) {
				t.Error("an error, but the state has changed")
			}
			return
		}
		feed(s, src, max(n, 0)%70)
	})
}
