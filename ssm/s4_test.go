package ssm_test

import (
	"errors"
	"fmt"
	"math"
	"math/cmplx"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// s4Configs are configurations that have little in common. The first word says how the
// system is expected to be computed.
var s4Configs = map[string]ssm.S4Config{
	"modes, one pair":          {DModel: 1, DState: 2},
	"modes, random low rank":   {DModel: 18, DState: 8, Init: ssm.InitLin},
	"modes, rank 3":            {DModel: 3, DState: 6, Rank: 3, Init: ssm.InitInv},
	"modes, tied":              {DModel: 6, DState: 6, NSSM: 2, Init: ssm.InitQuad, RealTransform: ssm.TransformSoftplus},
	"modes, coarser":           {DModel: 3, DState: 6, Init: ssm.InitLin, Rate: 2},
	"modes, both ways":         {DModel: 5, DState: 6, Init: ssm.InitLin, Bidirectional: true},
	"states, default":          {DModel: 20},
	"states, legs":             {DModel: 3, DState: 32, NSSM: 1},
	"states, legt of rank 2":   {DModel: 2, DState: 64, Init: ssm.InitLegT},
	"states, both ways, rank2": {DModel: 3, DState: 64, Rank: 2, Bidirectional: true},
	"any, fourier":             {DModel: 4, DState: 16, Init: ssm.InitFourier},
}

// small leaves out what takes long where the machine is emulated.
func small(t *testing.T, states, channels int) {
	t.Helper()
	if testing.Short() && (states > 32 || channels > 100) {
		t.Skip("a large mixer")
	}
}

func newS4(t testing.TB, cfg ssm.S4Config, seed uint64) *ssm.S4 {
	t.Helper()
	m, err := ssm.NewS4(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

// matrix is a dense complex matrix, row by row.
type matrix [][]complex128

func newMatrix(n int) matrix {
	m := make(matrix, n)
	for i := range m {
		m[i] = make([]complex128, n)
	}
	return m
}

func identity(n int) matrix {
	m := newMatrix(n)
	for i := range m {
		m[i][i] = 1
	}
	return m
}

func (m matrix) times(b matrix) matrix {
	p := newMatrix(len(m))
	for i := range m {
		for k, v := range m[i] {
			for j := range p {
				p[i][j] += v * b[k][j]
			}
		}
	}
	return p
}

func (m matrix) vector(x []complex128) []complex128 {
	y := make([]complex128, len(m))
	for i := range m {
		for j, v := range m[i] {
			y[i] += v * x[j]
		}
	}
	return y
}

// plus returns m·scale + b.
func (m matrix) plus(scale complex128, b matrix) matrix {
	p := newMatrix(len(m))
	for i := range m {
		for j := range m {
			p[i][j] = m[i][j]*scale + b[i][j]
		}
	}
	return p
}

func (m matrix) transposed() matrix {
	p := newMatrix(len(m))
	for i := range m {
		for j := range m {
			p[j][i] = m[i][j]
		}
	}
	return p
}

// solve returns the solution of m·x = b by elimination with pivots.
func (m matrix) solve(b []complex128) []complex128 {
	n := len(m)
	a, x := newMatrix(n), append([]complex128(nil), b...)
	for i := range m {
		copy(a[i], m[i])
	}
	for c := range n {
		p := c
		for r := c; r < n; r++ {
			if cmplx.Abs(a[r][c]) > cmplx.Abs(a[p][c]) {
				p = r
			}
		}
		a[c], a[p], x[c], x[p] = a[p], a[c], x[p], x[c]
		for r := range n {
			if r != c {
				f := a[r][c] / a[c][c]
				for j := c; j < n; j++ {
					a[r][j] -= f * a[c][j]
				}
				x[r] -= f * x[c]
			}
		}
	}
	for i := range x {
		x[i] /= a[i][i]
	}
	return x
}

func (m matrix) inverse() matrix {
	inv := newMatrix(len(m))
	for j, column := range identity(len(m)) {
		for i, v := range m.solve(column) {
			inv[i][j] = v
		}
	}
	return inv
}

// A denseSystem is a channel of an S4 with all its states and all its matrices.
type denseSystem struct {
	a    matrix // discretised
	b, c []complex128
}

// denseS4 discretises a channel by the definition.
func denseS4(t testing.TB, m *ssm.S4, direction, channel int) denseSystem {
	c := m.Config()
	n := c.DState / 2
	// withConjugates returns n pairs from the i-th on, and their conjugates.
	withConjugates := func(name string, i int) []complex128 {
		v := param(t, m, name).Float32s()[2*i*n : 2*(i+1)*n]
		z := make([]complex128, 2*n)
		for k := range n {
			z[k] = complex(float64(v[2*k]), float64(v[2*k+1]))
			z[n+k] = cmplx.Conj(z[k])
		}
		return z
	}
	copyOf := channel % c.NSSM
	dt := transform(c.DTTransform, float64(param(t, m, "kernel.inv_dt").Data()[channel])) * c.Rate
	re, im := param(t, m, "kernel.A_real").Data(), param(t, m, "kernel.A_imag").Data()
	a := newMatrix(2 * n)
	for k := range n {
		a[k][k] = complex(-transform(c.RealTransform, float64(re[copyOf*n+k])), -transform(c.ImagTransform, float64(im[copyOf*n+k])))
		a[n+k][n+k] = cmplx.Conj(a[k][k])
	}
	for j := range c.Rank {
		p := withConjugates("kernel.P", j*c.NSSM+copyOf)
		for i := range a {
			for k := range a {
				a[i][k] -= p[i] * cmplx.Conj(p[k])
			}
		}
	}
	half := complex(dt/2, 0)
	back := a.plus(-half, identity(2*n)).inverse()
	s := denseSystem{a: back.times(a.plus(half, identity(2*n))), b: back.vector(withConjugates("kernel.B", copyOf))}
	for i := range s.b {
		s.b[i] *= complex(dt, 0)
	}
	s.c = withConjugates("kernel.C", direction*c.DModel+channel)
	if length := int(math.Round(float64(param(t, m, "kernel.l_kernel").Data()[0]) / c.Rate)); length > 0 {
		s.c = s.a.power(length).plus(-1, identity(2*n)).transposed().solve(s.c)
	}
	return s
}

func (m matrix) power(n int) matrix {
	p := identity(len(m))
	for range n {
		p = p.times(m)
	}
	return p
}

// response returns the impulse response, and what is left of a state that is set before
// the first position.
func (s denseSystem) response(state []complex128, n int) []float64 {
	k := make([]float64, n)
	for t := range k {
		if state == nil {
			state = s.b
		} else {
			state = s.a.vector(state)
		}
		for i, v := range state {
			k[t] += real(s.c[i] * v)
		}
	}
	return k
}

func TestS4AgainstDefinition(t *testing.T) {
	for name, cfg := range s4Configs {
		t.Run(name, func(t *testing.T) {
			m := newS4(t, cfg, 1)
			small(t, m.Config().DState, m.Dim())
			checkS4(t, name, m)
		})
	}
}

func checkS4(t *testing.T, name string, m *ssm.S4) {
	t.Helper()
	const longest = 300
	var past, future [][]float64
	for ch := range m.Dim() {
		past = append(past, denseS4(t, m, 0, ch).response(nil, longest))
		if m.Config().Bidirectional {
			future = append(future, denseS4(t, m, 1, ch).response(nil, longest))
		}
	}
	of := func(k [][]float64, n int) func(int) []float64 {
		if k == nil {
			return nil
		}
		return func(ch int) []float64 { return k[ch][:n] }
	}
	if diagonal := ssm.Diagonal(m); diagonal != strings.HasPrefix(name, "modes") && !strings.HasPrefix(name, "any") {
		t.Errorf("computed by its modes: %v", diagonal)
	}
	for _, n := range []int{1, 2, 33, longest} {
		checkLTI(t, m, n, of(past, n), of(future, n), 5e-6)
	}
	checkKernel(t, m, 50, of(past, 50), of(future, 50))
}

// C is stored for some length, another one, or none: the same system.
func TestS4KernelLength(t *testing.T) {
	for name, cfg := range s4Configs {
		t.Run(name, func(t *testing.T) {
			m := newS4(t, cfg, 3)
			small(t, m.Config().DState, m.Dim())
			src := randomSeq(newRand(3), 1, 60, m.Dim())
			want := mix(m, src)
			c, err := m.C()
			if err != nil {
				t.Fatal(err)
			}
			wantClose(t, "C", c.Data(), param(t, m, "kernel.C").Data(), 1e-6)
			for _, length := range []int{40, 7, 0} {
				if err := m.SetKernelLength(length); err != nil {
					t.Fatal(err)
				}
				if l := param(t, m, "kernel.l_kernel").Data()[0]; l != float32(length) {
					t.Errorf("l_kernel is %v, want %d", l, length)
				}
				wantClose(t, fmt.Sprint("Mix with C for length ", length), mix(m, src).Data, want.Data, 1e-5)
				again, err := m.C()
				if err != nil {
					t.Fatal(err)
				}
				wantClose(t, fmt.Sprint("C from that for length ", length), again.Data(), c.Data(), 2e-5)
				if length == 7 {
					checkS4(t, name, m)
				}
			}
			if err := m.SetKernelLength(-1); err == nil {
				t.Error("a negative length: no error")
			}
		})
	}
}

// A system that does not decay at all has no C for any length.
func TestS4WithoutC(t *testing.T) {
	m := newS4(t, ssm.S4Config{DModel: 1, DState: 2, Init: ssm.InitLin}, 4)
	clear(param(t, m, "kernel.P").Data())
	param(t, m, "kernel.A_real").SetFloat32s([]float32{float32(math.Inf(-1))}) // Λ = -0
	clear(param(t, m, "kernel.A_imag").Data())
	if err := m.SetKernelLength(0); err != nil {
		t.Fatal(err)
	}
	param(t, m, "kernel.l_kernel").SetFloat32s([]float32{16})
	if _, err := m.C(); err == nil || !strings.Contains(err.Error(), "channel 0") {
		t.Errorf("error %v, want one about channel 0", err)
	}
	if err := m.SetKernelLength(0); err == nil {
		t.Error("no error")
	}
	// What cannot be told is not a number, and no panic.
	x := tensor.SeqOf([]float32{1, 2}, 1, 2, 1)
	if y := mix(m, x); !math.IsNaN(float64(y.Data[0])) && !math.IsInf(float64(y.Data[0]), 0) {
		t.Errorf("Mix without a C gives %v", y.Data)
	}
}

// Parameters that are not numbers make results that are not, and no panic.
func TestS4NotFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e38} {
		for _, length := range []int{0, 9} {
			for name := range newS4(t, s4Configs["modes, rank 3"], 1).Params() {
				m := newS4(t, s4Configs["modes, rank 3"], 1)
				if err := m.SetKernelLength(length); err != nil {
					t.Fatal(err)
				}
				param(t, m, name).Data()[0] = float32(bad)
				src := randomSeq(newRand(1), 1, 5, m.Dim())
				mix(m, src)
				m.Kernel(3)
				m.C()
				s := newStream[*ssm.LTIStream](t, m, 1)
				s.Mix(src, src)
				s.SetState(s.State())
			}
		}
	}
}

func TestS4State(t *testing.T) {
	for name, cfg := range s4Configs {
		if cfg.Bidirectional {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := newS4(t, cfg, 5)
			small(t, m.Config().DState, m.Dim())
			n := m.Config().DState / 2
			src := randomSeq(newRand(5), 2, 25, m.Dim())
			s := newStream[*ssm.LTIStream](t, m, 2)
			initial := tensor.New(2, m.Dim(), n, 2)
			randomize(newRand(6), initial.Data(), 1)
			s.SetState(initial)
			wantClose(t, "state as it was set", s.State().Data(), initial.Data(), 1e-4)
			dst := like(src)
			s.Mix(dst, src)
			var want []float64
			wantDst := make([]float64, len(dst.Data))
			for b := range 2 {
				for ch := range m.Dim() {
					d := denseS4(t, m, 0, ch)
					h := make([]complex128, 2*n)
					for i := range n {
						at := 2 * ((b*m.Dim()+ch)*n + i)
						h[i] = complex(float64(initial.Data()[at]), float64(initial.Data()[at+1]))
						h[n+i] = cmplx.Conj(h[i])
					}
					for p := range src.Len {
						h = d.a.vector(h)
						u := src.At(b, p)[ch]
						y := complex(float64(param(t, m, "D").Data()[ch])*float64(u), 0)
						for i := range h {
							h[i] += d.b[i] * complex(float64(u), 0)
							y += d.c[i] * h[i]
						}
						wantDst[(b*src.Len+p)*m.Dim()+ch] = real(y)
					}
					for _, z := range h[:n] {
						want = append(want, real(z), imag(z))
					}
				}
			}
			wantClose(t, "result from a state", dst.Data, wantDst, 2e-5)
			wantClose(t, "state", s.State().Data(), want, 2e-5)
		})
	}
}

