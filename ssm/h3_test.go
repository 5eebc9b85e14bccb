package ssm_test

import (
	"fmt"
	"math"
	"math/cmplx"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var shifts = map[string]ssm.ShiftConfig{
	"default": {DModel: 5}, "one": {DModel: 1, DState: 1}, "odd": {DModel: 19, DState: 7}, "strips": {DModel: 150, DState: 3},
}

func newShift(t testing.TB, cfg ssm.ShiftConfig, seed uint64) *ssm.Shift {
	t.Helper()
	m, err := ssm.NewShift(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	randomize(r, param(t, m, "B").Data(), 1)
	randomize(r, param(t, m, "C").Data(), 1)
	return m
}

// naiveShift takes one sequence through the recurrence of the definition, in float64,
// and returns the output and the states after it.
func naiveShift(b, c []float32, channels int, src []float64) (dst, states []float64) {
	n := len(b) / channels
	states = make([]float64, len(b))
	for t := range len(src) / channels {
		for ch := range channels {
			h := states[ch*n : (ch+1)*n]
			copy(h[1:], h)
			h[0] = 0
			y := 0.0
			for i := range h {
				h[i] += float64(b[ch*n+i]) * src[t*channels+ch]
				y += float64(c[ch*n+i]) * h[i]
			}
			dst = append(dst, y)
		}
	}
	return dst, states
}

func TestShift(t *testing.T) {
	for name, cfg := range shifts {
		t.Run(name, func(t *testing.T) {
			m := newShift(t, cfg, 1)
			small(t, 0, m.Dim())
			b, c := param(t, m, "B").Data(), param(t, m, "C").Data()
			for _, length := range []int{1, 2, 9, 150} {
				src := randomSeq(newRand(2), 2, length, m.Dim())
				var want, wantStates []float64
				for i := range 2 {
					y, h := naiveShift(b, c, m.Dim(), float64s(src.Sequence(i).Data))
					want, wantStates = append(want, y...), append(wantStates, h...)
				}
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 2e-6)
				s := newStream[*ssm.ShiftStream](t, m, 2)
				dst := like(src)
				s.Mix(dst.Slice(0, length/2), src.Slice(0, length/2))
				s.Mix(dst.Slice(length/2, length), src.Slice(length/2, length))
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 2e-6)
				wantClose(t, "states", s.State().Data(), wantStates, 1e-6)
			}
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, c := range []ssm.ShiftConfig{{}, {DModel: -1}, {DModel: 1, DState: -3}, {DModel: 1 << 30, DState: 64}} {
		if _, err := ssm.NewShift(c); err == nil || !strings.Contains(err.Error(), "d_model") {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

// As it begins, the states are the last inputs, and C their weights.
func TestShiftInit(t *testing.T) {
	m, err := ssm.NewShift(ssm.ShiftConfig{DModel: 1, DState: 4})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(1))
	wantSame(t, "Kernel", m.Kernel(6).Data(), append(append([]float32(nil), param(t, m, "C").Data()...), 0, 0))
	s, x := newStream[*ssm.ShiftStream](t, m, 1), tensor.SeqOf([]float32{1, 2, 3, 4, 5}, 1, 5, 1)
	s.Mix(like(x), x)
	wantSame(t, "states", s.State().Data(), []float32{5, 4, 3, 2})
}

var h3s = map[string]ssm.H3Config{
	"default":       {DModel: 6},
	"zoh":           {DModel: 18, DState: 8, Disc: ssm.ZOH},
	"heads of two":  {DModel: 12, DState: 6, HeadDim: 2},
	"one head":      {DModel: 3, DState: 4, HeadDim: 3, Init: ssm.InitInv},
	"many channels": {DModel: 132, DState: 4, HeadDim: 2},
}

func newH3(t testing.TB, cfg ssm.H3Config, seed uint64) *ssm.H3 {
	t.Helper()
	m, err := ssm.NewH3(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	randomize(r, param(t, m, "ssm_k_kernel.kernel.B").Data(), 1)
	return m
}

// naiveH3 computes one sequence from the definition, in float64.
func naiveH3(t testing.TB, m *ssm.H3, src []float64) []float64 {
	c := m.Config()
	d, p, n := c.DModel, c.HeadDim, c.DState/2
	heads, length := d/p, len(src)/d
	var q, k, v []float64
	for i := range length {
		x := src[i*d : (i+1)*d]
		q, k, v = append(q, affine(t, m, "q_proj", x)...), append(k, affine(t, m, "k_proj", x)...), append(v, affine(t, m, "v_proj", x)...)
	}
	shifted, _ := naiveShift(param(t, m, "ssm_k_kernel.kernel.B").Data(), param(t, m, "ssm_k_kernel.kernel.C").Data(), d, k)
	for i := range shifted {
		shifted[i] += float64(param(t, m, "ssm_k_D").Data()[i%d]) * k[i]
	}
	get := func(name string) []float32 { return param(t, m, name).Data() }
	logdt, re, im, bb, cc := get("kernel.kernel.log_dt"), get("kernel.kernel.inv_A_real"), get("kernel.kernel.A_imag"), get("kernel.kernel.B"), get("kernel.kernel.C")
	skip := get("D")
	states := make([]complex128, heads*p*p*n)
	var dst []float64
	for i := range length {
		o := make([]float64, d)
		for h := range heads {
			dt := math.Exp(float64(logdt[h]))
			for x := range p {
				for y := range p {
					kv := shifted[i*d+h*p+x] * v[i*d+h*p+y]
					sum := float64(skip[h]) * kv
					for s := range n {
						at := h*n + s
						a := complex(-math.Exp(float64(re[at])), float64(im[at]))
						z := complex(dt, 0) * a
						lambda, b := cmplx.Exp(z), (cmplx.Exp(z)-1)/a
						if c.Disc == ssm.Bilinear {
							lambda, b = (1+z/2)/(1-z/2), complex(dt, 0)/(1-z/2)
						}
						state := &states[((h*p+x)*p+y)*n+s]
						*state = lambda**state + b*complex(float64(bb[2*at]), float64(bb[2*at+1]))*complex(kv, 0)
						sum += 2 * real(complex(float64(cc[2*at]), float64(cc[2*at+1]))**state)
					}
					o[y*heads+h] += q[i*d+h*p+x] * sum
				}
			}
		}
		dst = append(dst, affine(t, m, "output_linear", o)...)
	}
	return dst
}

func TestH3(t *testing.T) {
	for name, cfg := range h3s {
		t.Run(name, func(t *testing.T) {
			m := newH3(t, cfg, 1)
			small(t, 0, m.Dim())
			for _, length := range []int{1, 2, 130} {
				src := randomSeq(newRand(uint64(length)), 2, length, m.Dim())
				var want []float64
				for b := range 2 {
					want = append(want, naiveH3(t, m, float64s(src.Sequence(b).Data))...)
				}
				wantClose(t, fmt.Sprint("Mix, length ", length), mix(m, src).Data, want, 1e-5)
				s := newStream[*ssm.H3Stream](t, m, 2)
				dst := like(src)
				s.Mix(dst.Slice(0, length/2), src.Slice(0, length/2))
				s.Mix(dst.Slice(length/2, length), src.Slice(length/2, length))
				wantClose(t, fmt.Sprint("stream, length ", length), dst.Data, want, 1e-5)
			}
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 1, Len: 150, Seed: 3}}) {
				if err := mixtest.Test(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for want, c := range map[string]ssm.H3Config{
		"d_model 0": {}, "head_dim 3": {DModel: 4, HeadDim: 3}, "head_dim -1": {DModel: 4, HeadDim: -1},
		"d_state": {DModel: 4, DState: 3}, "discretization": {DModel: 4, Disc: "euler"}, "elements": {DModel: 1 << 30},
	} {
		if _, err := ssm.NewH3(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
}

// Whatever a saved state is damaged to, it is an error that changes nothing.
func FuzzLTIState(f *testing.F) {
	streams := []seqmix.Stream{
		newStream[seqmix.Stream](f, newS4D(f, ssm.S4DConfig{DModel: 3, DState: 4}, 1), 2),
		newStream[seqmix.Stream](f, newGatedS4(f, gatedS4s["CleanUMamba"], 1), 1),
		newStream[seqmix.Stream](f, newH3(f, ssm.H3Config{DModel: 2, DState: 2}, 1), 1),
	}
	for i, s := range streams {
		saved, err := s.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), saved)
		f.Add(uint8(i), saved[:len(saved)/2])
	}
	f.Fuzz(func(t *testing.T, i uint8, data []byte) {
		s := streams[int(i)%len(streams)]
		before, _ := s.AppendBinary(nil)
		if err := s.UnmarshalBinary(data); err != nil {
			if after, _ := s.AppendBinary(nil); string(after) != string(before) {
				t.Fatal("an error, but the state changed")
			}
		}
	})
}
