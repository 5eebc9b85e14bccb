package ssm_test

import (
	"errors"
	"fmt"
	"math"
	"math/cmplx"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// An ltiMixer is an S4D, an S4 or a Modal.
type ltiMixer interface {
	seqmix.Streamer
	Kernel(n int) *tensor.Tensor
}

// s4dConfigs are configurations that have little in common.
var s4dConfigs = map[string]ssm.S4DConfig{
	"default":            {DModel: 20},
	"one state":          {DModel: 1, DState: 2},
	"bilinear":           {DModel: 17, DState: 10, Disc: ssm.Bilinear, Init: ssm.InitInv},
	"dss":                {DModel: 5, DState: 8, Disc: ssm.DSS, LMax: 40},
	"real":               {DModel: 18, DState: 5, Real: true, Init: ssm.InitReal},
	"real with B":        {DModel: 6, DState: 4, Real: true, Layout: ssm.StateSpacesS4, NSSM: 2, Disc: ssm.Bilinear},
	"s4":                 {DModel: 6, DState: 12, Layout: ssm.StateSpacesS4, NSSM: 3, Init: ssm.InitLegS},
	"s4, untied":         {DModel: 4, DState: 6, Layout: ssm.StateSpacesS4, DTUntied: true, DTTransform: ssm.TransformSoftplus, RealTransform: ssm.TransformSigmoid, ImagTransform: ssm.TransformReLU},
	"h3":                 {DModel: 6, DState: 8, Layout: ssm.HazyH3, NSSM: 1, Disc: ssm.Bilinear, Init: ssm.InitQuad, RealTransform: ssm.TransformSoftplus},
	"coarser":            {DModel: 3, DState: 8, Rate: 2.5, Init: ssm.InitInv2},
	"limited":            {DModel: 8, DState: 32, Layout: ssm.StateSpacesS4, BandLimit: 0.5, Init: ssm.InitLin},
	"both ways":          {DModel: 7, DState: 8, Bidirectional: true},
	"both ways, real":    {DModel: 7, DState: 3, Bidirectional: true, Real: true, Layout: ssm.StateSpacesS4},
	"both ways, as h3":   {DModel: 4, DState: 4, Bidirectional: true, Layout: ssm.HazyH3},
	"slow, many turns":   {DModel: 16, DState: 64, DTMin: 1e-4, DTMax: 1e-3},
	"more than a block":  {DModel: 35, DState: 4, Disc: ssm.Bilinear},
	"without transforms": {DModel: 4, DState: 4, Layout: ssm.StateSpacesS4, RealTransform: ssm.TransformNone, DTTransform: ssm.TransformNone},
}

func newS4D(t testing.TB, cfg ssm.S4DConfig, seed uint64) *ssm.S4D {
	t.Helper()
	m, err := ssm.NewS4D(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

func transform(t ssm.Transform, x float64) float64 {
	switch t {
	case ssm.TransformExp:
		return math.Exp(x)
	case ssm.TransformReLU:
		return math.Max(x, 0) + 1e-4
	case ssm.TransformSigmoid:
		return 1 / (1 + math.Exp(-x))
	case ssm.TransformSoftplus:
		return math.Log(1 + math.Exp(x))
	}
	return x
}

// naiveS4D returns the impulse response of a channel from the definition, by powers of
// λ; direction 1 is that from the future.
func naiveS4D(t testing.TB, m *ssm.S4D, direction, channel, length int) []float64 {
	c := m.Config()
	find := func(names ...string) []float32 {
		for name, p := range m.Params() {
			for _, n := range names {
				if name == "kernel."+n {
					return p.Float32s()
				}
			}
		}
		return nil
	}
	n := c.DState / 2
	if c.Real {
		n = c.DState
	}
	at := func(v []float32, i int) complex128 {
		switch {
		case v == nil:
			return 1
		case c.Real:
			return complex(float64(v[i]), 0)
		}
		return complex(float64(v[2*i]), float64(v[2*i+1]))
	}
	step, re, im := find("log_dt", "inv_dt"), find("log_A_real", "A_real", "inv_A_real"), find("A_imag")
	cc, bb := find("C"), find("B")
	k := make([]float64, length)
	for i := range n {
		own := channel%c.NSSM*n + i
		dt := transform(c.DTTransform, float64(step[channel]))
		if c.DTUntied {
			dt = transform(c.DTTransform, float64(step[channel*n+i]))
		}
		a := complex(-transform(c.RealTransform, float64(re[own])), 0)
		if !c.Real {
			turn := transform(c.ImagTransform, float64(im[own]))
			if c.Layout == ssm.StateSpacesS4 {
				turn = -turn
			}
			a += complex(0, turn)
		}
		if c.BandLimit > 0 && dt*math.Abs(imag(a))/(2*math.Pi) >= c.BandLimit/2 {
			continue
		}
		dt *= c.Rate
		z := complex(dt, 0) * a
		lambda, b := cmplx.Exp(z), (cmplx.Exp(z)-1)/a
		switch c.Disc {
		case ssm.Bilinear:
			lambda, b = (1+z/2)/(1-z/2), complex(dt, 0)/(1-z/2)
		case ssm.DSS:
			// A softmax of the rows of the Vandermonde matrix, but for its ε.
			sum := complex(0, 0)
			for j := range c.LMax {
				sum += cmplx.Exp(z * complex(float64(j), 0))
			}
			x := a * sum * (cmplx.Exp(z) - 1)
			b = (cmplx.Exp(z) - 1) * cmplx.Conj(x) / (x*cmplx.Conj(x) + 1e-7)
		}
		w := at(cc, (direction*c.DModel+channel)*n+i) * at(bb, own) * b
		for j := range k {
			k[j] += 2 * real(w*cmplx.Pow(lambda, complex(float64(j), 0)))
		}
	}
	return k
}

// naiveLTI convolves with impulse responses, in float64: from the past and, if there is
// one, from the future.
func naiveLTI(src tensor.Seq, d []float32, past, future func(channel int) []float64) []float64 {
	y := make([]float64, src.Batch*src.Len*src.Dim)
	for ch := range src.Dim {
		k := past(ch)
		var g []float64
		if future != nil {
			g = future(ch)
		}
		for b := range src.Batch {
			for t := range src.Len {
				sum := float64(d[ch]) * float64(src.At(b, t)[ch])
				for s := range src.Len {
					if s <= t {
						sum += k[t-s] * float64(src.At(b, s)[ch])
					} else if g != nil {
						sum += g[s-t-1] * float64(src.At(b, s)[ch])
					}
				}
				y[(b*src.Len+t)*src.Dim+ch] = sum
			}
		}
	}
	return y
}

// checkLTI compares all ways to compute a mixer with its definition.
func checkLTI(t *testing.T, m ltiMixer, length int, past, future func(channel int) []float64, tol float64) {
	t.Helper()
	src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
	want := naiveLTI(src, param(t, m, "D").Float32s(), past, future)
	wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, tol)
	for _, face := range []string{"recurrence", "convolution"} {
		dst := clone(src)
		ssm.MixBy(face, m, dst, dst)
		wantClose(t, fmt.Sprint(face, ", length ", length), dst.Data, want, tol)
	}
	if future != nil {
		if _, err := m.NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a stream of both directions: error %v", err)
		}
		return
	}
	s := newStream[*ssm.LTIStream](t, m, 2)
	dst := like(src)
	for at, n := 0, 1; at < length; at, n = at+n, n+3 {
		end := min(at+n, length)
		s.Mix(dst.Slice(at, end), src.Slice(at, end))
	}
	wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, tol)
	// The same bits, however it is cut.
	whole := clone(src)
	ssm.MixBy("recurrence", m, whole, whole)
	wantSame(t, "stream and recurrence", dst.Data, whole.Data)
}

