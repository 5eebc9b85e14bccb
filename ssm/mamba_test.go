package ssm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

func newMamba(t testing.TB, cfg ssm.MambaConfig, seed uint64) *ssm.Mamba {
	t.Helper()
	m, err := ssm.NewMamba(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	for name, p := range m.Params() {
		switch name {
		case "D", "dt_layernorm.weight", "b_layernorm.weight", "c_layernorm.weight":
			for i := range p.Data() {
				p.Data()[i] = float32(0.5 + r.Float64())
			}
		case "A_log":
			for i := range p.Data() {
				p.Data()[i] += float32(0.3 * r.NormFloat64())
			}
		case "dt_proj.bias":
			randomize(r, p.Data(), 1)
		case "in_proj.bias", "out_proj.bias":
			randomize(r, p.Data(), 0.5)
		}
	}
	return m
}

// mambas are configurations that have little in common.
var mambas = map[string]ssm.MambaConfig{
	"default":        {DModel: 32},
	"one of each":    {DModel: 1, DInner: 1, DState: 1, DConv: 1, DTRank: 1},
	"odd":            {DModel: 7, Expand: 3, DState: 5, DConv: 3, DTRank: 2, Bias: true},
	"no conv bias":   {DModel: 10, ConvBias: new(false), DConv: 2},
	"narrow, pruned": {DModel: 55, DInner: 8, DState: 8, DTRank: 32},
	"pruned":         {DModel: 47, DInner: 72, DState: 14, DTRank: 32},
	"two strips":     {DModel: 12, DInner: 150, DState: 3, DConv: 6},
	"FalconMamba":    {DModel: 16, InnerNorm: ssm.PlainNorm, DTRank: 3},
	"Jamba":          {DModel: 16, InnerNorm: ssm.WeightedNorm, NormEps: 1e-5, DTRank: 3},
}

// naiveMamba computes one sequence from the definition, in float64, and returns the
// output and the state after it.
func naiveMamba(m *ssm.Mamba, src []float64) (dst, conv, h []float64) {
	c := m.Config()
	return naiveMambaBehind(m, src, make([]float64, (c.DConv-1)*c.DInner), make([]float64, c.DInner*c.DState))
}

// naiveMambaBehind is naiveMamba from a state.
func naiveMambaBehind(m *ssm.Mamba, src, convBefore, hBefore []float64) (dst, conv, h []float64) {
	c := m.Config()
	d, e, n, taps, rank := c.DModel, c.DInner, c.DState, c.DConv, int(c.DTRank)
	p := map[string][]float64{}
	for name, t := range m.Params() {
		for _, v := range t.Float32s() {
			p[name] = append(p[name], float64(v))
		}
	}
	linear := func(name string, x []float64, out int) []float64 {
		y := make([]float64, out)
		copy(y, p[name+".bias"])
		for i := range y {
			for j, v := range x {
				y[i] += p[name+".weight"][i*len(x)+j] * v
			}
		}
		return y
	}
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	norm := func(name string, x []float64) []float64 {
		if c.InnerNorm == ssm.NoNorm {
			return x
		}
		sum := 0.0
		for _, v := range x {
			sum += v * v
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = v / math.Sqrt(sum/float64(len(x))+float64(c.NormEps))
			if w := p[name+"_layernorm.weight"]; w != nil {
				y[i] *= w[i]
			}
		}
		return y
	}
	h, inputs := slices.Clone(hBefore), slices.Clone(convBefore)
	for t := range len(src) / d {
		xz := linear("in_proj", src[t*d:(t+1)*d], 2*e)
		inputs = append(inputs, xz[:e]...)
		x := make([]float64, e)
		for ch := range x {
			if b := p["conv1d.bias"]; b != nil {
				x[ch] = b[ch]
			}
			for k := range taps {
				x[ch] += p["conv1d.weight"][ch*taps+k] * inputs[(t+k)*e+ch]
			}
			x[ch] = silu(x[ch])
		}
		low := linear("x_proj", x, rank+2*n)
		r, b, cc := norm("dt", low[:rank]), norm("b", low[rank:rank+n]), norm("c", low[rank+n:])
		raw := linear("dt_proj", r, e)
		y := make([]float64, e)
		for ch := range y {
			delta := raw[ch]
			if delta <= 20 {
				delta = math.Log1p(math.Exp(delta))
			}
			y[ch] = p["D"][ch] * x[ch]
			for s := range n {
				a := -math.Exp(p["A_log"][ch*n+s])
				h[ch*n+s] = math.Exp(delta*a)*h[ch*n+s] + delta*b[s]*x[ch]
				y[ch] += cc[s] * h[ch*n+s]
			}
			y[ch] *= silu(xz[e+ch])
		}
		dst = append(dst, linear("out_proj", y, d)...)
	}
	return dst, inputs[len(inputs)-(taps-1)*e:], h
}

func float64s(v []float32) []float64 {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = float64(v[i])
	}
	return w
}

