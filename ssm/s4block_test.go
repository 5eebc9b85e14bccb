package ssm_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var s4Blocks = map[string]ssm.S4BlockConfig{
	"S4":           {DModel: 6, S4: ssm.S4Config{DState: 8, Init: ssm.InitLin}},
	"legs":         {DModel: 5, S4: ssm.S4Config{DState: 32}},
	"S4D":          {DModel: 20, S4D: &ssm.S4DConfig{DState: 8}},
	"as in s4.py":  {DModel: 3, S4D: &ssm.S4DConfig{DState: 4, Layout: ssm.StateSpacesS4}, InputLinear: true},
	"narrow":       {DModel: 12, S4: ssm.S4Config{DModel: 3, DState: 6, Init: ssm.InitLin}},
	"wide":         {DModel: 4, S4D: &ssm.S4DConfig{DModel: 18, DState: 4}},
	"both ways":    {DModel: 7, S4D: &ssm.S4DConfig{DState: 6, Bidirectional: true}},
	"both ways S4": {DModel: 3, S4: ssm.S4Config{DState: 6, Bidirectional: true, Init: ssm.InitLin}, InputLinear: true},
}

func newS4Block(t testing.TB, cfg ssm.S4BlockConfig, seed uint64) *ssm.S4Block {
	t.Helper()
	m, err := ssm.NewS4Block(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

// affine computes W·x + b in float64, with the parameters of m of these names.
func affine(t testing.TB, m seqmix.Mixer, name string, x []float64) []float64 {
	w := param(t, m, name+".weight")
	y, rows := make([]float64, w.Dim(0)), w.Float32s()
	for n, p := range m.Params() {
		if n == name+".bias" {
			copy(y, float64s(p.Data()))
		}
	}
	for i := range y {
		for j, v := range x {
			y[i] += float64(rows[i*len(x)+j]) * v
		}
	}
	return y
}

// naiveS4Block computes one sequence from the definition, but for the system.
func naiveS4Block(t testing.TB, m *ssm.S4Block, src []float64) []float64 {
	d, h := m.Dim(), m.Layer().Dim()
	length := len(src) / d
	v := tensor.NewSeq(1, length, h)
	for i := range length {
		x := src[i*d : (i+1)*d]
		if m.Config().InputLinear {
			x = affine(t, m, "input_linear", x)
		}
		for ch := range h {
			v.At(0, i)[ch] = float32(x[ch])
		}
	}
	m.Layer().Mix(v, v)
	var dst []float64
	for i := range length {
		w := float64s(v.At(0, i))
		for ch, x := range w {
			w[ch] = x / 2 * (1 + math.Erf(x/math.Sqrt2))
		}
		ab := affine(t, m, "output_linear.0", w)
		for j := range d {
			dst = append(dst, ab[j]/(1+math.Exp(-ab[d+j])))
		}
	}
	return dst
}

func TestS4Block(t *testing.T) {
	for name, cfg := range s4Blocks {
		t.Run(name, func(t *testing.T) {
			m := newS4Block(t, cfg, 1)
			for _, length := range []int{1, 2, 40, 300} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				var want []float64
				for b := range 2 {
					want = append(want, naiveS4Block(t, m, float64s(src.Sequence(b).Data))...)
				}
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
				s, err := m.NewStream(2)
				if err != nil {
					if !strings.HasPrefix(name, "both ways") || !errors.Is(err, errors.ErrUnsupported) {
						t.Fatal(err)
					}
					continue
				}
				dst := like(src)
				s.Mix(dst.Slice(0, length/3), src.Slice(0, length/3))
				s.Mix(dst.Slice(length/3, length), src.Slice(length/3, length))
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 1e-5)
			}
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestS4BlockNames(t *testing.T) {
	for name, want := range map[string]string{
		"S4":          "layer.D layer.kernel.inv_dt layer.kernel.C layer.kernel.B layer.kernel.A_real layer.kernel.A_imag layer.kernel.P layer.kernel.l_kernel output_linear.0.weight output_linear.0.bias",
		"S4D":         "D kernel.C kernel.log_dt kernel.log_A_real kernel.A_imag output_linear.0.weight output_linear.0.bias",
		"as in s4.py": "input_linear.weight input_linear.bias layer.D layer.kernel.inv_dt layer.kernel.C layer.kernel.B layer.kernel.A_real layer.kernel.A_imag output_linear.0.weight output_linear.0.bias",
	} {
		var names []string
		for n := range newS4Block(t, s4Blocks[name], 1).Params() {
			names = append(names, n)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: parameters %s, want %s", name, got, want)
		}
	}
}

func TestS4BlockConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.S4BlockConfig{
		"d_model 0":  {},
		"d_model -1": {DModel: -1},
		"d_state":    {DModel: 4, S4: ssm.S4Config{DState: 3}},
		"S4D":        {DModel: 4, S4D: &ssm.S4DConfig{DState: 3}},
		"elements":   {DModel: 1 << 26, S4: ssm.S4Config{DModel: 64, DState: 4}},
	} {
		if _, err := ssm.NewS4Block(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

var gatedS4s = map[string]ssm.GatedS4Config{
	"default":     {DModel: 8, SSM: ssm.S4BlockConfig{S4: ssm.S4Config{DState: 8, Init: ssm.InitLin}}},
	"CleanUMamba": {DModel: 16, SSM: ssm.S4BlockConfig{S4: ssm.S4Config{DModel: 4, DState: 16}}},
	"odd":         {DModel: 5, DInner: 9, DConv: 3, Bias: true, NoConvBias: true, SSM: ssm.S4BlockConfig{S4D: &ssm.S4DConfig{DState: 4}}},
	"strips":      {DModel: 3, DInner: 150, SSM: ssm.S4BlockConfig{S4D: &ssm.S4DConfig{DModel: 2, DState: 2}}},
}

func newGatedS4(t testing.TB, cfg ssm.GatedS4Config, seed uint64) *ssm.GatedS4 {
	t.Helper()
	m, err := ssm.NewGatedS4(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

func naiveGatedS4(t testing.TB, m *ssm.GatedS4, src []float64) []float64 {
	c := m.Config()
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	taps := float64s(param(t, m, "conv1d.weight").Data())
	inputs := make([]float64, (c.DConv-1)*c.DInner)
	var x, z, dst []float64
	for i := range len(src) / c.DModel {
		xz := affine(t, m, "in_proj", src[i*c.DModel:(i+1)*c.DModel])
		inputs, z = append(inputs, xz[:c.DInner]...), append(z, xz[c.DInner:]...)
		for ch := range c.DInner {
			sum := 0.0
			if !c.NoConvBias {
				sum = float64(param(t, m, "conv1d.bias").Data()[ch])
			}
			for k := range c.DConv {
				sum += taps[ch*c.DConv+k] * inputs[(i+k)*c.DInner+ch]
			}
			x = append(x, silu(sum))
		}
	}
	y := naiveS4Block(t, m.Block(), x)
	for i := range y {
		y[i] *= silu(z[i])
	}
	for i := range len(src) / c.DModel {
		dst = append(dst, affine(t, m, "out_proj", y[i*c.DInner:(i+1)*c.DInner])...)
	}
	return dst
}

func TestGatedS4(t *testing.T) {
	for name, cfg := range gatedS4s {
		t.Run(name, func(t *testing.T) {
			m := newGatedS4(t, cfg, 1)
			small(t, 0, m.Config().DInner)
			for _, length := range []int{1, 2, 40, 300} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				var want []float64
				for b := range 2 {
					want = append(want, naiveGatedS4(t, m, float64s(src.Sequence(b).Data))...)
				}
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
			}
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for want, c := range map[string]ssm.GatedS4Config{
		"d_model 0":     {},
		"d_conv -1":     {DModel: 1, DConv: -1},
		"width 7":       {DModel: 4, SSM: ssm.S4BlockConfig{DModel: 7}},
		"elements":      {DModel: 1 << 30},
		"bidirectional": {DModel: 4, SSM: ssm.S4BlockConfig{S4: ssm.S4Config{Bidirectional: true}}},
	} {
		if _, err := ssm.NewGatedS4(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

// A state that is taken from one stream and given to another goes on there.
func TestGatedS4State(t *testing.T) {
	m := newGatedS4(t, gatedS4s["CleanUMamba"], 3)
	src := randomSeq(newRand(3), 2, 50, 16)
	first, second := newStream[*ssm.GatedS4Stream](t, m, 2), newStream[*ssm.GatedS4Stream](t, m, 2)
	want, got := like(src), like(src)
	first.Mix(want, src)
	second.Mix(got.Slice(0, 20), src.Slice(0, 20))
	third := newStream[*ssm.GatedS4Stream](t, m, 2)
	third.SetState(second.State())
	third.Mix(got.Slice(20, 50), src.Slice(20, 50))
	wantClose(t, "from a state", got.Data, want.Data, 1e-5)
	wantShapePanic(t, func() { third.SetState(tensor.New(1, 3, 32), nil) })
	wantShapePanic(t, func() { third.SetState(nil, tensor.New(2, 4, 8)) })
}
