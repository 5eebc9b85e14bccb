package ssm_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

func newMamba2(t testing.TB, cfg ssm.Mamba2Config, seed uint64) *ssm.Mamba2 {
	t.Helper()
	m, err := ssm.NewMamba2(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	for name, p := range m.Params() {
		switch name {
		case "D", "norm.weight":
			for i := range p.Data() {
				p.Data()[i] = float32(0.5 + r.Float64())
			}
		case "dt_bias":
			randomize(r, p.Data(), 1)
		case "in_proj.bias", "out_proj.bias", "init_states":
			randomize(r, p.Data(), 0.5)
		}
	}
	return m
}

// mamba2s are configurations that have little in common.
var mamba2s = map[string]ssm.Mamba2Config{
	"default":          {DModel: 64},
	"one of each":      {DModel: 1, DInner: 1, HeadDim: 1, DState: 1, DConv: 1},
	"odd":              {DModel: 7, DInner: 15, HeadDim: 5, DState: 9, DConv: 3, Bias: true},
	"groups":           {DModel: 12, DInner: 48, HeadDim: 4, NGroups: 3, DState: 8},
	"one norm":         {DModel: 12, DInner: 24, HeadDim: 4, NGroups: 2, NormGroups: 1, DState: 6},
	"norm before gate": {DModel: 16, HeadDim: 16, DState: 16, NormBeforeGate: true, NGroups: 2},
	"no norm":          {DModel: 16, HeadDim: 8, DState: 16, RMSNorm: new(false), ConvBias: new(false)},
	"wide heads":       {DModel: 10, DInner: 160, HeadDim: 80, DState: 5, DHasDim: true},
	"narrow heads":     {DModel: 10, DInner: 141, HeadDim: 3, DState: 5},
	"limited steps":    {DModel: 16, HeadDim: 16, DState: 4, DTLimit: ssm.Limit{Min: 0.3, Max: 1.2}},
	"branch":           {DModel: 16, DSSM: 16, HeadDim: 8, DState: 4, NGroups: 2},
	"initial states":   {DModel: 12, DInner: 24, HeadDim: 4, NGroups: 2, DState: 6, InitStates: true},
	"strong decay":     {DModel: 12, DInner: 24, HeadDim: 4, DState: 6, AInit: [2]float64{200, 900}},
}

// naiveMamba2 computes one sequence from the definition, in float64, and returns the
// output and the state after it.
func naiveMamba2(m *ssm.Mamba2, src []float64) (dst, conv, state []float64) {
	c := m.Config()
	d, e, n, g, taps := c.DModel, c.DSSM, c.DState, c.NGroups, c.DConv
	h, p, mlp := e/c.HeadDim, c.HeadDim, c.DInner-c.DSSM
	w := map[string][]float64{}
	for name, t := range m.Params() {
		w[name] = float64s(t.Float32s())
	}
	linear := func(name string, x []float64, out int) []float64 {
		y := make([]float64, out)
		copy(y, w[name+".bias"])
		for i := range y {
			for j, v := range x {
				y[i] += w[name+".weight"][i*len(x)+j] * v
			}
		}
		return y
	}
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	state = make([]float64, h*p*n)
	copy(state, w["init_states"])
	width := e + 2*g*n
	inputs := make([]float64, (taps-1)*width)
	for t := range len(src) / d {
		proj := linear("in_proj", src[t*d:(t+1)*d], 2*mlp+e+width+h)
		z, steps := proj[2*mlp:2*mlp+e], proj[2*mlp+e+width:]
		inputs = append(inputs, proj[2*mlp+e:2*mlp+e+width]...)
		xbc := make([]float64, width)
		for ch := range xbc {
			if b := w["conv1d.bias"]; b != nil {
				xbc[ch] = b[ch]
			}
			for k := range taps {
				xbc[ch] += w["conv1d.weight"][ch*taps+k] * inputs[(t+k)*width+ch]
			}
			xbc[ch] = silu(xbc[ch])
		}
		y := make([]float64, e)
		for head := range h {
			delta := steps[head] + w["dt_bias"][head]
			if delta <= 20 {
				delta = math.Log1p(math.Exp(delta))
			}
			delta = max(delta, c.DTLimit.Min)
			if c.DTLimit.Max > 0 {
				delta = min(delta, c.DTLimit.Max)
			}
			a := math.Exp(-delta * math.Exp(w["A_log"][head]))
			group := head / (h / g)
			for i := head * p; i < (head+1)*p; i++ {
				skip := w["D"][head%len(w["D"])]
				if c.DHasDim {
					skip = w["D"][i]
				}
				y[i] = skip * xbc[i]
				for s := range n {
					v := &state[i*n+s]
					*v = a**v + delta*xbc[i]*xbc[e+group*n+s]
					y[i] += *v * xbc[e+g*n+group*n+s]
				}
			}
		}
		gate := func() {
			for i := range y {
				y[i] *= silu(z[i])
			}
		}
		norm := func() {
			size := e / c.NormGroups
			for from := 0; from < e; from += size {
				sum := 0.0
				for _, v := range y[from : from+size] {
					sum += v * v
				}
				for i := from; i < from+size; i++ {
					y[i] *= w["norm.weight"][i] / math.Sqrt(sum/float64(size)+float64(c.NormEps))
				}
			}
		}
		switch {
		case !*c.RMSNorm:
			gate()
		case c.NormBeforeGate:
			norm()
			gate()
		default:
			gate()
			norm()
		}
		var mixed []float64
		for i := range mlp {
			mixed = append(mixed, silu(proj[i])*proj[mlp+i])
		}
		dst = append(dst, linear("out_proj", append(mixed, y...), d)...)
	}
	return dst, inputs[len(inputs)-(taps-1)*width:], state
}

func TestMamba2AgainstDefinition(t *testing.T) {
	for name, cfg := range mamba2s {
		t.Run(name, func(t *testing.T) {
			m := newMamba2(t, cfg, 1)
			for _, length := range []int{1, 2, 5, 40, 131, 300} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				s := newStream[*ssm.Mamba2Stream](t, m, 2)
				dst := like(src)
				s.Mix(dst, src)
				conv, states := s.State()
				var want, wantConv, wantStates []float64
				for b := range 2 {
					y, c, h := naiveMamba2(m, float64s(src.Sequence(b).Data))
					want, wantConv, wantStates = append(want, y...), append(wantConv, c...), append(wantStates, h...)
				}
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 1e-5)
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
				wantClose(t, "inputs of the convolution", conv.Data(), wantConv, 1e-5)
				wantClose(t, "states", states.Data(), wantStates, 1e-5)
			}
		})
	}
}

