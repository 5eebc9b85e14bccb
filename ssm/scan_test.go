package ssm_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// goldenScan turns a case into the arguments of SelectiveScan.
func goldenScan(t *testing.T, c *goldentest.Case) (src tensor.Seq, s ssm.Scan) {
	var cfg struct {
		Softplus bool `json:"delta_softplus"`
	}
	if err := c.Config(&cfg); err != nil {
		t.Fatal(err)
	}
	shape := c.Shape("in.u")
	batch, e, length := shape[0], shape[1], shape[2]
	optional := func(name string) *tensor.Tensor {
		if !c.Has(name) {
			return nil
		}
		return tensor.FromFloat32s(c.Tensor(name), c.Shape(name)...)
	}
	channels := func(name string) tensor.Seq { return channelsLast(c.Tensor(name), batch, e, length) }
	s = ssm.Scan{
		A: optional("param.A"), Delta: channels("in.delta"), DeltaBias: optional("param.delta_bias"), Softplus: cfg.Softplus,
		D: optional("param.D"), ConstB: optional("param.B"), ConstC: optional("param.C"),
		State: tensor.New(batch, e, c.Shape("param.A")[1]),
	}
	if c.Has("in.h0") {
		s.State = optional("in.h0")
	}
	if c.Has("in.z") {
		s.Z = channels("in.z")
	}
	// (B, N, L) or (B, G, N, L)
	rows := func(name string) tensor.Seq {
		v := c.Tensor(name)
		return channelsLast(v, batch, len(v)/batch/length, length)
	}
	if s.ConstB == nil {
		s.B = rows("in.B")
	}
	if s.ConstC == nil {
		s.C = rows("in.C")
	}
	return channels("in.u"), s
}

// slice returns the scan of positions from to to-1.
func slice(s ssm.Scan, from, to int) ssm.Scan {
	for _, seq := range []*tensor.Seq{&s.Delta, &s.Z, &s.B, &s.C} {
		if seq.Len > 0 {
			*seq = seq.Slice(from, to)
		}
	}
	return s
}

func TestScanGolden(t *testing.T) {
	golden(t, "testdata/scan", func(t *testing.T, c *goldentest.Case) {
		switch c.Name {
		case "scan_hand":
			handScan(t, c)
			return
		case "scan_complex":
			complexScan(t, c)
			return
		}
		var cfg struct {
			Splits []int `json:"splits"`
		}
		if err := c.Config(&cfg); err != nil {
			t.Fatal(err)
		}
		src, s := goldenScan(t, c)
		initial := append([]float32(nil), s.State.Data()...)
		dst := like(src)
		ssm.SelectiveScan(dst, src, s)
		got := map[string][]float32{"out.y": channelsFirst(dst), "state.last": s.State.Data()}
		for _, at := range cfg.Splits {
			s.State = tensor.FromFloat32s(append([]float32(nil), initial...), s.State.Shape()...)
			parts := like(src)
			ssm.SelectiveScan(parts.Slice(0, at), src.Slice(0, at), slice(s, 0, at))
			got[fmt.Sprint("state.after_", at)] = append([]float32(nil), s.State.Data()...)
			ssm.SelectiveScan(parts.Slice(at, src.Len), src.Slice(at, src.Len), slice(s, at, src.Len))
			wantSame(t, fmt.Sprint("cut at ", at), parts.Data, dst.Data)
		}
		compare(t, c, got)
	})
}

func handScan(t *testing.T, c *goldentest.Case) {
	u := tensor.SeqOf(c.Tensor("in.u"), 1, len(c.Tensor("in.u")), 1)
	one := tensor.FromFloat32s([]float32{1}, 1, 1)
	ssm.SelectiveScan(u, u, ssm.Scan{
		A: tensor.FromFloat32s([]float32{-1}, 1, 1), Delta: like(u), Softplus: true, ConstB: one, ConstC: one,
	})
	compare(t, c, map[string][]float32{"out.y": u.Data})
}