func TestS4Contract(t *testing.T) {
	for name, cfg := range s4Configs {
		// Every finite difference makes the system anew, which takes its time.
		if testing.Short() && name != "modes, random low rank" {
			continue
		}
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				if err := mixtest.Test(newS4(t, cfg, 2), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestS4Tiers(t *testing.T) {
	for _, name := range []string{"modes, random low rank", "states, legs"} {
		m := newS4(t, s4Configs[name], 6)
		cputest.ForEachTier(t, func(t *testing.T) {
			checkLTI(t, m, 300, func(ch int) []float64 { return denseS4(t, m, 0, ch).response(nil, 300) }, nil, 5e-6)
		})
	}
}

func TestS4ConfigErrors(t *testing.T) {
	for want, c := range map[string]ssm.S4Config{
		"d_model 0":     {},
		"d_state 3":     {DModel: 4, DState: 3},
		"d_state 2048":  {DModel: 4, DState: 2048},
		"rank -1":       {DModel: 4, Rank: -1},
		"rank 17":       {DModel: 4, Rank: 17},
		"rank 1,":       {DModel: 4, Init: ssm.InitLegT, Rank: 1},
		"n_ssm 3":       {DModel: 4, NSSM: 3},
		"elements":      {DModel: 1 << 28, DState: 64},
		"transform":     {DModel: 4, RealTransform: "tan"},
		"rate":          {DModel: 4, Rate: math.Inf(1)},
		"called":        {DModel: 4, Init: "hadamard"},
		"dt_max":        {DModel: 4, DTMax: math.NaN()},
		"at most 1024 ": {DModel: 4, DState: 1026},
	} {
		if _, err := ssm.NewS4(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(strings.TrimSuffix(want, ","))) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

var modalConfigs = map[string]ssm.ModalConfig{
	"pairs": {DModel: 5, Pairs: 4},
	"reals": {DModel: 20, Reals: 3},
	"both":  {DModel: 17, Pairs: 2, Reals: 9},
}

func newModal(t testing.TB, cfg ssm.ModalConfig, seed uint64) *ssm.Modal {
	t.Helper()
	m, err := ssm.NewModal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

func naiveModal(t testing.TB, m *ssm.Modal, channel, n int) []float64 {
	k := make([]float64, n)
	c := m.Config()
	decay, residue := param(t, m, "pairs.decay").Data(), param(t, m, "pairs.residue").Data()
	for i := channel * c.Pairs; i < (channel+1)*c.Pairs; i++ {
		lambda := 1 - complex(float64(decay[2*i]), float64(decay[2*i+1]))
		for t := range k {
			k[t] += 2 * real(complex(float64(residue[2*i]), float64(residue[2*i+1]))*cmplx.Pow(lambda, complex(float64(t), 0)))
		}
	}
	for i := channel * c.Reals; i < (channel+1)*c.Reals; i++ {
		for j := range k {
			k[j] += float64(param(t, m, "reals.residue").Data()[i]) * math.Pow(1-float64(param(t, m, "reals.decay").Data()[i]), float64(j))
		}
	}
	return k
}

func TestModal(t *testing.T) {
	for name, cfg := range modalConfigs {
		t.Run(name, func(t *testing.T) {
			m := newModal(t, cfg, 1)
			for _, n := range []int{1, 2, 33, 300} {
				checkLTI(t, m, n, func(ch int) []float64 { return naiveModal(t, m, ch, n) }, nil, 5e-6)
			}
			checkKernel(t, m, 20, func(ch int) []float64 { return naiveModal(t, m, ch, 20) }, nil)
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			}
			s := newStream[*ssm.LTIStream](t, m, 2)
			initial := tensor.New(2, cfg.DModel, 2*cfg.Pairs+cfg.Reals)
			randomize(newRand(2), initial.Data(), 1)
			s.SetState(initial)
			wantSame(t, "state", s.State().Data(), initial.Data())
		})
	}
	for want, c := range map[string]ssm.ModalConfig{
		"d_model 0": {Pairs: 1}, "0 pairs": {DModel: 1}, "-1 pairs": {DModel: 1, Pairs: -1, Reals: 3}, "elements": {DModel: 1 << 30, Pairs: 4},
	} {
		if _, err := ssm.NewModal(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

// Any system whose modes serve is the modal one of them.
func TestModalOf(t *testing.T) {
	check := func(name string, m ltiMixer, modal *ssm.Modal, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		src := randomSeq(newRand(1), 1, 200, m.Dim())
		wantClose(t, name, mix(modal, src).Data, mix(m, src).Data, 2e-6)
	}
	d := newS4D(t, s4dConfigs["bilinear"], 1)
	modal, err := d.Modal()
	check("S4D", d, modal, err)
	d = newS4D(t, s4dConfigs["real"], 1)
	modal, err = d.Modal()
	check("real S4D", d, modal, err)
	s := newS4(t, s4Configs["modes, random low rank"], 1)
	modal, err = s.Modal()
	check("S4", s, modal, err)
	if _, err := newS4(t, s4Configs["states, default"], 1).Modal(); err == nil {
		t.Error("the modes of a HiPPO matrix: no error")
	}
	if _, err := newS4D(t, s4dConfigs["both ways"], 1).Modal(); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("both ways: error %v", err)
	}
}
