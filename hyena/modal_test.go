package hyena

import (
	"encoding/json"
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

func newModal(t testing.TB, cfg ModalConfig, seed uint64) *Modal {
	t.Helper()
	m, err := NewModal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

// poles returns λ and R of a channel from the parameters.
func (m *Modal) naivePoles(c int) (poles, residues []complex128) {
	n := m.cfg.States
	for i := c * n; i < (c+1)*n; i++ {
		p, r := m.poles.Data(), m.residues.Data()
		switch m.cfg.Form {
		case ComplexPoles:
			poles = append(poles, complex(float64(p[2*i]), float64(p[2*i+1])))
			residues = append(residues, complex(float64(r[2*i]), float64(r[2*i+1])))
		case PoleDistances:
			poles = append(poles, complex(1+float64(p[2*i]), float64(p[2*i+1])))
			residues = append(residues, complex(float64(r[2*i]), float64(r[2*i+1])))
		case LogPoles:
			poles, residues = append(poles, complex(math.Exp(float64(p[i])), 0)), append(residues, complex(float64(r[i]), 0))
		default:
			logp := -math.Exp(float64(p[i])) * math.Exp(float64(m.gamma.Data()[i]))
			poles, residues = append(poles, complex(math.Exp(logp), 0)), append(residues, complex(float64(r[i]), 0))
		}
	}
	return poles, residues
}

// naiveModal is the convolution with the taps of the definition.
func naiveModal(m *Modal, x [][]float64) [][]float64 {
	y := make([][]float64, len(x))
	for t := range y {
		y[t] = make([]float64, m.Dim())
	}
	for c := range m.Dim() {
		poles, residues := m.naivePoles(c)
		h := make([]float64, len(x))
		for t := range h {
			for n, p := range poles {
				h[t] += real(residues[n] * cmplx.Pow(p, complex(float64(t), 0)))
			}
		}
		for t := range y {
			y[t][c] = float64(m.d.Data()[c]) * x[t][c]
			for i := range t + 1 {
				y[t][c] += h[t-i] * x[i][c]
			}
		}
	}
	return y
}

func rowsOf64(s tensor.Seq, b int) [][]float64 {
	x := make([][]float64, s.Len)
	for t := range x {
		x[t] = float64s(s.At(b, t))
	}
	return x
}

var modals = map[string]ModalConfig{
	"complex": {Dim: 5}, "8 complex states": {Dim: 18, States: 8}, "one state": {Dim: 3, States: 1},
	"log": {Dim: 17, Form: LogPoles}, "trained": {Dim: 4, Form: TrainedPoles, States: 3},
	"distances": {Dim: 5, Form: PoleDistances, States: 4},
}

func TestModal(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, cfg := range modals {
			m := newModal(t, cfg, 1)
			for _, n := range []int{1, 2, 3, 64, 1000} {
				src := randomSeq(newRand(2), 2, n, cfg.Dim)
				got := mix(m, src)
				for b := range 2 {
					want := slices.Concat(naiveModal(m, rowsOf64(src, b))...)
					wantClose(t, fmt.Sprintf("%s, %d positions", name, n), got.Sequence(b).Data, want, 5e-6) // slow poles remember rounding errors
				}
			}
		}
	})
}

// Values from an independent program (spec/hyena.md, T8), one of whose filters has a
// prefill that a bug in the original gives otherwise.
func TestModalValues(t *testing.T) {
	m := newModal(t, ModalConfig{Dim: 1}, 1)
	for i, v := range []complex128{cmplx.Rect(.8, .5), cmplx.Rect(.6, -1.1), .3 - .7i, -.2 + .4i} {
		into := []*tensor.Tensor{m.poles, m.residues}[i/2].Data()[i%2*2:]
		into[0], into[1] = float32(real(v)), float32(imag(v))
	}
	m.d.Data()[0] = .37
	h := tensor.MatOf(make([]float32, 6), 6, 1)
	m.Taps(h)
	wantClose(t, "taps", h.Data, []float64{.1, .638556348, .639512607, .397397335, .168212651, .025553166}, 1e-6)
	s, err := m.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	y := tensor.SeqOf([]float32{1, -2, .5, 3, 0, -1}, 1, 6, 1)
	s.Mix(y, y)
	wantClose(t, "result", y.Data, []float64{.47, -.301443652, -.402600090, .847650297, 1.608843329, 1.336364350}, 1e-6)
	wantClose(t, "states", s.(*ModalStream).State().Data(), []float64{.133877899, 1.322193908, -1.607462180, -1.047932023}, 1e-6)

	r := newModal(t, ModalConfig{Dim: 2, Form: LogPoles, States: 2}, 1)
	r.poles.SetFloat32s([]float32{-.1, -.5, -1, -.02})
	r.residues.SetFloat32s([]float32{.5, -1, .25, .75})
	h = tensor.MatOf(make([]float32, 10), 5, 2)
	r.Taps(h)
	wantClose(t, "real taps", h.Data, []float64{-.5, 1, -.154111951, .827118865, .041485935, .754425900, .147278950, .718770167, .199824740, .696916170}, 1e-6)
}