func TestS4DAgainstDefinition(t *testing.T) {
	for name, cfg := range s4dConfigs {
		t.Run(name, func(t *testing.T) {
			m := newS4D(t, cfg, 1)
			past := func(n int) func(int) []float64 {
				return func(ch int) []float64 { return naiveS4D(t, m, 0, ch, n) }
			}
			future := func(n int) func(int) []float64 { return nil }
			if cfg.Bidirectional {
				future = func(n int) func(int) []float64 {
					return func(ch int) []float64 { return naiveS4D(t, m, 1, ch, n) }
				}
			}
			for _, n := range []int{1, 2, 31, 32, 33, 300} {
				checkLTI(t, m, n, past(n), future(n), 5e-6)
			}
			checkKernel(t, m, 50, past(50), future(50))
		})
	}
}

// checkKernel compares Kernel with the definition.
func checkKernel(t *testing.T, m ltiMixer, n int, past, future func(channel int) []float64) {
	t.Helper()
	got := m.Kernel(n).Data()
	var want []float64
	for _, f := range []func(int) []float64{past, future} {
		for ch := range m.Dim() {
			if f != nil {
				want = append(want, f(ch)...)
			}
		}
	}
	wantClose(t, "Kernel", got, want, 1e-6)
}

func TestS4DLong(t *testing.T) {
	m := newS4D(t, ssm.S4DConfig{DModel: 3, DState: 16}, 2)
	cputest.ForEachTier(t, func(t *testing.T) {
		lengths := []int{1000, 2100}
		if testing.Short() {
			lengths = lengths[:1]
		}
		for _, n := range lengths {
			checkLTI(t, m, n, func(ch int) []float64 { return naiveS4D(t, m, 0, ch, n) }, nil, 5e-6)
		}
	})
}