func TestMambaAgainstDefinition(t *testing.T) {
	for name, cfg := range mambas {
		t.Run(name, func(t *testing.T) {
			m := newMamba(t, cfg, 1)
			for _, length := range []int{1, 2, 5, 40, 131, 300} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				s := newStream[*ssm.MambaStream](t, m, 2)
				dst := like(src)
				s.Mix(dst, src)
				conv, h := s.State()
				var want, wantConv, wantH []float64
				for b := range 2 {
					y, c, states := naiveMamba(m, float64s(src.Sequence(b).Data))
					want, wantConv, wantH = append(want, y...), append(wantConv, c...), append(wantH, states...)
				}
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 1e-5)
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
				wantClose(t, "inputs of the convolution", conv.Data(), wantConv, 1e-5)
				wantClose(t, "states", h.Data(), wantH, 1e-5)
			}
		})
	}
}

func TestMambaContract(t *testing.T) {
	for name, cfg := range mambas {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				if err := mixtest.Test(newMamba(t, cfg, 2), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestMambaGolden(t *testing.T) {
	golden(t, "testdata/mamba1", func(t *testing.T, c *goldentest.Case) {
		var cfg struct {
			ssm.MambaConfig
			Norm    string  `json:"norm"`
			NormEps float32 `json:"norm_eps"`
			Prefix  int     `json:"prefix"`
		}
		if err := c.Config(&cfg); err != nil {
			t.Fatal(err)
		}
		switch cfg.Norm {
		case "falcon":
			cfg.InnerNorm = ssm.PlainNorm
		case "jamba":
			cfg.InnerNorm = ssm.WeightedNorm
		}
		cfg.MambaConfig.NormEps = cfg.NormEps
		m, err := ssm.NewMamba(cfg.MambaConfig)
		if err != nil {
			t.Fatal(err)
		}
		setParams(t, c, m, "")
		src := seqOf(c, "in.u")
		dst := like(src)
		got := map[string][]float32{}
		s := newStream[*ssm.MambaStream](t, m, src.Batch)
		// Upstream keeps the last K inputs, of which one is of no more use.
		part := src.Slice(0, cfg.Prefix)
		inputs := inputsOf(m, src)
		columns := c.Shape("state.conv_final")[2]
		s.Mix(dst.Slice(0, cfg.Prefix), part)
		record := func(name string, length int) {
			conv, h := s.State()
			got["state.ssm_"+name] = h.Data()
			got["state.conv_"+name] = upstreamConv(conv, inputs, length, columns)
		}
		record("after_prefix", cfg.Prefix)
		s.Mix(dst.Slice(cfg.Prefix, src.Len), src.Slice(cfg.Prefix, src.Len))
		record("final", src.Len)
		got["out.y"] = dst.Data
		compare(t, c, got)
		wantClose(t, "Mix", mix(m, src).Data, dst.Data, 1e-6)
	})
}

// inputsOf returns the inputs of the convolution of m.
func inputsOf(m *ssm.Mamba, src tensor.Seq) tensor.Seq {
	var w *tensor.Tensor
	var bias []float32
	for name, p := range m.Params() {
		switch name {
		case "in_proj.weight":
			w = p
		case "in_proj.bias":
			bias = p.Data()
		}
	}
	xz := tensor.NewSeq(src.Batch, src.Len, w.Dim(0))
	tensor.Linear(xz, src, w, bias)
	return xz
}

// upstreamConv returns the state of a convolution as (batch, E, columns), newest input
// in the last column: from ours, and a first column, if upstream has one, from inputs.
func upstreamConv(conv *tensor.Tensor, inputs tensor.Seq, length, columns int) []float32 {
	batch, taps, e := conv.Dim(0), conv.Dim(1), conv.Dim(2)
	v := make([]float32, batch*e*columns)
	for b := range batch {
		for ch := range e {
			for j := range columns {
				at := (b*e+ch)*columns + j
				if k := j - (columns - taps); k >= 0 {
					v[at] = conv.Data()[(b*taps+k)*e+ch]
				} else if p := length - columns + j; p >= 0 {
					v[at] = inputs.At(b, p)[ch]
				}
			}
		}
	}
	return v
}

// The taps are in order of time, and nothing is mirrored.
func TestMambaTapOrder(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 1, DInner: 1, DState: 1, DTRank: 1}, 1)
	param(t, m, "in_proj.weight").SetFloat32s([]float32{1, 0})
	param(t, m, "conv1d.weight").SetFloat32s([]float32{.001, .01, .1, 1})
	param(t, m, "conv1d.bias").SetFloat32s([]float32{0})
	src := tensor.SeqOf([]float32{1, 0, 0, 0, 0}, 1, 5, 1)
	dst, _, _ := naiveMamba(m, float64s(src.Data))
	wantClose(t, "impulse", mix(m, src).Data, dst, 1e-5)
}

// Swapping what the projections are split into must not go unnoticed.
func TestMambaSplitOrder(t *testing.T) {
	cfg := ssm.MambaConfig{DModel: 6, DInner: 8, DState: 4, DTRank: 4}
	src := randomSeq(newRand(9), 1, 9, 6)
	want := mix(newMamba(t, cfg, 3), src)
	swap := func(name string, from, to, rows int) {
		m := newMamba(t, cfg, 3)
		p := param(t, m, name)
		n := p.Dim(1)
		v := p.Data()
		for i := range rows * n {
			v[from*n+i], v[to*n+i] = v[to*n+i], v[from*n+i]
		}
		if e := relError(mix(m, src).Data, want.Data); e < 1e-3 {
			t.Errorf("%s: rows %d and %d swapped change the result by %.2g only", name, from, to, e)
		}
	}
	swap("in_proj.weight", 0, 8, 8)
	swap("x_proj.weight", 0, 4, 4)
	swap("x_proj.weight", 4, 8, 4)
	swap("x_proj.weight", 0, 8, 4)
}

func TestMambaSplits(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 9, DState: 5}, 4)
	src := randomSeq(newRand(4), 2, 100, 9)
	whole := newStream[*ssm.MambaStream](t, m, 2)
	want := like(src)
	whole.Mix(want, src)
	wantConv, wantH := whole.State()
	for at := 1; at < src.Len; at++ {
		first, second := newStream[*ssm.MambaStream](t, m, 2), newStream[*ssm.MambaStream](t, m, 2)
		dst := like(src)
		first.Mix(dst.Slice(0, at), src.Slice(0, at))
		second.SetState(first.State())
		second.Mix(dst.Slice(at, src.Len), src.Slice(at, src.Len))
		conv, h := second.State()
		wantClose(t, fmt.Sprint("cut at ", at), dst.Data, want.Data, 1e-6)
		wantClose(t, "inputs of the convolution", conv.Data(), wantConv.Data(), 1e-6)
		wantClose(t, "states", h.Data(), wantH.Data(), 1e-6)
	}
}

