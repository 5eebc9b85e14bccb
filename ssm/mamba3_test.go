package ssm_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

func newMamba3(t testing.TB, cfg ssm.Mamba3Config, seed uint64) *ssm.Mamba3 {
	t.Helper()
	m, err := ssm.NewMamba3(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	for name, p := range m.Params() {
		switch name {
		case "in_proj.weight", "out_proj.weight":
		case "dt_bias":
			randomize(r, p.Data(), 1)
		default:
			for i := range p.Data() {
				p.Data()[i] = float32(0.3 + r.Float64())
			}
		}
	}
	return m
}

// mamba3s are configurations that have little in common.
var mamba3s = map[string]ssm.Mamba3Config{
	"default":        {DModel: 64},
	"small":          {DModel: 1, DInner: 1, HeadDim: 1, DState: 2, RopeFraction: 1},
	"odd":            {DModel: 7, DInner: 15, HeadDim: 5, DState: 9},
	"groups":         {DModel: 12, DInner: 48, HeadDim: 4, NGroups: 3, DState: 8, RopeFraction: 1},
	"norm":           {DModel: 10, DInner: 36, HeadDim: 18, DState: 6, OutProjNorm: true},
	"softplus":       {DModel: 12, HeadDim: 8, DState: 8, AActivation: ssm.SoftplusRate},
	"fast decay":     {DModel: 12, HeadDim: 8, DState: 8, AFloor: 50},
	"MIMO":           {DModel: 12, HeadDim: 8, DState: 8, MIMO: true},
	"MIMO of rank 1": {DModel: 12, HeadDim: 8, DState: 12, MIMO: true, MIMORank: 1, RopeFraction: 1},
	"MIMO of rank 3": {DModel: 12, DInner: 40, HeadDim: 20, NGroups: 2, DState: 16, MIMO: true, MIMORank: 3, OutProjNorm: true},
}

// naiveMamba3 computes one sequence from the definition, in float64, and returns the
// output and the state after it.
func naiveMamba3(m *ssm.Mamba3, src []float64) (dst, theta, state, keys, values []float64) {
	c := m.Config()
	d, e, n, g, p := c.DModel, c.DInner, c.DState, c.NGroups, c.HeadDim
	h, rank := e/p, 1
	if c.MIMO {
		rank = c.MIMORank
	}
	turning := int(float64(n)*c.RopeFraction+1e-9) / 2
	w := map[string][]float64{}
	for name, t := range m.Params() {
		w[name] = float64s(t.Float32s())
	}
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	softplus := func(x float64) float64 {
		if x > 20 {
			return x
		}
		return math.Log1p(math.Exp(x))
	}
	norm := func(x, w []float64) []float64 {
		sum := 0.0
		for _, v := range x {
			sum += v * v
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = v * w[i] / math.Sqrt(sum/float64(len(x))+float64(c.NormEps))
		}
		return y
	}
	turn := func(x, theta []float64) {
		for i, a := range theta {
			j, k := 2*i, 2*i+1
			if c.MIMO {
				j, k = i, i+n/2
			}
			sin, cos := math.Sincos(a)
			x[j], x[k] = x[j]*cos-x[k]*sin, x[j]*sin+x[k]*cos
		}
	}
	theta, state = make([]float64, h*turning), make([]float64, h*p*n)
	keys, values = make([]float64, rank*h*n), make([]float64, h*p)
	for t := range len(src) / d {
		proj := make([]float64, 2*e+2*rank*g*n+3*h+turning)
		for i := range proj {
			for j := range d {
				proj[i] += w["in_proj.weight"][i*d+j] * src[t*d+j]
			}
		}
		take := func(n int) []float64 {
			part := proj[:n]
			proj = proj[n:]
			return part
		}
		z, x, b, cc, steps, rates, traps, angles := take(e), take(e), take(rank*g*n), take(rank*g*n), take(h), take(h), take(h), take(turning)
		y := make([]float64, e)
		for head := range h {
			delta := softplus(steps[head] + w["dt_bias"][head])
			rate := rates[head]
			switch {
			case c.AActivation == ssm.SoftplusRate:
				rate = softplus(rate)
			case rate >= 0:
				rate = 1 + rate
			default:
				rate = 1 / (1 - rate)
			}
			alpha := math.Exp(min(-rate, -c.AFloor) * delta)
			lambda := 1 / (1 + math.Exp(-traps[head]))
			for i := range turning {
				theta[head*turning+i] += math.Pi * math.Tanh(angles[i]) * delta
			}
			group := head / (h / g)
			prepare := func(row []float64, name string, r int) []float64 {
				v := norm(row[(r*g+group)*n:(r*g+group+1)*n], w[name+"_norm.weight"])
				for i := range v {
					v[i] += w[name+"_bias"][(head*rank+r)*n+i]
				}
				turn(v, theta[head*turning:(head+1)*turning])
				return v
			}
			of := func(name string, r, i int) float64 {
				if !c.MIMO {
					return 1
				}
				return w[name][(head*rank+r)*p+i]
			}
			s := state[head*p*n : (head+1)*p*n]
			for i := range s {
				s[i] *= alpha
			}
			for r := range rank {
				last, k := keys[(r*h+head)*n:(r*h+head+1)*n], prepare(b, "B", r)
				for i := range p {
					v := x[head*p+i] * of("mimo_x", r, i)
					before := values[head*p+i] * of("mimo_x", r, i)
					for j := range n {
						s[i*n+j] += alpha*(1-lambda)*delta*before*last[j] + lambda*delta*v*k[j]
					}
				}
				copy(last, k)
			}
			copy(values[head*p:(head+1)*p], x[head*p:(head+1)*p])
			for r := range rank {
				q, out := prepare(cc, "C", r), make([]float64, p)
				for i := range p {
					out[i] = w["D"][head] * x[head*p+i] * of("mimo_x", r, i)
					for j := range n {
						out[i] += s[i*n+j] * q[j]
					}
				}
				if c.OutProjNorm {
					out = norm(out, w["norm.weight"][head*p:(head+1)*p])
				}
				for i := range p {
					y[head*p+i] += of("mimo_o", r, i) * out[i] * silu(z[head*p+i]*of("mimo_z", r, i))
				}
			}
		}
		for i := range d {
			sum := 0.0
			for j, v := range y {
				sum += w["out_proj.weight"][i*e+j] * v
			}
			dst = append(dst, sum)
		}
	}
	return dst, theta, state, keys, values
}

// turns adds multiples of 2π to angles, so that they are next to those in want.
func turns(angles []float32, want []float64) []float64 {
	near := float64s(angles)
	for i, w := range want {
		near[i] += 2 * math.Pi * math.Round((w-near[i])/(2*math.Pi))
	}
	return near
}

func TestMamba3AgainstDefinition(t *testing.T) {
	for name, cfg := range mamba3s {
		t.Run(name, func(t *testing.T) {
			m := newMamba3(t, cfg, 1)
			for _, length := range []int{1, 2, 5, 40, 131, 300} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				s := newStream[*ssm.Mamba3Stream](t, m, 2)
				dst := like(src)
				s.Mix(dst, src)
				state := s.State()
				var want, wantAngle, wantStates, wantKeys, wantValues []float64
				for b := range 2 {
					y, a, h, k, v := naiveMamba3(m, float64s(src.Sequence(b).Data))
					want, wantAngle, wantStates = append(want, y...), append(wantAngle, a...), append(wantStates, h...)
					wantKeys, wantValues = append(wantKeys, k...), append(wantValues, v...)
				}
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 1e-5)
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
				wantClose(t, "states", state.SSM.Data(), wantStates, 1e-5)
				wantClose(t, "keys", state.K.Data(), wantKeys, 1e-5)
				wantClose(t, "values", state.V.Data(), wantValues, 1e-5)
				for i, a := range turns(state.Angle.Data(), wantAngle) {
					if !(math.Abs(a-wantAngle[i]) <= 2e-5) {
						t.Fatalf("angle %d is %v, want %v", i, a, wantAngle[i])
					}
				}
			}
		})
	}
}