// A slow system remembers for long: what its poles are rounded to adds up.
func TestS4DSlow(t *testing.T) {
	m := newS4D(t, ssm.S4DConfig{DModel: 2, DState: 4, DTMin: 1e-4, DTMax: 1e-4}, 3)
	const n = 1 << 16
	u := tensor.NewSeq(1, n, 2)
	for i := range u.Data {
		u.Data[i] = 1
	}
	ssm.MixBy("recurrence", m, u, u)
	for ch := range 2 {
		want := float64(param(t, m, "D").Data()[ch])
		for _, k := range naiveS4D(t, m, 0, ch, n) {
			want += k
		}
		if got := float64(u.At(0, n-1)[ch]); math.Abs(got-want) > 1e-5*math.Abs(want) {
			t.Errorf("channel %d: a constant becomes %v, want %v", ch, got, want)
		}
	}
}

// offKink moves elements that are zero, where a ReLU has no derivative.
func offKink(p *tensor.Tensor) {
	for i, v := range p.Data() {
		if v == 0 {
			p.Data()[i] = 0.05
		}
	}
}

func TestS4DContract(t *testing.T) {
	for name, cfg := range s4dConfigs {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				m := newS4D(t, cfg, 2)
				if cfg.ImagTransform == ssm.TransformReLU {
					offKink(param(t, m, "kernel.A_imag"))
				}
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What a stream has in mind is what its definition says: h[t] = λ·h[t-1] + b·u[t].
func TestS4DState(t *testing.T) {
	m := newS4D(t, ssm.S4DConfig{DModel: 17, DState: 6, Disc: ssm.Bilinear}, 4)
	src := randomSeq(newRand(4), 2, 40, 17)
	s := newStream[*ssm.LTIStream](t, m, 2)
	initial := tensor.New(2, 17, 3, 2)
	randomize(newRand(5), initial.Data(), 1)
	s.SetState(initial)
	wantClose(t, "state as it was set", s.State().Data(), initial.Data(), 1e-6)
	s.Mix(like(src), src)
	var want []float64
	logdt, re, im := param(t, m, "kernel.log_dt").Data(), param(t, m, "kernel.log_A_real").Data(), param(t, m, "kernel.A_imag").Data()
	for b := range 2 {
		for ch := range 17 {
			for i := range 3 {
				at := (b*17+ch)*3 + i
				h := complex(float64(initial.Data()[2*at]), float64(initial.Data()[2*at+1]))
				dt := math.Exp(float64(logdt[ch]))
				z := complex(-dt*math.Exp(float64(re[ch*3+i])), dt*float64(im[ch*3+i]))
				for p := range src.Len {
					h = (1+z/2)/(1-z/2)*h + complex(dt*float64(src.At(b, p)[ch]), 0)/(1-z/2)
				}
				want = append(want, real(h), imag(h))
			}
		}
	}
	wantClose(t, "state", s.State().Data(), want, 2e-6)
	for _, bad := range []*tensor.Tensor{tensor.New(2, 17, 3), tensor.New(1, 17, 3, 2), tensor.New(2, 16, 3, 2)} {
		wantShapePanic(t, func() { s.SetState(bad) })
	}
}

func wantShapePanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		var shape *tensor.ShapeError
		if err, ok := recover().(error); !ok || !errors.As(err, &shape) {
			t.Error("a wrong shape: want a panic with a *tensor.ShapeError")
		}
	}()
	f()
}