// TestMambaWide cuts sequences whose projections are computed in several strips, with
// channels that are no multiple of what matrix products work on, from an input whose
// rows are copied, and on one core and on several.
func TestMambaWide(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 512, DInner: 264, DState: 3, DTRank: 2, Bias: true}, 4)
	seqmix.Pack(seqmix.Stack{m})
	src := randomSeq(newRand(4), 3, 150, 512)
	want := mix(m, src)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 3} {
		runtime.GOMAXPROCS(procs)
		for _, length := range []int{1, 7, 40, 150} {
			s, dst := newStream[*ssm.MambaStream](t, m, 3), like(src)
			for at := 0; at < src.Len; at += length {
				end := min(at+length, src.Len)
				s.Mix(dst.Slice(at, end), src.Slice(at, end))
			}
			for b := range 3 {
				if !slices.Equal(dst.Sequence(b).Data, want.Sequence(b).Data) {
					t.Errorf("%d positions at a time on %d cores: sequence %d differs", length, procs, b)
				}
			}
		}
	}
	y, _, _ := naiveMamba(m, float64s(src.Sequence(1).Data))
	wantClose(t, "output", want.Sequence(1).Data, y, 1e-5)
}

func TestMambaInitialState(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 4, DInner: 20, DState: 3}, 4)
	r := newRand(5)
	s := newStream[*ssm.MambaStream](t, m, 2)
	conv, h := s.State()
	randomize(r, conv.Data(), 1)
	randomize(r, h.Data(), 1)
	s.SetState(conv, nil)
	if c, zero := s.State(); !slices.Equal(c.Data(), conv.Data()) || slices.Max(zero.Data()) != 0 {
		t.Error("setting one part changed the other")
	}
	s.SetState(nil, h)
	gotConv, gotH := s.State()
	wantSame(t, "inputs of the convolution", gotConv.Data(), conv.Data())
	wantSame(t, "states", gotH.Data(), h.Data())
	for _, bad := range []func(){
		func() { s.SetState(tensor.New(2, 4, 20), nil) },
		func() { s.SetState(nil, tensor.New(1, 20, 3)) },
		func() { s.SetState(nil, tensor.New(120)) },
	} {
		func() {
			defer func() {
				var shape *tensor.ShapeError
				if err, ok := recover().(error); !ok || !errors.As(err, &shape) {
					t.Error("a wrong shape: want a panic with a *tensor.ShapeError")
				}
			}()
			bad()
		}()
	}
}