func complexScan(t *testing.T, c *goldentest.Case) {
	shape := c.Shape("in.u")
	batch, e, length, n := shape[0], shape[1], shape[2], c.Shape("param.A_ri")[1]
	seq := func(name string) tensor.Seq { return channelsLast(c.Tensor(name), batch, e, length) }
	// (B, N, 2L), real and imaginary parts in turn, to (B, L, N, 2)
	pairs := func(name string) tensor.Seq {
		v, s := c.Tensor(name), tensor.NewSeq(batch, length, 2*n)
		for i, x := range v {
			b, row, k := i/(n*2*length), i/(2*length)%n, i%(2*length)
			s.At(b, k/2)[2*row+k%2] = x
		}
		return s
	}
	vector := func(name string) *tensor.Tensor {
		return tensor.FromFloat32s(c.Tensor(name), c.Shape(name)...)
	}
	s := ssm.Scan{
		A: vector("param.A_ri"), Delta: seq("in.delta"), DeltaBias: vector("param.delta_bias"), Softplus: true,
		B: pairs("in.B"), C: pairs("in.C"), D: vector("param.D"), Z: seq("in.z"), State: tensor.New(batch, e, n, 2),
	}
	src := seq("in.u")
	dst := like(src)
	ssm.SelectiveScan(dst, src, s)
	compare(t, c, map[string][]float32{"out.y": channelsFirst(dst), "state.last_ri": s.State.Data()})
}

// naiveScan computes a scan from its definition, in complex128, and returns the output and
// the states after it.
func naiveScan(src tensor.Seq, s ssm.Scan) (dst []float64, states []complex128) {
	a := s.A.Shape()
	e, n := a[0], a[1]
	isComplex := len(a) == 3
	at := func(v []float32, i int) complex128 {
		if isComplex {
			return complex(float64(v[2*i]), float64(v[2*i+1]))
		}
		return complex(float64(v[i]), 0)
	}
	row := func(constant *tensor.Tensor, seq tensor.Seq, b, t, ch, i int) complex128 {
		if constant != nil {
			return at(constant.Data(), ch*n+i)
		}
		v := seq.At(b, t)
		groups := len(v) / n
		if isComplex {
			groups /= 2
		}
		return at(v, ch/(e/groups)*n+i)
	}
	dst = make([]float64, src.Batch*src.Len*e)
	states = make([]complex128, src.Batch*e*n)
	for b := range src.Batch {
		for ch := range e {
			for t := range src.Len {
				u := float64(src.At(b, t)[ch])
				delta := float64(s.Delta.At(b, t)[ch])
				if s.DeltaBias != nil {
					delta += float64(s.DeltaBias.Data()[ch])
				}
				if s.Softplus && delta <= 20 {
					delta = math.Log1p(math.Exp(delta))
				}
				y := 0.0
				for i := range n {
					h := &states[(b*e+ch)*n+i]
					rate := at(s.A.Data(), ch*n+i)
					sin, cos := math.Sincos(delta * imag(rate))
					decay := math.Exp(delta * real(rate))
					*h = complex(decay*cos, decay*sin)**h + complex(delta*u, 0)*row(s.ConstB, s.B, b, t, ch, i)
					y += real(row(s.ConstC, s.C, b, t, ch, i) * *h)
				}
				if isComplex {
					y *= 2
				}
				if s.D != nil {
					y += float64(s.D.Data()[ch]) * u
				}
				if s.Z.Len > 0 {
					z := float64(s.Z.At(b, t)[ch])
					y *= z / (1 + math.Exp(-z))
				}
				dst[(b*src.Len+t)*e+ch] = y
			}
		}
	}
	return dst, states
}

// scanOptions says which of the options a random scan has.
type scanOptions struct {
	batch, e, n, length           int
	bGroups, cGroups              int // 0: constant
	d, z, bias, softplus, complex bool
}

