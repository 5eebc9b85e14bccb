package monarch_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

var mlpConfigs = map[string]monarch.MLPConfig{
	"M2-BERT":   {Dim: 24},
	"no gate":   {Dim: 16, Hidden: 28, GLU: new(false)},
	"dense":     {Dim: 9, Hidden: 11, Monarch: new(false)},
	"padded":    {Dim: 10, Hidden: 13, Blocks: 3, NormEps: 1e-5},
	"one block": {Dim: 5, Hidden: 7, Blocks: 1},
	"wide":      {Dim: 64, Hidden: 300, Blocks: 2},
}

func newMLP(t testing.TB, cfg monarch.MLPConfig) *monarch.MLP {
	t.Helper()
	m, err := monarch.NewMLP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(4)
	m.Init(r)
	for name, p := range m.Params() {
		if name == "layernorm.weight" || name == "layernorm.bias" || name == "wo.bias" {
			randomize(r, p, 1)
		}
	}
	return m
}

// naiveMLP computes one position by the definition.
func naiveMLP(m *monarch.MLP, x []float32) []float64 {
	c := m.Config()
	p := map[string][]float32{}
	shape := map[string][]int{}
	for name, t := range m.Params() {
		p[name], shape[name] = t.Data(), t.Shape()
	}
	multiply := func(name string, x []float64, out int) []float64 {
		w, s := p[name], shape[name]
		if len(s) == 2 {
			s = append([]int{1}, s...)
		}
		y := make([]float64, out)
		for o := range y {
			for i := range s[2] {
				if j := o/s[1]*s[2] + i; j < len(x) {
					y[o] += float64(w[o*s[2]+i]) * x[j]
				}
			}
		}
		return y
	}
	in := make([]float64, len(x))
	for i, v := range x {
		in[i] = float64(v)
	}
	gelu := func(x float64) float64 { return x * 0.5 * math.Erfc(-x/math.Sqrt2) }
	width := c.Hidden
	if *c.GLU {
		width *= 2
	}
	h := multiply("gated_layers.weight", in, width)
	a := make([]float64, c.Hidden)
	for i := range a {
		a[i] = gelu(h[i])
		if *c.GLU {
			a[i] *= h[c.Hidden+i]
		}
	}
	y := multiply("wo.weight", a, c.Dim)
	mean, square := 0.0, 0.0
	for i := range y {
		y[i] += float64(p["wo.bias"][i]) + in[i]
		mean += y[i] / float64(c.Dim)
	}
	for i := range y {
		square += (y[i] - mean) * (y[i] - mean) / float64(c.Dim)
	}
	for i := range y {
		y[i] = (y[i]-mean)/math.Sqrt(square+float64(c.NormEps))*float64(p["layernorm.weight"][i]) + float64(p["layernorm.bias"][i])
	}
	return y
}

func TestMLP(t *testing.T) {
	for name, cfg := range mlpConfigs {
		m := newMLP(t, cfg)
		src := tensor.SeqOf(randomMat(newRand(2), 600, cfg.Dim).Data, 2, 300, cfg.Dim)
		dst := tensor.NewSeq(2, 300, cfg.Dim)
		m.Mix(dst, src)
		for i := range 600 {
			wantClose(t, fmt.Sprint(name, ", position ", i), dst.At(i/300, i%300), naiveMLP(m, src.At(i/300, i%300)), 5e-6)
		}
	}
}

func TestMLPContract(t *testing.T) {
	for name, cfg := range mlpConfigs {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 3, Len: 120}}) {
			if err := mixtest.Test(newMLP(t, cfg), o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The gate of the first half of the blocks meets the value of the second: with four blocks,
// an input of block 0 reaches what block 0 and 2 make, and so the outputs of block 0 and 1.
func TestMLPCoupling(t *testing.T) {
	cfg := monarch.MLPConfig{Dim: 8, Hidden: 8}
	m := newMLP(t, cfg)
	x := randomMat(newRand(2), 1, 8).Data
	before := naiveMLP(m, x)
	for i := range 8 {
		y := append([]float32(nil), x...)
		y[i]++
		dst := tensor.NewSeq(1, 1, 8)
		m.Mix(dst, tensor.SeqOf(y, 1, 1, 8))
		wantClose(t, fmt.Sprint("input ", i), dst.Data, naiveMLP(m, y), 5e-6)
		if relError(dst.Data, before) < 1e-3 {
			t.Errorf("input %d does not matter", i)
		}
	}
}

func TestMLPConfigJSON(t *testing.T) {
	var cfg monarch.MLPConfig
	text := `{"hidden_size": 768, "intermediate_size": 3072, "monarch_mlp_nblocks": 4, "use_monarch_mlp": true,
		"use_glu_mlp": false, "layer_norm_eps": 1e-12}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	m, err := monarch.NewMLP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range m.Params() {
		if name == "gated_layers.weight" && fmt.Sprint(p.Shape()) != "[4 768 192]" {
			t.Errorf("%s has shape %v", name, p.Shape())
		}
	}
	for _, bad := range []monarch.MLPConfig{{}, {Dim: -1}, {Dim: 4, Hidden: -4}, {Dim: 4, Blocks: -1}, {Dim: 4, NormEps: -1}, {Dim: 1 << 40}} {
		if _, err := monarch.NewMLP(bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