func TestMambaPacked(t *testing.T) {
	for name, cfg := range mambas {
		m := newMamba(t, cfg, 6)
		for _, lengths := range [][]int{{1}, {1, 1, 1}, {170, 65, 100}, {1, 2, 3, 128, 129, 1}, {300, 1}} {
			total := 0
			var starts []int
			for i, n := range lengths {
				if i > 0 || total%2 == 0 {
					starts = append(starts, total)
				}
				total += n
			}
			src := randomSeq(newRand(7), 1, total, m.Dim())
			for _, starts := range [][]int{starts, starts[1:]} {
				got := clone(src)
				m.MixPacked(got, got, starts)
				at := 0
				for _, n := range lengths {
					want := mix(m, src.Slice(at, at+n))
					wantClose(t, fmt.Sprint(name, lengths, starts), got.Slice(at, at+n).Data, want.Data, 1e-6)
					at += n
				}
			}
		}
	}
}

func TestMambaPackedPanics(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 4}, 6)
	x, batch := tensor.NewSeq(1, 8, 4), tensor.NewSeq(2, 8, 4)
	for _, f := range []func(){
		func() { m.MixPacked(x, x, []int{8}) },
		func() { m.MixPacked(x, x, []int{-1}) },
		func() { m.MixPacked(x, x, []int{4, 4}) },
		func() { m.MixPacked(x, x, []int{5, 2}) },
		func() { m.MixPacked(batch, batch, nil) },
		func() { m.MixPadded(batch, batch, []int{1}, nil) },
		func() { m.MixPadded(batch, batch, []int{5, 0}, []int{4, 0}) },
		func() { m.MixPadded(batch, batch, nil, []int{0, -1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
	}
}

func TestMambaPadded(t *testing.T) {
	for name, cfg := range mambas {
		m := newMamba(t, cfg, 8)
		const length = 140
		left, right := []int{0, 3, 7, length, 1}, []int{5, 0, 2, 0, 138}
		src := randomSeq(newRand(8), len(left), length, m.Dim())
		for b := range left {
			for _, pad := range []tensor.Seq{src.Sequence(b).Slice(0, left[b]), src.Sequence(b).Slice(length-right[b], length)} {
				for i := range pad.Data {
					pad.Data[i] = float32(math.NaN())
				}
			}
		}
		more := randomSeq(newRand(9), len(left), 3, m.Dim())
		s := newStream[*ssm.MambaStream](t, m, len(left))
		got, gotMore := like(src), like(more)
		s.MixPadded(got, src, left, right)
		s.Mix(gotMore, more)
		whole := like(src)
		m.MixPadded(whole, src, left, right)
		wantSame(t, name+": whole sequences", whole.Data, got.Data)
		for b := range left {
			alone := newStream[*ssm.MambaStream](t, m, 1)
			begin, end := left[b], length-right[b]
			want := tensor.NewSeq(1, length, m.Dim())
			alone.Mix(want.Slice(begin, end), src.Sequence(b).Slice(begin, end))
			wantClose(t, fmt.Sprint(name, ": sequence ", b), got.Sequence(b).Data, want.Data, 1e-6)
			wantMore := tensor.NewSeq(1, 3, m.Dim())
			alone.Mix(wantMore, more.Sequence(b))
			wantClose(t, fmt.Sprint(name, ": continued, sequence ", b), gotMore.Sequence(b).Data, wantMore.Data, 1e-6)
		}
		none := like(more)
		m.MixPadded(none, more, nil, nil)
		wantClose(t, "no padding", none.Data, mix(m, more).Data, 1e-6)
	}
}

func TestMambaSnapshot(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 12}, 10)
	src := randomSeq(newRand(10), 1, 20, 12)
	s := newStream[*ssm.MambaStream](t, m, 1)
	s.Mix(like(src), src)
	saved, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	generate := func(s *ssm.MambaStream) []float32 {
		x := clone(src.Slice(0, 1))
		var all []float32
		for range 5 {
			s.Mix(x, x)
			all = append(all, x.Data...)
		}
		return all
	}
	branch := s.Clone().(*ssm.MambaStream)
	want := generate(s)
	if err := s.UnmarshalBinary(saved); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "restored", generate(s), want)
	wantSame(t, "clone", generate(branch), want)
	wider := newStream[*ssm.MambaStream](t, newMamba(t, ssm.MambaConfig{DModel: 12, DState: 17}, 1), 1)
	if err := wider.UnmarshalBinary(saved); err == nil || !strings.Contains(err.Error(), "17") {
		t.Errorf("state of another mixer: error %v", err)
	}
}