func randomScan(seed uint64, o scanOptions) (tensor.Seq, ssm.Scan) {
	r := newRand(seed)
	uniform := func(v []float32, scale, shift float64) {
		for i := range v {
			v[i] = float32(scale*r.Float64() + shift)
		}
	}
	parts := 1
	shape := []int{o.e, o.n}
	if o.complex {
		parts, shape = 2, []int{o.e, o.n, 2}
	}
	s := ssm.Scan{A: tensor.New(shape...), Delta: tensor.NewSeq(o.batch, o.length, o.e), Softplus: o.softplus}
	uniform(s.A.Data(), -.5, 0)
	uniform(s.Delta.Data, .5, 0)
	if o.bias {
		s.DeltaBias = tensor.New(o.e)
		uniform(s.DeltaBias.Data(), .5, 0)
	}
	if o.d {
		s.D = tensor.New(o.e)
		randomize(r, s.D.Data(), 1)
	}
	if o.z {
		s.Z = randomSeq(r, o.batch, o.length, o.e)
	}
	if o.bGroups == 0 {
		s.ConstB = tensor.New(shape...)
		randomize(r, s.ConstB.Data(), 1)
	} else {
		s.B = randomSeq(r, o.batch, o.length, o.bGroups*o.n*parts)
	}
	if o.cGroups == 0 {
		s.ConstC = tensor.New(shape...)
		randomize(r, s.ConstC.Data(), 1)
	} else {
		s.C = randomSeq(r, o.batch, o.length, o.cGroups*o.n*parts)
	}
	s.State = tensor.New(append([]int{o.batch}, shape...)...)
	return randomSeq(r, o.batch, o.length, o.e), s
}

// checkScan compares a scan with the definition.
func checkScan(t *testing.T, seed uint64, o scanOptions) {
	t.Helper()
	src, s := randomScan(seed, o)
	want, wantStates := naiveScan(src, s)
	dst := like(src)
	ssm.SelectiveScan(dst, src, s)
	var states []float64
	for _, h := range wantStates {
		states = append(states, real(h))
		if o.complex {
			states = append(states, imag(h))
		}
	}
	what := fmt.Sprintf("%+v", o)
	wantClose(t, what, dst.Data, want, 1e-5)
	wantClose(t, what+" states", s.State.Data(), states, 1e-5)
	s.State = nil
	ssm.SelectiveScan(src, src, s)
	wantSame(t, what+" in place, without a state", src.Data, dst.Data)
}

func TestScanOptions(t *testing.T) {
	for seed := range uint64(2) {
		for i := range 32 {
			checkScan(t, seed, scanOptions{
				batch: 2, e: 5, n: 8, length: 17, bGroups: 1, cGroups: 1,
				d: i&1 != 0, z: i&2 != 0, bias: i&4 != 0, softplus: i&8 != 0, complex: i&16 != 0,
			})
		}
	}
}

func TestScanSizes(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, length := range []int{1, 2, 3, 15, 16, 17, 127, 128, 129, 1000} {
			checkScan(t, uint64(length), scanOptions{batch: 2, e: 4, n: 8, length: length, bGroups: 1, cGroups: 1, d: true, z: true, bias: true, softplus: true})
		}
		for _, e := range []int{1, 7, 8, 9, 15, 16, 17, 33, 130} {
			for _, n := range []int{1, 2, 15, 16, 17, 64} {
				checkScan(t, uint64(e), scanOptions{batch: 1, e: e, n: n, length: 9, bGroups: 1, cGroups: 1, d: true})
			}
		}
		checkScan(t, 1, scanOptions{batch: 1, e: 3, n: 256, length: 9, bGroups: 1, cGroups: 1})
	})
}

func TestScanLong(t *testing.T) {
	if testing.Short() {
		t.Skip("long sequences")
	}
	for _, length := range []int{2047, 2048, 2049, 4096} {
		checkScan(t, uint64(length), scanOptions{batch: 2, e: 4, n: 8, length: length, bGroups: 1, cGroups: 1, d: true, z: true, bias: true, softplus: true})
	}
}