// A state that no input reaches keeps what is set.
func TestS4DStateWithoutInput(t *testing.T) {
	m := newS4D(t, ssm.S4DConfig{DModel: 1, DState: 4, Layout: ssm.StateSpacesS4}, 6)
	clear(param(t, m, "kernel.B").Data())
	x := tensor.SeqOf([]float32{1, 2, 3}, 1, 3, 1)
	d := param(t, m, "D").Data()[0]
	wantClose(t, "Mix", mix(m, x).Data, []float32{d, 2 * d, 3 * d}, 1e-6)
	s := newStream[*ssm.LTIStream](t, m, 1)
	initial := tensor.FromFloat32s([]float32{1, -2, .5, 3}, 1, 1, 2, 2)
	s.SetState(initial)
	wantClose(t, "state", s.State().Data(), initial.Data(), 1e-6)
	s.Mix(like(x), x)
	if e := relError(s.State().Data(), initial.Data()); e < 1e-5 || e > 1 {
		t.Errorf("after 3 positions the state is %v, began as %v", s.State().Data(), initial.Data())
	}
}

func TestS4DFollowsParameters(t *testing.T) {
	m := newS4D(t, ssm.S4DConfig{DModel: 5, DState: 8}, 7)
	src := randomSeq(newRand(7), 1, 80, 5)
	mix(m, src)
	for name, p := range m.Params() {
		for i := range p.Data() {
			p.Data()[i] += 0.25
		}
		want := naiveLTI(src, param(t, m, "D").Data(), func(ch int) []float64 { return naiveS4D(t, m, 0, ch, 80) }, nil)
		wantClose(t, "Mix after a change of "+name, mix(m, src).Data, want, 5e-6)
		dst := like(src)
		ssm.MixBy("convolution", m, dst, src)
		wantClose(t, "convolution after a change of "+name, dst.Data, want, 5e-6)
	}
}

func TestS4DConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.S4DConfig{
		"d_model 0":      {},
		"d_model -1":     {DModel: -1},
		"d_state 3":      {DModel: 4, DState: 3},
		"d_state -2":     {DModel: 4, DState: -2},
		"n_ssm 3":        {DModel: 4, NSSM: 3, Layout: ssm.StateSpacesS4},
		"no n_ssm":       {DModel: 4, NSSM: 2},
		"elements":       {DModel: 1 << 28, DState: 64},
		"layout 9":       {DModel: 4, Layout: 9},
		"untied":         {DModel: 4, DTUntied: true},
		"discretization": {DModel: 4, Disc: "euler"},
		"transform":      {DModel: 4, RealTransform: "tan"},
		"l_max":          {DModel: 4, Disc: ssm.DSS},
		"rate":           {DModel: 4, Rate: -1},
		"bandlimit":      {DModel: 4, BandLimit: math.NaN()},
		"called":         {DModel: 4, Init: "hadamard"},
		"legs of 2048":   {DModel: 4, Init: ssm.InitLegS, DState: 2048},
		"dt_min":         {DModel: 4, DTMin: 2, DTMax: 1},
	} {
		if _, err := ssm.NewS4D(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
	if _, err := newS4D(t, ssm.S4DConfig{DModel: 4}, 1).NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
}