func TestMamba3Contract(t *testing.T) {
	for name, cfg := range mamba3s {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				if err := mixtest.Test(newMamba3(t, cfg, 2), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// However a sequence is cut, the bits are the same.
func TestMamba3Cuts(t *testing.T) {
	for name, cfg := range mamba3s {
		m := newMamba3(t, cfg, 2)
		src := randomSeq(newRand(3), 2, 200, m.Dim())
		want := mix(m, src)
		for _, piece := range []int{1, 2, 3, 63, 64, 65, 127, 129} {
			s := newStream[*ssm.Mamba3Stream](t, m, 2)
			got := like(src)
			for at := 0; at < src.Len; at += piece {
				end := min(at+piece, src.Len)
				s.Mix(got.Slice(at, end), src.Slice(at, end))
			}
			wantSame(t, fmt.Sprint(name, " in pieces of ", piece), got.Data, want.Data)
		}
	}
}

// A position can have more keys than are computed at a time.
func TestMamba3OfHighRank(t *testing.T) {
	m := newMamba3(t, ssm.Mamba3Config{DModel: 2, DInner: 4, HeadDim: 2, DState: 2, MIMO: true, MIMORank: 66, RopeFraction: 1}, 1)
	src := randomSeq(newRand(1), 1, 5, 2)
	want, _, _, _, _ := naiveMamba3(m, float64s(src.Data))
	wantClose(t, "output", mix(m, src).Data, want, 1e-5)
	if err := mixtest.Test(m, mixtest.Options{Len: 4, Batch: 1}); err != nil {
		t.Error(err)
	}
}

func TestMamba3State(t *testing.T) {
	for _, name := range []string{"groups", "MIMO of rank 3"} {
		m := newMamba3(t, mamba3s[name], 4)
		src := randomSeq(newRand(4), 2, 60, m.Dim())
		want := mix(m, src)
		for at := 1; at < src.Len; at++ {
			first, second := newStream[*ssm.Mamba3Stream](t, m, 2), newStream[*ssm.Mamba3Stream](t, m, 2)
			dst := like(src)
			first.Mix(dst.Slice(0, at), src.Slice(0, at))
			state := first.State()
			second.SetState(state)
			second.SetState(ssm.Mamba3State{V: state.V}) // changes nothing
			second.Mix(dst.Slice(at, src.Len), src.Slice(at, src.Len))
			wantClose(t, fmt.Sprint(name, ", cut at ", at), dst.Data, want.Data, 5e-6)
		}
		s := newStream[*ssm.Mamba3Stream](t, m, 2)
		s.Mix(like(src), src)
		state := s.State()
		for _, part := range []*tensor.Tensor{state.Angle, state.SSM, state.K, state.V} {
			randomize(newRand(5), part.Data(), 0.5)
		}
		s.SetState(state)
		got := s.State()
		wantSame(t, "angles", got.Angle.Data(), state.Angle.Data())
		wantSame(t, "states", got.SSM.Data(), state.SSM.Data())
		wantSame(t, "keys", got.K.Data(), state.K.Data())
		wantSame(t, "values", got.V.Data(), state.V.Data())
		wantPanic(t, func() { s.SetState(ssm.Mamba3State{V: tensor.New(2, 3)}) })
	}
}

func TestMamba3Packed(t *testing.T) {
	for name, cfg := range mamba3s {
		m := newMamba3(t, cfg, 6)
		for _, lengths := range [][]int{{1}, {1, 1, 1}, {170, 65, 100}, {1, 2, 3, 128, 129, 1}} {
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
	m := newMamba3(t, ssm.Mamba3Config{DModel: 4, HeadDim: 4, DState: 4}, 6)
	x, batch := tensor.NewSeq(1, 8, 4), tensor.NewSeq(2, 8, 4)
	wantPanic(t, func() { m.MixPacked(x, x, []int{8}) })
	wantPanic(t, func() { m.MixPacked(batch, batch, nil) })
	wantPanic(t, func() { m.MixPadded(batch, batch, []int{1}, nil) })
}

func TestMamba3Padded(t *testing.T) {
	for name, cfg := range mamba3s {
		m := newMamba3(t, cfg, 8)
		const length = 140
		left, right := []int{0, 3, 7, length, 1}, []int{5, 0, 2, 0, 138}
		src := randomSeq(newRand(8), len(left), length, m.Dim())
		more := randomSeq(newRand(9), len(left), 3, m.Dim())
		s := newStream[*ssm.Mamba3Stream](t, m, len(left))
		got, gotMore, whole := like(src), like(more), like(src)
		s.MixPadded(got, src, left, right)
		s.Mix(gotMore, more)
		m.MixPadded(whole, src, left, right)
		wantSame(t, name+": whole sequences", whole.Data, got.Data)
		for b := range left {
			alone := newStream[*ssm.Mamba3Stream](t, m, 1)
			begin, end := left[b], length-right[b]
			want, wantMore := tensor.NewSeq(1, length, m.Dim()), tensor.NewSeq(1, 3, m.Dim())
			alone.Mix(want.Slice(begin, end), src.Sequence(b).Slice(begin, end))
			alone.Mix(wantMore, more.Sequence(b))
			wantSame(t, fmt.Sprint(name, ": sequence ", b), got.Sequence(b).Data, want.Data)
			wantSame(t, fmt.Sprint(name, ": continued, sequence ", b), gotMore.Sequence(b).Data, wantMore.Data)
		}
	}
}

// A saved state is exact: angles and decays too, which are kept in double precision.
func TestMamba3Snapshot(t *testing.T) {
	m := newMamba3(t, mamba3s["MIMO"], 10)
	src := randomSeq(newRand(10), 1, 40, m.Dim())
	s := newStream[*ssm.Mamba3Stream](t, m, 1)
	for at := range src.Len - 1 {
		s.Mix(like(src.Slice(at, at+1)), src.Slice(at, at+1))
		saved, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again := newStream[*ssm.Mamba3Stream](t, m, 1)
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
	other := newStream[*ssm.Mamba3Stream](t, newMamba3(t, mamba3s["softplus"], 1), 1)
	if err := other.UnmarshalBinary(saved); err == nil || !strings.Contains(err.Error(), "ssm.Mamba3") {
		t.Errorf("state of another mixer: error %v", err)
	}
}

// A Mamba-3 whose λ is 1 and whose angles do not move follows Euler's rule, as Mamba-2
// does.
func TestMamba3IsMamba2(t *testing.T) {
	cfg := ssm.Mamba3Config{DModel: 4, DInner: 8, HeadDim: 4, DState: 4}
	m := newMamba3(t, cfg, 5)
	src := randomSeq(newRand(5), 1, 50, 4)
	const heads, p, n = 2, 4, 4
	v, z := randomSeq(newRand(6), 1, src.Len, heads*p), tensor.Seq{}
	b, c := randomSeq(newRand(7), 1, src.Len, n), randomSeq(newRand(8), 1, src.Len, n)
	delta, decay, trap := tensor.NewSeq(1, src.Len, heads), tensor.NewSeq(1, src.Len, heads), tensor.NewSeq(1, src.Len, heads)
	rates := []float32{-0.5, -3}
	for i := range delta.Data {
		delta.Data[i] = 0.1 + float32(i%7)/10
		decay.Data[i] = delta.Data[i] * rates[i%heads]
		trap.Data[i] = 100
	}
	got, want := like(v), like(v)
	ssm.TrapezoidalScan(got, v, ssm.Trapezoid{
		LogDecay: decay, Delta: delta, Trap: trap, B: b, C: c, BBias: tensor.New(heads, n), CBias: tensor.New(heads, n),
		Angles: tensor.NewSeq(1, src.Len, heads), D: param(t, m, "D"), Z: z,
	})
	ssm.StateSpaceDual(want, v, ssm.SSD{A: tensor.FromFloat32s(rates, heads), Delta: delta, B: b, C: c, D: param(t, m, "D")})
	wantClose(t, "outputs", got.Data, want.Data, 1e-6)
}

func TestTrapezoidalScanPanics(t *testing.T) {
	src := tensor.NewSeq(2, 5, 8)
	good := func() ssm.Trapezoid {
		rows := func(n int) tensor.Seq { return tensor.NewSeq(2, 5, n) }
		return ssm.Trapezoid{
			LogDecay: rows(4), Delta: rows(4), Trap: rows(4), B: rows(6), C: rows(6), Groups: 2,
			BBias: tensor.New(4, 3), CBias: tensor.New(4, 3), Angles: rows(4),
		}
	}
	ssm.TrapezoidalScan(like(src), src, good())
	for name, change := range map[string]func(*ssm.Trapezoid){
		"Delta":  func(s *ssm.Trapezoid) { s.Delta = tensor.NewSeq(2, 5, 3) },
		"decay":  func(s *ssm.Trapezoid) { s.LogDecay = tensor.NewSeq(2, 4, 4) },
		"B":      func(s *ssm.Trapezoid) { s.B = tensor.NewSeq(2, 5, 5) },
		"C":      func(s *ssm.Trapezoid) { s.C = tensor.NewSeq(2, 5, 4) },
		"biases": func(s *ssm.Trapezoid) { s.BBias = nil },
		"CBias":  func(s *ssm.Trapezoid) { s.CBias = tensor.New(4, 2) },
		"Groups": func(s *ssm.Trapezoid) { s.Groups = 3 },
		"angles": func(s *ssm.Trapezoid) { s.Angles = tensor.NewSeq(2, 5, 8) },
		"D":      func(s *ssm.Trapezoid) { s.D = tensor.New(8) },
		"Z":      func(s *ssm.Trapezoid) { s.Z = tensor.NewSeq(2, 5, 4) },
		"State":  func(s *ssm.Trapezoid) { s.State = &ssm.Mamba3State{Angle: tensor.New(2, 4, 1)} },
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			change(&s)
			wantPanic(t, func() { ssm.TrapezoidalScan(like(src), src, s) })
		})
	}
}

func TestHeavyTail(t *testing.T) {
	x := []float32{-3, -1, 0, 0.5, 7}
	ssm.HeavyTail(x, x)
	if want := []float32{0.25, 0.5, 1, 1.5, 8}; !slices.Equal(x, want) {
		t.Errorf("%v, want %v", x, want)
	}
}

// The parameters of the mixers of the public models of 187 million.
func TestMamba3ParameterCount(t *testing.T) {
	count := func(cfg ssm.Mamba3Config) (n, rows int) {
		m := newMamba3(t, cfg, 1)
		for _, p := range m.Params() {
			n += p.Len()
		}
		return n, param(t, m, "in_proj.weight").Dim(0)
	}
	const layers, width, vocabulary = 12, 768, 128256
	siso, rows := count(ssm.Mamba3Config{DModel: width})
	mlp := 3*1536*width + 2*width // with two norms
	if total := layers*(siso+mlp) + width + vocabulary*width; total != 186849600 || rows != 3432 {
		t.Errorf("SISO: %d parameters, %d rows of in_proj", total, rows)
	}
	mimo, rows := count(ssm.Mamba3Config{DModel: width, MIMO: true})
	mlp = 3*1280*width + 2*width
	if total := layers*(mimo+mlp) + width + vocabulary*width; total != 187291968 || rows != 4200 {
		t.Errorf("MIMO: %d parameters, %d rows of in_proj", total, rows)
	}
}

func TestMamba3Init(t *testing.T) {
	m, err := ssm.NewMamba3(ssm.Mamba3Config{DModel: 64, HeadDim: 2, DState: 4, MIMO: true, OutProjNorm: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(12))
	for name, want := range map[string]float32{
		"B_bias": 1, "C_bias": 1, "mimo_x": 0.25, "mimo_z": 1, "mimo_o": 0.25, "D": 1, "B_norm.weight": 1, "C_norm.weight": 1, "norm.weight": 1,
	} {
		if v := param(t, m, name).Data(); slices.Min(v) != want || slices.Max(v) != want {
			t.Errorf("%s is in [%v, %v], want %v", name, slices.Min(v), slices.Max(v), want)
		}
	}
	var steps []float64
	for _, b := range param(t, m, "dt_bias").Data() {
		steps = append(steps, math.Log(math.Log1p(math.Exp(float64(b)))))
	}
	if low, high := slices.Min(steps), slices.Max(steps); low < math.Log(1e-3)-1e-4 || low > math.Log(2e-3) || high > math.Log(.1)+1e-4 || high < math.Log(.05) {
		t.Errorf("Δ is in [%.4g, %.4g], want it to fill [0.001, 0.1]", math.Exp(low), math.Exp(high))
	}
	if v := param(t, m, "in_proj.weight").Float32s(); slices.Max(v) > 1./8 || slices.Max(v) < 0.12 {
		t.Errorf("in_proj.weight up to %v, want 1/8", slices.Max(v))
	}
}

func TestMamba3Config(t *testing.T) {
	var c ssm.Mamba3Config
	text := `{"d_model": 40, "expand": 1.5, "headdim": 12, "d_state": 10, "ngroups": 5, "is_mimo": true, "mimo_rank": 2, "A_activation": "softplus", "rope_fraction": 0.5, "chunk_size": 64}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	got := newMamba3(t, c, 1).Config()
	if got.DInner != 60 || got.MIMORank != 2 || got.AActivation != ssm.SoftplusRate || got.AFloor != 1e-4 || got.NormEps != 1e-5 {
		t.Errorf("configuration %+v", got)
	}
	back, err := json.Marshal(got)
	if err != nil || !strings.Contains(string(back), `"A_activation":"softplus"`) {
		t.Errorf("%s (%v)", back, err)
	}
	for name, cfg := range mamba3s {
		m := newMamba3(t, cfg, 1)
		of, err := ssm.Mamba3ConfigOf(func(name string) []int {
			for n, p := range m.Params() {
				if n == name {
					return p.Shape()
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		of.AActivation, of.AFloor = m.Config().AActivation, m.Config().AFloor
		src := randomSeq(newRand(1), 1, 5, m.Dim())
		again := newMamba3(t, of, 1)
		wantSame(t, name+": from its shapes", mix(again, src).Data, mix(m, src).Data)
	}
	if _, err := ssm.Mamba3ConfigOf(func(string) []int { return nil }); err == nil {
		t.Error("no shapes: no error")
	}
	if err := json.Unmarshal([]byte(`{"A_activation": "relu"}`), &c); err == nil {
		t.Error("an unknown activation: no error")
	}
}

func TestMamba3ConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.Mamba3Config{
		"d_model":       {},
		"d_inner":       {DModel: 4, DInner: -1},
		"d_inner 0":     {DModel: 1 << 30},
		"d_state":       {DModel: 4, HeadDim: 8, DState: -1},
		"elements":      {DModel: 1 << 29, DInner: 1 << 30},
		"headdim":       {DModel: 4, HeadDim: 3},
		"ngroups 3":     {DModel: 4, HeadDim: 4, NGroups: 3},
		"mimo_rank":     {DModel: 4, HeadDim: 4, MIMO: true, MIMORank: -1},
		"rope_fraction": {DModel: 4, HeadDim: 4, RopeFraction: 1.5},
		"at least 2":    {DModel: 4, HeadDim: 4, DState: 2},
		"even":          {DModel: 4, HeadDim: 4, DState: 9, MIMO: true},
		"A_activation":  {DModel: 4, HeadDim: 4, AActivation: 7},
		"A_floor":       {DModel: 4, HeadDim: 4, AFloor: -1},
		"norm_eps":      {DModel: 4, HeadDim: 4, NormEps: -1},
		"dt_init_floor": {DModel: 4, HeadDim: 4, DTInitFloor: -1},
		"dt_min":        {DModel: 4, HeadDim: 4, DTMin: 2, DTMax: 1},
	} {
		if _, err := ssm.NewMamba3(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
	if _, err := newMamba3(t, mamba3s["small"], 1).NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
}

func FuzzMamba3State(f *testing.F) {
	m := newMamba3(f, mamba3s["small"], 1)
	s := newStream[*ssm.Mamba3Stream](f, m, 2)
	s.Mix(tensor.NewSeq(2, 4, 1), randomSeq(newRand(1), 2, 4, 1))
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