func TestScanGroups(t *testing.T) {
	for _, complex := range []bool{false, true} {
		for _, b := range []int{0, 1, 2, 3, 4} {
			for _, c := range []int{0, 1, 2, 3, 4} {
				checkScan(t, 3, scanOptions{batch: 2, e: 12, n: 3, length: 8, bGroups: b, cGroups: c, d: true, complex: complex})
			}
		}
	}
	checkScan(t, 3, scanOptions{batch: 1, e: 300, n: 3, length: 8, bGroups: 6, cGroups: 2})
}

func TestScanExtremes(t *testing.T) {
	raw := []float32{-120, -40, -17, 19.999, 20, 20.001, 60}
	rates := []float32{-1e-6, -1, -1e4}
	e := len(raw)
	s := ssm.Scan{A: tensor.New(e, 3), Delta: tensor.NewSeq(1, 8, e), Softplus: true, State: tensor.New(1, e, 3)}
	for ch := range e {
		copy(s.A.Data()[3*ch:], rates)
		for i := range s.Delta.Len {
			s.Delta.At(0, i)[ch] = raw[ch]
		}
	}
	s.B, s.C = randomSeq(newRand(1), 1, 8, 3), randomSeq(newRand(2), 1, 8, 3)
	src := randomSeq(newRand(3), 1, 8, e)
	want, wantStates := naiveScan(src, s)
	dst := like(src)
	ssm.SelectiveScan(dst, src, s)
	for ch := range e {
		var got, exact []float32
		for i := range src.Len {
			got, exact = append(got, dst.At(0, i)[ch]), append(exact, float32(want[i*e+ch]))
		}
		if raw[ch] > -100 {
			wantClose(t, fmt.Sprint("raw Δ ", raw[ch]), got, exact, 1e-5)
		}
		for i, v := range got {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Errorf("raw Δ %v: position %d is %v", raw[ch], i, v)
			}
		}
	}
	// A state that is forgotten at once is what the last input made of it, no more.
	for ch := 3; ch < e; ch++ {
		h, exact := s.State.Data()[3*ch+2], real(wantStates[3*ch+2])
		if math.Abs(float64(h)-exact) > 1e-6*math.Abs(exact) {
			t.Errorf("raw Δ %v, A = -1e4: state %v, want %v", raw[ch], h, exact)
		}
	}
}

// A unit input with Δ = ln 2 and A = -1: the state halves at every position.
func TestScanByHand(t *testing.T) {
	u := tensor.SeqOf([]float32{1, 0, 0}, 1, 3, 1)
	one := tensor.FromFloat32s([]float32{1}, 1, 1)
	ssm.SelectiveScan(u, u, ssm.Scan{A: tensor.FromFloat32s([]float32{-1}, 1, 1), Delta: tensor.NewSeq(1, 3, 1), Softplus: true, ConstB: one, ConstC: one})
	wantClose(t, "impulse", u.Data, []float64{0.693147, 0.346574, 0.173287}, 1e-6)
}

// Errors of the decay add up over the memory of a slow state, and no further.
func TestScanMillionSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("a long sequence")
	}
	const block, total = 4096, 1 << 20
	one := tensor.FromFloat32s([]float32{1}, 1, 1)
	s := ssm.Scan{A: tensor.FromFloat32s([]float32{-1}, 1, 1), Delta: tensor.NewSeq(1, block, 1), ConstB: one, ConstC: one, State: tensor.New(1, 1, 1)}
	const delta = 1e-3
	for i := range s.Delta.Data {
		s.Delta.Data[i] = delta
	}
	r, h, worst, scale := newRand(30), 0.0, 0.0, 0.0
	for range total / block {
		u := randomSeq(r, 1, block, 1)
		in := clone(u)
		ssm.SelectiveScan(u, u, s)
		for i, y := range u.Data {
			h = math.Exp(-float64(float32(delta)))*h + float64(float32(delta))*float64(in.Data[i])
			worst, scale = max(worst, math.Abs(float64(y)-h)), max(scale, math.Abs(h))
		}
	}
	if worst/scale > 5e-5 {
		t.Errorf("after %d positions off by %.3g", total, worst/scale)
	}
}

