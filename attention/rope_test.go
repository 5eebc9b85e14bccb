package attention_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/tensor"
)

func newRoPE(t testing.TB, cfg attention.RoPEConfig, headDim int) *attention.RoPE {
	t.Helper()
	r, err := attention.NewRoPE(cfg, headDim)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRoPE rotates heads of many widths, close to the beginning and far from it.
func TestRoPE(t *testing.T) {
	type config = attention.RoPEConfig
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, headDim := range []int{1, 2, 3, 8, 17, 64, 70, 130} {
			configs := []config{{}, {Interleaved: true}, {Base: 5e5}, {Dim: headDim/4*2 + 1}, {Dim: headDim / 4 * 2, Interleaved: true}}
			for _, cfg := range configs {
				if cfg.Dim+1 > headDim && cfg.Dim != 0 || headDim == 1 {
					continue
				}
				r := newRoPE(t, cfg, headDim)
				for _, first := range []int{0, 5, 100000} {
					testRotate(t, r, cfg, headDim, first)
				}
			}
		}
	})
}

func testRotate(t *testing.T, r *attention.RoPE, cfg attention.RoPEConfig, headDim, first int) {
	t.Helper()
	src := randomSeq(newRand(uint64(headDim)), 2, 9, 3*headDim).Slice(2, 7) // with gaps
	dst := tensor.NewSeq(2, 5, 3*headDim)
	r.Rotate(dst, src, first)
	var want []float64
	for b := range 2 {
		for i := range 5 {
			x := float64s(src.At(b, i))
			for h := range 3 {
				naiveRotate(cfg, x[h*headDim:(h+1)*headDim], first+i)
			}
			want = append(want, x...)
		}
	}
	near(t, fmt.Sprintf("%+v, heads of %d from %d on", cfg, headDim, first), dst.Data, want)
	r.Rotate(src, src, first)
	again := like(dst)
	tensor.Copy(again, src)
	if !slices.Equal(again.Data, dst.Data) {
		t.Errorf("%+v, heads of %d: in place it differs", cfg, headDim)
	}
}

// The odd rotary_dim of attn-1b of Based: 18 pairs, and 35 in the exponents.
func TestRoPEOddDim(t *testing.T) {
	r := newRoPE(t, attention.RoPEConfig{Dim: 35}, 70)
	if r.Pairs() != 18 {
		t.Fatalf("%d pairs, want 18", r.Pairs())
	}
	for i, f := range frequencies(r) {
		if want := math.Pow(10000, -2*float64(i)/35); math.Abs(f-want) > 1e-6*want {
			t.Errorf("frequency %d is %v, want %v", i, f, want)
		}
	}
}

// frequencies returns the angles at position 1, which are below π.
func frequencies(r *attention.RoPE) []float64 {
	cos, sin := make([]float32, r.Pairs()), make([]float32, r.Pairs())
	r.Table(cos, sin, 1)
	f := make([]float64, r.Pairs())
	for i := range f {
		f[i] = math.Atan2(float64(sin[i]), float64(cos[i]))
	}
	return f
}

// TestScaling compares with the formulas in the form that Hugging Face's
// modeling_rope_utils has them.
func TestScaling(t *testing.T) {
	const dim, base = 128, 500000.0
	plain := func(i int) float64 { return math.Pow(base, -2*float64(i)/dim) }
	for name, tt := range map[string]struct {
		scaling   attention.Scaling
		amplitude float64
		want      func(i int) float64
	}{
		"default": {attention.Scaling{}, 1, plain},
		"linear":  {attention.Scaling{Type: attention.LinearScaling, Factor: 8}, 1, func(i int) float64 { return plain(i) / 8 }},
		"ntk": {attention.Scaling{Type: attention.NTKScaling, Factor: 4}, 1, func(i int) float64 {
			return math.Pow(base*math.Pow(4, dim/(dim-2.0)), -2*float64(i)/dim)
		}},
		"llama3": {attention.Scaling{Type: attention.Llama3Scaling, Factor: 8, OriginalPositions: 8192}, 1, func(i int) float64 {
			wavelength := 2 * math.Pi / plain(i)
			switch low, high := 8192.0/1, 8192.0/4; {
			case wavelength > low:
				return plain(i) / 8
			case wavelength < high:
				return plain(i)
			}
			smooth := (8192/wavelength - 1) / (4 - 1)
			return (1-smooth)*plain(i)/8 + smooth*plain(i)
		}},
		"yarn": {attention.Scaling{Type: attention.YaRNScaling, Factor: 4, OriginalPositions: 32768}, 0.1*math.Log(4) + 1, func(i int) float64 {
			return naiveYaRN(i, dim, base, 4, 32768, true)
		}},
		"yarn, not truncated": {
			attention.Scaling{Type: attention.YaRNScaling, Factor: 40, OriginalPositions: 4096, Truncate: new(false), MScale: 0.7, MScaleAll: 1},
			(0.1*0.7*math.Log(40) + 1) / (0.1*math.Log(40) + 1),
			func(i int) float64 { return naiveYaRN(i, dim, base, 40, 4096, false) },
		},
		"yarn, amplitude given": {
			attention.Scaling{Type: attention.YaRNScaling, Factor: 2, OriginalPositions: 4096, Amplitude: 1.25}, 1.25,
			func(i int) float64 { return naiveYaRN(i, dim, base, 2, 4096, true) },
		},
	} {
		r := newRoPE(t, attention.RoPEConfig{Base: base, Scaling: &tt.scaling}, dim)
		for i, f := range frequencies(r) {
			if want := tt.want(i); math.Abs(f-want) > 1e-6*want {
				t.Errorf("%s: frequency %d is %v, want %v", name, i, f, want)
			}
		}
		cos, sin := make([]float32, r.Pairs()), make([]float32, r.Pairs())
		r.Table(cos, sin, 0)
		if math.Abs(float64(cos[3])-tt.amplitude) > 1e-6 || sin[3] != 0 {
			t.Errorf("%s: the amplitude is %v, want %v", name, cos[3], tt.amplitude)
		}
	}
}