// Parameters may be changed in place, as loading and training do.
func TestMambaFollowsParameters(t *testing.T) {
	m := newMamba(t, ssm.MambaConfig{DModel: 8}, 11)
	src := randomSeq(newRand(11), 1, 30, 8)
	mix(m, src)
	s := newStream[*ssm.MambaStream](t, m, 1)
	for _, name := range []string{"A_log", "conv1d.weight", "D", "dt_proj.bias"} {
		for i := range param(t, m, name).Data() {
			param(t, m, name).Data()[i] += 0.25
		}
		want, _, _ := naiveMamba(m, float64s(src.Data))
		wantClose(t, "Mix after a change of "+name, mix(m, src).Data, want, 1e-5)
		s.Reset()
		dst := like(src)
		s.Mix(dst, src)
		wantClose(t, "stream after a change of "+name, dst.Data, want, 1e-5)
	}
}

func TestMambaInit(t *testing.T) {
	cfg := ssm.MambaConfig{DModel: 64, Bias: true, InnerNorm: ssm.WeightedNorm}
	m, err := ssm.NewMamba(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(12))
	within := func(name string, low, high float64) {
		t.Helper()
		v := param(t, m, name).Float32s()
		least, most := float64(slices.Min(v)), float64(slices.Max(v))
		if least < low || most > high || least > low+0.1*(high-low) || most < high-0.1*(high-low) {
			t.Errorf("%s is in [%.4g, %.4g], want it to fill [%.4g, %.4g]", name, least, most, low, high)
		}
	}
	within("in_proj.weight", -1./8, 1./8)
	within("x_proj.weight", -1/math.Sqrt(128), 1/math.Sqrt(128))
	within("out_proj.weight", -1/math.Sqrt(128), 1/math.Sqrt(128))
	within("conv1d.weight", -.5, .5)
	within("conv1d.bias", -.5, .5)
	within("dt_proj.weight", -.5, .5)
	var steps []float64
	for _, b := range param(t, m, "dt_proj.bias").Data() {
		steps = append(steps, math.Log(math.Log1p(math.Exp(float64(b)))))
	}
	if low, high := slices.Min(steps), slices.Max(steps); low < math.Log(1e-3)-1e-4 || low > math.Log(2e-3) || high > math.Log(.1)+1e-4 || high < math.Log(.05) {
		t.Errorf("Δ is in [%.4g, %.4g], want it to fill [0.001, 0.1]", math.Exp(low), math.Exp(high))
	}
	for i, v := range param(t, m, "A_log").Data() {
		if math.Abs(math.Exp(float64(v))-float64(i%16+1)) > 1e-5 {
			t.Fatalf("A_log[%d] is %v, want log(%d)", i, v, i%16+1)
		}
	}
	for name, want := range map[string]float32{"D": 1, "in_proj.bias": 0, "out_proj.bias": 0, "dt_layernorm.weight": 1, "b_layernorm.weight": 1} {
		if v := param(t, m, name).Data(); slices.Min(v) != want || slices.Max(v) != want {
			t.Errorf("%s is in [%v, %v], want %v", name, slices.Min(v), slices.Max(v), want)
		}
	}
	constant, err := ssm.NewMamba(ssm.MambaConfig{DModel: 64, DTInit: "constant", DTScale: 2})
	if err != nil {
		t.Fatal(err)
	}
	constant.Init(newRand(12))
	if v := param(t, constant, "dt_proj.weight").Data(); slices.Min(v) != 1 || slices.Max(v) != 1 {
		t.Errorf("constant dt_proj.weight is in [%v, %v], want 2/√4", slices.Min(v), slices.Max(v))
	}
}