func TestMamba2Contract(t *testing.T) {
	for name, cfg := range mamba2s {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				if err := mixtest.Test(newMamba2(t, cfg, 2), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// However a sequence is cut, the bits are the same.
func TestMamba2Cuts(t *testing.T) {
	for name, cfg := range mamba2s {
		m := newMamba2(t, cfg, 2)
		src := randomSeq(newRand(3), 2, 200, m.Dim())
		want := mix(m, src)
		for _, piece := range []int{1, 2, 3, 63, 64, 65, 127, 129} {
			s := newStream[*ssm.Mamba2Stream](t, m, 2)
			got := like(src)
			for at := 0; at < src.Len; at += piece {
				end := min(at+piece, src.Len)
				s.Mix(got.Slice(at, end), src.Slice(at, end))
			}
			wantSame(t, fmt.Sprint(name, " in pieces of ", piece), got.Data, want.Data)
		}
	}
}

func TestMamba2ConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.Mamba2Config{
		"d_model":      {},
		"d_inner":      {DModel: 4, DInner: -1},
		"d_inner 0":    {DModel: 1 << 30},
		"d_state":      {DModel: 4, HeadDim: 8, DState: -1},
		"d_conv":       {DModel: 4, HeadDim: 8, DConv: -4},
		"elements":     {DModel: 1 << 29, DInner: 1 << 30},
		"d_ssm 16":     {DModel: 4, DSSM: 16, HeadDim: 8},
		"headdim":      {DModel: 4, HeadDim: 3},
		"ngroups 3":    {DModel: 4, HeadDim: 4, NGroups: 3},
		"norm_groups":  {DModel: 4, HeadDim: 8, NormGroups: 3},
		"norm_eps":     {DModel: 4, HeadDim: 8, NormEps: -1},
		"A_init_range": {DModel: 4, HeadDim: 8, AInit: [2]float64{2, 1}},
		"dt_min":       {DModel: 4, HeadDim: 8, DTMin: 2, DTMax: 1},
		"dt_limit":     {DModel: 4, HeadDim: 8, DTLimit: ssm.Limit{Min: 2, Max: 1}},
		"conv_init":    {DModel: 4, HeadDim: 8, ConvInit: math.NaN()},
	} {
		if _, err := ssm.NewMamba2(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

func TestMamba2Config(t *testing.T) {
	var c ssm.Mamba2Config
	text := `{"d_model": 40, "expand": 1.5, "headdim": 12, "d_state": 6, "ngroups": 5, "rmsnorm": false, "conv_bias": false, "dt_limit": [0.1, null], "A_init_range": [2, 3], "chunk_size": 256}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	got := newMamba2(t, c, 1).Config()
	if got.DInner != 60 || got.DSSM != 60 || got.NormGroups != 5 || got.DConv != 4 || *got.RMSNorm || *got.ConvBias || got.DTLimit != (ssm.Limit{Min: 0.1}) || got.AInit != [2]float64{2, 3} {
		t.Errorf("configuration %+v", got)
	}
	back, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again ssm.Mamba2Config
	if err := json.Unmarshal(back, &again); err != nil || !strings.Contains(string(back), `"dt_limit":[0.1,null]`) || again.DTLimit != got.DTLimit || again.DInner != 60 || *again.RMSNorm {
		t.Errorf("%s is read back as %+v (%v)", back, again, err)
	}
	for _, text := range []string{`{"dt_limit": [1]}`, `{"dt_limit": 1}`, `{"dt_limit": ["a", "b"]}`} {
		if err := json.Unmarshal([]byte(text), &c); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestMamba2ConfigOf(t *testing.T) {
	for name, cfg := range mamba2s {
		m := newMamba2(t, cfg, 1)
		want := m.Config()
		shape := func(name string) []int {
			for n, p := range m.Params() {
				if n == name {
					return p.Shape()
				}
			}
			return nil
		}
		got, err := ssm.Mamba2ConfigOf(shape, want.NGroups)
		if err != nil {
			t.Fatal(err)
		}
		// What no shape shows.
		got.DTLimit, got.NormBeforeGate, got.NormGroups, got.NormEps, got.AInit = want.DTLimit, want.NormBeforeGate, want.NormGroups, want.NormEps, want.AInit
		again, err := json.Marshal(newMamba2(t, got, 1).Config())
		if err != nil {
			t.Fatal(err)
		}
		want.Expand = 2
		if text, _ := json.Marshal(want); string(text) != string(again) {
			t.Errorf("%s: configuration of the shapes\n%s\nwant\n%s", name, again, text)
		}
		if _, err := ssm.Mamba2ConfigOf(shape, 1000); err == nil {
			t.Errorf("%s: 1000 groups: no error", name)
		}
	}
	if _, err := ssm.Mamba2ConfigOf(func(string) []int { return nil }, 1); err == nil {
		t.Error("no shapes: no error")
	}
}

// The parameters of the public models.
func TestMamba2ParameterCount(t *testing.T) {
	for _, c := range []struct{ width, layers, want int }{{768, 24, 128989632}, {1024, 48, 368346624}} {
		m := newMamba2(t, ssm.Mamba2Config{DModel: c.width}, 1)
		n := c.width // of the norm in front
		for _, p := range m.Params() {
			n += p.Len()
		}
		if got := c.layers*n + c.width + 50288*c.width; got != c.want {
			t.Errorf("width %d: %d parameters, want %d", c.width, got, c.want)
		}
	}
}

// Exchanging parts of what in_proj makes must not go unnoticed.
func TestMamba2SplitOrder(t *testing.T) {
	cfg := ssm.Mamba2Config{DModel: 6, DInner: 12, DSSM: 8, HeadDim: 2, DState: 4, NGroups: 2}
	src := randomSeq(newRand(9), 1, 9, 6)
	want := mix(newMamba2(t, cfg, 3), src)
	// z0 4, x0 4, z 8, x 8, B 8, C 8, Δ 4
	for _, swap := range [][3]int{{0, 4, 4}, {8, 16, 8}, {16, 24, 8}, {24, 32, 8}, {24, 28, 4}, {40, 16, 4}} {
		m := newMamba2(t, cfg, 3)
		v := param(t, m, "in_proj.weight").Data()
		for i := range swap[2] * 6 {
			a, b := swap[0]*6+i, swap[1]*6+i
			v[a], v[b] = v[b], v[a]
		}
		if e := relError(mix(m, src).Data, want.Data); e < 1e-3 {
			t.Errorf("%d rows from %d and %d exchanged change the result by %.2g only", swap[2], swap[0], swap[1], e)
		}
	}
}

func TestMamba2InitialState(t *testing.T) {
	m := newMamba2(t, ssm.Mamba2Config{DModel: 9, DInner: 24, HeadDim: 4, NGroups: 2, DState: 5}, 4)
	src := randomSeq(newRand(4), 2, 100, 9)
	whole := newStream[*ssm.Mamba2Stream](t, m, 2)
	want := like(src)
	whole.Mix(want, src)
	wantConv, wantStates := whole.State()
	for at := 1; at < src.Len; at++ {
		first, second := newStream[*ssm.Mamba2Stream](t, m, 2), newStream[*ssm.Mamba2Stream](t, m, 2)
		dst := like(src)
		first.Mix(dst.Slice(0, at), src.Slice(0, at))
		second.SetState(first.State())
		second.Mix(dst.Slice(at, src.Len), src.Slice(at, src.Len))
		conv, states := second.State()
		wantClose(t, fmt.Sprint("cut at ", at), dst.Data, want.Data, 2e-6)
		wantClose(t, "inputs of the convolution", conv.Data(), wantConv.Data(), 1e-6)
		wantClose(t, "states", states.Data(), wantStates.Data(), 1e-6)
	}
	conv, states := whole.State()
	randomize(newRand(5), conv.Data(), 1)
	randomize(newRand(6), states.Data(), 1)
	whole.SetState(conv, nil)
	whole.SetState(nil, states)
	gotConv, gotStates := whole.State()
	wantSame(t, "inputs of the convolution", gotConv.Data(), conv.Data())
	wantSame(t, "states", gotStates.Data(), states.Data())
	for _, bad := range []func(){
		func() { whole.SetState(tensor.New(2, 4, 44), nil) },
		func() { whole.SetState(nil, tensor.New(2, 24, 5)) },
	} {
		wantPanic(t, bad)
	}
}

func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

func TestMamba2Packed(t *testing.T) {
	for name, cfg := range mamba2s {
		m := newMamba2(t, cfg, 6)
		for _, lengths := range [][]int{{1}, {1, 1, 1}, {170, 65, 100}, {1, 2, 3, 128, 129, 1}, {300, 1}} {
			total := 0
			var starts []int
			for _, n := range lengths {
				starts = append(starts, total)
				total += n
			}
			src := randomSeq(newRand(7), 1, total, m.Dim())
			for _, starts := range [][]int{starts, starts[1:]} {
				got := clone(src)
				m.MixPacked(got, got, starts)
				at := 0
				for _, n := range lengths {
					want := mix(m, src.Slice(at, at+n))
					wantSame(t, fmt.Sprint(name, lengths, starts), got.Slice(at, at+n).Data, want.Data)
					at += n
				}
			}
		}
	}
	m := newMamba2(t, ssm.Mamba2Config{DModel: 4, HeadDim: 4}, 6)
	x, batch := tensor.NewSeq(1, 8, 4), tensor.NewSeq(2, 8, 4)
	for _, f := range []func(){
		func() { m.MixPacked(x, x, []int{8}) },
		func() { m.MixPacked(x, x, []int{4, 4}) },
		func() { m.MixPacked(batch, batch, nil) },
		func() { m.MixPadded(batch, batch, []int{1}, nil) },
		func() { m.MixPadded(batch, batch, []int{5, 0}, []int{4, 0}) },
	} {
		wantPanic(t, f)
	}
}

func TestMamba2Padded(t *testing.T) {
	for name, cfg := range mamba2s {
		m := newMamba2(t, cfg, 8)
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
		s := newStream[*ssm.Mamba2Stream](t, m, len(left))
		got, gotMore := like(src), like(more)
		s.MixPadded(got, src, left, right)
		s.Mix(gotMore, more)
		whole := like(src)
		m.MixPadded(whole, src, left, right)
		wantSame(t, name+": whole sequences", whole.Data, got.Data)
		for b := range left {
			alone := newStream[*ssm.Mamba2Stream](t, m, 1)
			begin, end := left[b], length-right[b]
			want := tensor.NewSeq(1, length, m.Dim())
			alone.Mix(want.Slice(begin, end), src.Sequence(b).Slice(begin, end))
			wantSame(t, fmt.Sprint(name, ": sequence ", b), got.Sequence(b).Data, want.Data)
			wantMore := tensor.NewSeq(1, 3, m.Dim())
			alone.Mix(wantMore, more.Sequence(b))
			wantSame(t, fmt.Sprint(name, ": continued, sequence ", b), gotMore.Sequence(b).Data, wantMore.Data)
		}
	}
}

// A state is exact however small the decay that the stream has put off has become.
func TestMamba2Snapshot(t *testing.T) {
	m := newMamba2(t, ssm.Mamba2Config{DModel: 12, HeadDim: 4}, 10)
	src := randomSeq(newRand(10), 1, 60, 12)
	s := newStream[*ssm.Mamba2Stream](t, m, 1)
	for at := range src.Len - 1 {
		s.Mix(like(src.Slice(at, at+1)), src.Slice(at, at+1))
		saved, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again := newStream[*ssm.Mamba2Stream](t, m, 1)
		if err := again.UnmarshalBinary(saved); err != nil {
			t.Fatal(err)
		}
		next := src.Slice(at+1, src.Len)
		got, want := like(next), like(next)
		again.Mix(got, next)
		s.Clone().Mix(want, next)
		wantSame(t, "restored", got.Data, want.Data)
	}
	saved, _ := s.AppendBinary(nil)
	wider := newStream[*ssm.Mamba2Stream](t, newMamba2(t, ssm.Mamba2Config{DModel: 12, HeadDim: 4, DState: 17}, 1), 1)
	if err := wider.UnmarshalBinary(saved); err == nil || !strings.Contains(err.Error(), "17") {
		t.Errorf("state of another mixer: error %v", err)
	}
}

// Parameters may be changed in place, as loading and training do.
func TestMamba2FollowsParameters(t *testing.T) {
	m := newMamba2(t, ssm.Mamba2Config{DModel: 8, HeadDim: 4, DState: 4, InitStates: true}, 11)
	src := randomSeq(newRand(11), 1, 30, 8)
	mix(m, src)
	s := newStream[*ssm.Mamba2Stream](t, m, 1)
	for name, p := range m.Params() {
		for i := range p.Data() {
			p.Data()[i] += 0.25
		}
		want, _, _ := naiveMamba2(m, float64s(src.Data))
		wantClose(t, "Mix after a change of "+name, mix(m, src).Data, want, 1e-5)
		s.Reset()
		dst := like(src)
		s.Mix(dst, src)
		wantClose(t, "stream after a change of "+name, dst.Data, want, 1e-5)
	}
}

func TestMamba2Init(t *testing.T) {
	m, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: 64, HeadDim: 1, Bias: true, InitStates: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(12))
	within := func(name string, low, high float64, f func(float64) float64) {
		t.Helper()
		least, most := math.Inf(1), math.Inf(-1)
		for _, v := range param(t, m, name).Float32s() {
			least, most = min(least, f(float64(v))), max(most, f(float64(v)))
		}
		if slack := 0.1 * (high - low); least < low-1e-5 || most > high+1e-5 || least > low+slack || most < high-slack {
			t.Errorf("%s is in [%.4g, %.4g], want it to fill [%.4g, %.4g]", name, least, most, low, high)
		}
	}
	same := func(v float64) float64 { return v }
	within("in_proj.weight", -1./8, 1./8, same)
	within("out_proj.weight", -1/math.Sqrt(128), 1/math.Sqrt(128), same)
	within("conv1d.weight", -.5, .5, same)
	within("conv1d.bias", -.5, .5, same)
	within("A_log", 1, 16, math.Exp)
	within("dt_bias", math.Log(1e-3), math.Log(.1), func(v float64) float64 { return math.Log(math.Log1p(math.Exp(v))) })
	for name, want := range map[string]float32{"D": 1, "norm.weight": 1, "in_proj.bias": 0, "out_proj.bias": 0, "init_states": 0} {
		if v := param(t, m, name).Data(); slices.Min(v) != want || slices.Max(v) != want {
			t.Errorf("%s is in [%v, %v], want %v", name, slices.Min(v), slices.Max(v), want)
		}
	}
	narrow, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: 64, ConvInit: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	narrow.Init(newRand(12))
	if v := param(t, narrow, "conv1d.weight").Data(); slices.Max(v) > 0.1 || slices.Max(v) < 0.09 {
		t.Errorf("taps up to %v, want 0.1", slices.Max(v))
	}
}

// Over a million positions of slow decay the error stays that of a few roundings,
// since a decay that has not gone into the state is kept in double precision.
func TestMamba2LongMemory(t *testing.T) {
	const length, rate = 1_000_000, 1e-3
	src, ones := tensor.NewSeq(1, length, 1), tensor.NewSeq(1, length, 1)
	for i := range src.Data {
		src.Data[i], ones.Data[i] = 1, 1
	}
	delta := tensor.NewSeq(1, length, 1)
	for i := range delta.Data {
		delta.Data[i] = rate
	}
	dst := like(src)
	ssm.StateSpaceDual(dst, src, ssm.SSD{A: tensor.FromFloat32s([]float32{-1}, 1), Delta: delta, B: ones, C: ones})
	h, step := 0.0, float64(float32(rate))
	worst := 0.0
	for _, y := range dst.Data {
		h = h*math.Exp(-step) + step
		worst = max(worst, math.Abs(float64(y)/h-1))
	}
	if worst > 2e-6 {
		t.Errorf("off by %.3g", worst)
	}
}

func TestStateSpaceDualPanics(t *testing.T) {
	src := tensor.NewSeq(2, 5, 8)
	good := func() ssm.SSD {
		return ssm.SSD{A: tensor.New(4), Delta: tensor.NewSeq(2, 5, 4), B: tensor.NewSeq(2, 5, 6), C: tensor.NewSeq(2, 5, 6), Groups: 2}
	}
	ssm.StateSpaceDual(like(src), src, good())
	for name, change := range map[string]func(*ssm.SSD){
		"A":         func(s *ssm.SSD) { s.A = nil },
		"rates":     func(s *ssm.SSD) { s.A = tensor.New(3) },
		"Delta":     func(s *ssm.SSD) { s.Delta = tensor.NewSeq(2, 5, 3) },
		"DeltaBias": func(s *ssm.SSD) { s.DeltaBias = tensor.New(3) },
		"B":         func(s *ssm.SSD) { s.B = tensor.NewSeq(2, 5, 5) },
		"C":         func(s *ssm.SSD) { s.C = tensor.NewSeq(2, 5, 5) },
		"Groups":    func(s *ssm.SSD) { s.Groups = 3 },
		"D":         func(s *ssm.SSD) { s.D = tensor.New(8) },
		"Z":         func(s *ssm.SSD) { s.Z = tensor.NewSeq(2, 5, 4) },
		"State":     func(s *ssm.SSD) { s.State = tensor.New(2, 4, 2, 6) },
		"Starts":    func(s *ssm.SSD) { s.Starts = [][]int{{1}} },
		"Limit":     func(s *ssm.SSD) { s.Limit.Min = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			change(&s)
			wantPanic(t, func() { ssm.StateSpaceDual(like(src), src, s) })
		})
	}
}

// The denoiser of shared/weights/cleanumamba, layer by layer.
func TestMamba2Denoiser(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	dir := filepath.Join(root, "weights", "cleanumamba")
	open := func(path ...string) *checkpoint.File {
		f, err := checkpoint.Open(filepath.Join(append([]string{dir}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	weights, golden := open("mamba2.safetensors"), open("golden", "mamba2.safetensors")
	read := func(name string) ([]float32, []int) {
		e, ok := golden.Lookup(name)
		if !ok {
			t.Fatalf("no tensor %s", name)
		}
		v, err := e.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return v, e.Shape()
	}
	for layer := range 3 {
		src := checkpoint.Sub(weights, fmt.Sprintf("tsfm_Mamba_layers.%d.mixer.", layer))
		cfg, err := ssm.Mamba2ConfigOf(func(name string) []int {
			if e, ok := src.Lookup(name); ok {
				return e.Shape()
			}
			return nil
		}, 1)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ssm.NewMamba2(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.Load(m, src, nil); err != nil {
			t.Fatal(err)
		}
		in, shape := read(fmt.Sprintf("block.%d.norm", layer))
		x := tensor.SeqOf(slices.Clone(in), 1, shape[0], shape[1])
		s := newStream[*ssm.Mamba2Stream](t, m, 1)
		y := like(x)
		for at := range x.Len {
			s.Mix(y.Slice(at, at+1), x.Slice(at, at+1))
		}
		want, _ := read(fmt.Sprintf("block.%d.mixer", layer))
		wantClose(t, fmt.Sprint("output of layer ", layer), y.Data, want, 1e-5)
		wantSame(t, "Mix", mix(m, x).Data, y.Data)
		conv, states := s.State()
		want, _ = read(fmt.Sprintf("state.%d.conv", layer))
		wantClose(t, fmt.Sprint("inputs of the convolution of layer ", layer), conv.Data(), want, 1e-5)
		want, _ = read(fmt.Sprintf("state.%d.ssm", layer))
		wantClose(t, fmt.Sprint("states of layer ", layer), states.Data(), want, 1e-5)
	}
}

func FuzzMamba2State(f *testing.F) {
	m := newMamba2(f, ssm.Mamba2Config{DModel: 3, HeadDim: 2, DState: 2, DConv: 3}, 1)
	s := newStream[*ssm.Mamba2Stream](f, m, 2)
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