func naiveYaRN(i, dim int, base, factor, positions float64, truncate bool) float64 {
	correction := func(rotations float64) float64 {
		return float64(dim) * math.Log(positions/(rotations*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := correction(32), correction(1)
	if truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dim-1))
	extrapolation := 1 - min(max((float64(i)-low)/(high-low), 0), 1)
	f := math.Pow(base, -2*float64(i)/float64(dim))
	return f/factor*(1-extrapolation) + f*extrapolation
}

func TestRoPEErrors(t *testing.T) {
	type config = attention.RoPEConfig
	scaling := func(s attention.Scaling) config { return config{Scaling: &s} }
	for name, cfg := range map[string]config{
		"dim":               {Dim: 9},
		"odd dim":           {Dim: -1},
		"base":              {Base: 0.5},
		"base NaN":          {Base: math.NaN()},
		"base Inf":          {Base: math.Inf(1)},
		"no frequencies":    {Frequencies: []float64{}},
		"many frequencies":  {Frequencies: make([]float64, 5)},
		"other frequencies": {Frequencies: make([]float64, 2), Dim: 6},
		"frequency":         {Frequencies: []float64{math.NaN()}},
		"type":              scaling(attention.Scaling{Type: 9}),
		"factor":            scaling(attention.Scaling{Type: attention.LinearScaling}),
		"llama3 positions":  scaling(attention.Scaling{Type: attention.Llama3Scaling, Factor: 2}),
		"llama3 order":      scaling(attention.Scaling{Type: attention.Llama3Scaling, Factor: 2, OriginalPositions: 8, LowFrequency: 5}),
		"yarn order":        scaling(attention.Scaling{Type: attention.YaRNScaling, Factor: 2, OriginalPositions: 8, BetaFast: 0.5}),
		"yarn amplitude":    scaling(attention.Scaling{Type: attention.YaRNScaling, Factor: 2, OriginalPositions: 8, Amplitude: math.Inf(1)}),
	} {
		if _, err := attention.NewRoPE(cfg, 8); err == nil || !strings.HasPrefix(err.Error(), "attention: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := attention.NewRoPE(config{}, 0); err == nil {
		t.Error("heads of no dimensions: no error")
	}
}

func TestScalingJSON(t *testing.T) {
	for text, want := range map[string]attention.Scaling{
		`{"type": "linear", "factor": 2.5}`:      {Type: attention.LinearScaling, Factor: 2.5},
		`{"rope_type": "default"}`:               {},
		`{"rope_type": "yarn", "truncate":true}`: {Type: attention.YaRNScaling, Truncate: new(true)},
		`{"rope_type": "llama3", "type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}`: {
			Type: attention.Llama3Scaling, Factor: 8, LowFrequency: 1, HighFrequency: 4, OriginalPositions: 8192},
	} {
		var got attention.Scaling
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if fmt.Sprint(got.Truncate != nil) != fmt.Sprint(want.Truncate != nil) {
			t.Errorf("%s: truncate differs", text)
		}
		got.Truncate, want.Truncate = nil, nil
		if got != want {
			t.Errorf("%s: read as %+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{`{"type": "dynamic"}`, `{"rope_type": 3}`, `[]`} {
		if err := json.Unmarshal([]byte(text), new(attention.Scaling)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if _, err := json.Marshal(attention.Scaling{Type: 77}); err == nil {
		t.Error("a type without a name: no error")
	}
	if s := attention.ScalingType(77).String(); s != "ScalingType(77)" {
		t.Errorf("a type without a name is %s", s)
	}
}

// TestSlopes compares with what flash-attention's get_alibi_slopes returns.
func TestSlopes(t *testing.T) {
	for heads, want := range map[int][]float64{
		0: {}, 1: {0x1p-8}, 2: {0x1p-4, 0x1p-8}, 4: {0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8},
		3: {0x1p-4, 0x1p-8, 0x1p-2},
		6: {0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8, 0x1p-1, 0x1p-3},
		12: {0x1p-1, 0x1p-2, 0x1p-3, 0x1p-4, 0x1p-5, 0x1p-6, 0x1p-7, 0x1p-8,
			math.Exp2(-0.5), math.Exp2(-1.5), math.Exp2(-2.5), math.Exp2(-3.5)},
	} {
		got := attention.Slopes(heads)
		if len(got) != len(want) {
			t.Fatalf("%d heads: %d slopes", heads, len(got))
		}
		for i, w := range want {
			if got[i] != float32(w) {
				t.Errorf("%d heads: slope %d is %v, want %v", heads, i, got[i], w)
			}
		}
	}
}