// A pole that is zero is a tap 0.
func TestModalZeroPole(t *testing.T) {
	m := newModal(t, ModalConfig{Dim: 1, States: 1}, 1)
	m.poles.SetFloat32s([]float32{0, 0})
	m.residues.SetFloat32s([]float32{.5, 3})
	m.d.SetFloat32s([]float32{0})
	h := tensor.MatOf(make([]float32, 3), 3, 1)
	m.Taps(h)
	wantClose(t, "taps", h.Data, []float64{.5, 0, 0}, 0)
	wantClose(t, "result", mix(m, tensor.SeqOf([]float32{1, 2, 3}, 1, 3, 1)).Data, []float64{.5, 1, 1.5}, 1e-7)
}

// TestModalLong runs filters that remember some ten thousand positions for longer, and
// compares with the recurrence in float64: rounding errors add up, but slowly.
func TestModalLong(t *testing.T) {
	const n, dim = 200_000, 2
	m := newModal(t, ModalConfig{Dim: dim, Form: PoleDistances, States: 2}, 1)
	for i, p := range []complex128{cmplx.Rect(math.Exp(-1e-4), 0.3), cmplx.Rect(math.Exp(-3e-5), 1e-4), cmplx.Rect(math.Exp(-1e-5), 3), cmplx.Rect(math.Exp(-1e-3), -1)} {
		m.poles.Data()[2*i], m.poles.Data()[2*i+1] = float32(real(p-1)), float32(imag(p-1))
	}
	src := randomSeq(newRand(3), 1, n, dim)
	got := mix(m, src)
	for c := range dim {
		poles, residues := m.naivePoles(c)
		states := make([]complex128, len(poles))
		var worst, size float64
		for at := range n {
			x := float64(src.At(0, at)[c])
			y := float64(m.d.Data()[c]) * x
			for i, p := range poles {
				states[i] = p*states[i] + complex(x, 0)
				y += real(residues[i] * states[i])
			}
			worst, size = max(worst, math.Abs(y-float64(got.At(0, at)[c]))), max(size, math.Abs(y))
		}
		if !(worst <= 2e-5*size) {
			t.Errorf("channel %d: error %.3g of the largest", c, worst/size)
		}
		t.Logf("channel %d: error %.3g of the largest", c, worst/size)
	}
}

func TestModalContract(t *testing.T) {
	for name, cfg := range modals {
		t.Run(name, func(t *testing.T) {
			m := newModal(t, cfg, 1)
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 3, Len: 150}}) {
				if err := sameBits(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestModalState(t *testing.T) {
	m := newModal(t, ModalConfig{Dim: 18, States: 3}, 1)
	src := randomSeq(newRand(3), 2, 30, 18)
	s, _ := m.NewStream(2)
	want := like(src)
	s.Mix(want, src)
	a, _ := m.NewStream(2)
	got := like(src)
	a.Mix(got.Slice(0, 11), src.Slice(0, 11))
	b, _ := m.NewStream(2)
	b.(*ModalStream).SetState(a.(*ModalStream).State())
	b.Mix(got.Slice(11, 30), src.Slice(11, 30))
	if !slices.Equal(got.Data, want.Data) {
		t.Error("continued from the state of another stream: another result")
	}
}

func TestModalConfig(t *testing.T) {
	for _, text := range []string{`{}`, `{"hidden_size": -1}`, `{"hidden_size": 3, "state_size": -1}`} {
		var c ModalConfig
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := NewModal(c); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	var c ModalConfig
	if err := json.Unmarshal([]byte(`{"hidden_size": 3, "form": "log"}`), &c); err != nil {
		t.Fatal(err)
	}
	if m := newModal(t, c, 1); m.Config().States != 16 || m.Config().Form != LogPoles {
		t.Errorf("configuration %+v", m.Config())
	}
	if _, err := NewModal(ModalConfig{Dim: 3, Form: 7}); err == nil {
		t.Error("no such form: no error")
	}
}