// The parameters of a layer are 6.25·d² + 111·d with those of its norm.
func TestMambaParameterCount(t *testing.T) {
	for _, d := range []int{64, 768} {
		m, err := ssm.NewMamba(ssm.MambaConfig{DModel: d})
		if err != nil {
			t.Fatal(err)
		}
		n := d
		for _, p := range m.Params() {
			n += p.Len()
		}
		if want := 25*d*d/4 + 111*d; n != want {
			t.Errorf("width %d: %d parameters, want %d", d, n, want)
		}
	}
}

func TestMambaConfig(t *testing.T) {
	var c ssm.MambaConfig
	text := `{"d_model": 40, "expand": 1.5, "dt_rank": "auto", "conv_bias": false, "inner_norm": "plain", "d_conv": 2}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	m, err := ssm.NewMamba(c)
	if err != nil {
		t.Fatal(err)
	}
	got := m.Config()
	if got.DInner != 60 || got.DTRank != 3 || got.DState != 16 || got.DConv != 2 || *got.ConvBias || got.InnerNorm != ssm.PlainNorm {
		t.Errorf("configuration %+v", got)
	}
	back, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again ssm.MambaConfig
	if err := json.Unmarshal(back, &again); err != nil || again.DInner != 60 || again.DTRank != 3 || *again.ConvBias {
		t.Errorf("%s is read back as %+v (%v)", back, again, err)
	}
	of, err := ssm.MambaConfigOf(func(name string) []int {
		for n, p := range m.Params() {
			if n == name {
				return p.Shape()
			}
		}
		return nil
	})
	if err != nil || of.DModel != 40 || of.DInner != 60 || of.DState != 16 || of.DConv != 2 || of.DTRank != 3 || *of.ConvBias || of.Bias {
		t.Errorf("configuration of the shapes: %+v (%v)", of, err)
	}
	if _, err := ssm.MambaConfigOf(func(string) []int { return nil }); err == nil {
		t.Error("no shapes: no error")
	}
}

func TestMambaConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.MambaConfig{
		"d_model":    {},
		"d_inner":    {DModel: 4, DInner: -1},
		"d_state":    {DModel: 4, DState: -1},
		"d_conv":     {DModel: 4, DConv: -4},
		"dt_rank":    {DModel: 4, DTRank: -4},
		"elements":   {DModel: 1 << 30, DInner: 1 << 30},
		"d_inner 0":  {DModel: 1 << 30},
		"dt_init":    {DModel: 4, DTInit: "zero"},
		"dt_min":     {DModel: 4, DTMin: 2, DTMax: 1},
		"dt_max":     {DModel: 4, DTMax: math.NaN()},
		"norm_eps":   {DModel: 4, NormEps: -1},
		"inner norm": {DModel: 4, InnerNorm: 9},
		"dt_scale":   {DModel: 4, DTScale: math.NaN()},
	} {
		if _, err := ssm.NewMamba(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
	var c ssm.MambaConfig
	for _, text := range []string{`{"dt_rank": "many"}`, `{"inner_norm": "layer"}`} {
		if err := json.Unmarshal([]byte(text), &c); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	m := newMamba(t, ssm.MambaConfig{DModel: 4}, 1)
	if _, err := m.NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
}

func FuzzMambaState(f *testing.F) {
	m := newMamba(f, ssm.MambaConfig{DModel: 3, DState: 2, DConv: 3}, 1)
	s := newStream[*ssm.MambaStream](f, m, 2)
	s.Mix(tensor.NewSeq(2, 4, 3), randomSeq(newRand(1), 2, 4, 3))
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