func TestScanCores(t *testing.T) {
	src, s := randomScan(4, scanOptions{batch: 2, e: 700, n: 16, length: 200, bGroups: 1, cGroups: 1, z: true, softplus: true})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var want tensor.Seq
	for _, cores := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(cores)
		clear(s.State.Data())
		dst := like(src)
		ssm.SelectiveScan(dst, src, s)
		if want.Data == nil {
			want = dst
		}
		wantSame(t, fmt.Sprint(cores, " cores"), dst.Data, want.Data)
	}
}

func TestScanPanics(t *testing.T) {
	base := scanOptions{batch: 2, e: 6, n: 4, length: 5, bGroups: 1, cGroups: 1, d: true, z: true, bias: true}
	for what, spoil := range map[string]func(src *tensor.Seq, s *ssm.Scan){
		"no A":          func(_ *tensor.Seq, s *ssm.Scan) { s.A = nil },
		"A":             func(_ *tensor.Seq, s *ssm.Scan) { s.A = tensor.New(6) },
		"A of a scalar": func(_ *tensor.Seq, s *ssm.Scan) { s.A = tensor.New() },
		"A of 5":        func(_ *tensor.Seq, s *ssm.Scan) { s.A = tensor.New(5, 4) },
		"no states":     func(_ *tensor.Seq, s *ssm.Scan) { s.A = tensor.New(6, 0) },
		"delta":         func(_ *tensor.Seq, s *ssm.Scan) { s.Delta = s.Delta.Slice(1, 4) },
		"bias":          func(_ *tensor.Seq, s *ssm.Scan) { s.DeltaBias = tensor.New(5) },
		"B":             func(_ *tensor.Seq, s *ssm.Scan) { s.B = tensor.NewSeq(2, 5, 5) },
		"no B":          func(_ *tensor.Seq, s *ssm.Scan) { s.B = tensor.Seq{} },
		"groups of C":   func(_ *tensor.Seq, s *ssm.Scan) { s.C = tensor.NewSeq(2, 5, 16) },
		"D":             func(_ *tensor.Seq, s *ssm.Scan) { s.D = tensor.New(6, 1) },
		"gate":          func(_ *tensor.Seq, s *ssm.Scan) { s.Z = tensor.NewSeq(1, 5, 6) },
		"state":         func(_ *tensor.Seq, s *ssm.Scan) { s.State = tensor.New(2, 6, 4, 2) },
		"constant":      func(_ *tensor.Seq, s *ssm.Scan) { s.ConstC = tensor.New(6, 3) },
		"src":           func(src *tensor.Seq, _ *ssm.Scan) { *src = tensor.NewSeq(2, 5, 7) },
	} {
		src, s := randomScan(5, base)
		spoil(&src, &s)
		func() {
			defer func() {
				p := recover()
				var shape *tensor.ShapeError
				if err, ok := p.(error); !(ok && errors.As(err, &shape)) && !strings.Contains(fmt.Sprint(p), "no A") {
					t.Errorf("%s: panic with %v, want a *tensor.ShapeError", what, p)
				}
			}()
			ssm.SelectiveScan(like(src), src, s)
		}()
	}
}

func TestScanEmpty(t *testing.T) {
	_, s := randomScan(6, scanOptions{batch: 1, e: 3, n: 2, length: 4, bGroups: 1, cGroups: 1})
	randomize(newRand(6), s.State.Data(), 1)
	want := append([]float32(nil), s.State.Data()...)
	empty := tensor.NewSeq(1, 0, 3)
	ssm.SelectiveScan(empty, empty, slice(s, 0, 0))
	wantSame(t, "state after no positions", s.State.Data(), want)
}
