package modes

import (
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/tensor"
)

// newSegment returns a random segment of systems with pairs and real modes, some of which
// are extreme: poles of 0, of almost 1 and on the negative axis, and no input or output.
func newSegment(r *rand.Rand, batch, length, channels, pairs, reals int) *Segment {
	s := &Segment{System: System{Pairs: pairs, Channels: make([][]Mode, channels)}}
	number := func(k int) complex128 {
		if k < pairs {
			return complex(r.NormFloat64(), r.NormFloat64())
		}
		return complex(r.NormFloat64(), 0)
	}
	for ch := range s.Channels {
		for k := range pairs + reals {
			m := Mode{Pole: number(k), B: number(k), C: number(k)}
			m.Pole *= complex(math.Sqrt(r.Float64())/cmplx.Abs(m.Pole), 0)
			switch r.IntN(10) {
			case 0:
				m.Pole = 0
			case 1:
				m.Pole = 1 - 1e-5
			case 2:
				m.B = 0
			case 3:
				m.C = 0
			}
			s.Channels[ch] = append(s.Channels[ch], m)
		}
	}
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	s.Src = tensor.SeqOf(values(batch*length*channels), batch, length, channels)
	s.DDst = tensor.SeqOf(values(batch*length*channels), batch, length, channels)
	s.First, s.DLast = values(batch*channels*s.width()), values(batch*channels*s.width())
	return s
}

// A naive gradient is that of everything, from position to position.
type naive struct {
	grads        [][]Mode
	dsrc, dfirst []float64
}

func (s *Segment) naive(first, dlast bool) naive {
	g := naive{grads: make([][]Mode, len(s.Channels)), dsrc: make([]float64, len(s.Src.Data)), dfirst: make([]float64, len(s.First))}
	for ch, modes := range s.Channels {
		g.grads[ch] = make([]Mode, len(modes))
		for k, m := range modes {
			for b := range s.Src.Batch {
				s.naiveMode(&g, b, ch, k, m, first, dlast)
			}
		}
	}
	return g
}

func (s *Segment) naiveMode(g *naive, b, ch, k int, m Mode, first, dlast bool) {
	states, d := []complex128{0}, complex128(0)
	if first {
		states[0] = s.state(s.of(s.First, b, ch), k)
	}
	if dlast {
		d = s.state(s.of(s.DLast, b, ch), k)
	}
	for t := range s.Src.Len {
		states = append(states, m.Pole*states[t]+m.B*complex(float64(s.Src.At(b, t)[ch]), 0))
	}
	sum := &g.grads[ch][k]
	for t := s.Src.Len - 1; t >= 0; t-- {
		dy, u := complex(float64(s.DDst.At(b, t)[ch]), 0), complex(float64(s.Src.At(b, t)[ch]), 0)
		sum.C += dy * cmplx.Conj(states[t+1])
		d += dy * cmplx.Conj(m.C)
		sum.B += d * u
		sum.Pole += d * cmplx.Conj(states[t])
		g.dsrc[(b*s.Src.Len+t)*s.Src.Dim+ch] += real(d * cmplx.Conj(m.B))
		d *= cmplx.Conj(m.Pole)
	}
	at := (b*len(s.Channels) + ch) * s.width()
	if k < s.Pairs {
		g.dfirst[at+2*k], g.dfirst[at+2*k+1] = real(d), imag(d)
	} else {
		g.dfirst[at+s.Pairs+k] = real(d)
	}
}

// taps is the gradient of the impulse responses.
func (s *Segment) taps() tensor.Mat {
	m := tensor.MatOf(make([]float32, s.Src.Len*s.Src.Dim), s.Src.Len, s.Src.Dim)
	for lag := range s.Src.Len {
		for ch := range s.Src.Dim {
			sum := 0.0
			for b := range s.Src.Batch {
				for t := lag; t < s.Src.Len; t++ {
					sum += float64(s.DDst.At(b, t)[ch]) * float64(s.Src.At(b, t-lag)[ch])
				}
			}
			m.Row(lag)[ch] = float32(sum)
		}
	}
	return m
}

// parts returns all real and imaginary parts of gradients of modes.
func parts[T float32 | float64](grads [][]Mode) (v []T) {
	for _, list := range grads {
		for _, m := range list {
			for _, z := range []complex128{m.Pole, m.B, m.C} {
				v = append(v, T(real(z)), T(imag(z)))
			}
		}
	}
	return v
}

func wantClose(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	var worst, scale float64
	for i, w := range want {
		worst, scale = max(worst, math.Abs(float64(got[i])-w)), max(scale, math.Abs(w))
	}
	if !(worst <= 2e-6*scale) {
		t.Errorf("%s: off by %.3g of %.3g", what, worst, scale)
	}
}

func TestSegment(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, length := range []int{0, 1, 2, 15, 16, 17, 100} {
			for _, modes := range [][2]int{{4, 0}, {0, 3}, {2, 2}, {1, 0}} {
				s := newSegment(r, 2, length, 18, modes[0], modes[1])
				s.DTaps = s.taps()
				alone := s.naive(false, false)
				for i := range 4 {
					first, dlast := i&1 != 0, i&2 != 0
					want := s.naive(first, dlast)
					given := *s
					if !first {
						given.First = nil
					}
					if !dlast {
						given.DLast = nil
					}
					name := fmt.Sprintf("%d positions, %v modes, first %v, dlast %v", length, modes, first, dlast)
					dfirst := make([]float32, len(s.First))
					wantClose(t, name+": modes", parts[float32](given.Back(dfirst)), parts[float64](want.grads))
					wantClose(t, name+": first", dfirst, want.dfirst)
					dsrc := tensor.NewSeq(s.Src.Batch, length, s.Src.Dim)
					for i, v := range alone.dsrc {
						dsrc.Data[i] = float32(v)
					}
					given.AddInput(dsrc)
					wantClose(t, name+": src", dsrc.Data, want.dsrc)
				}
			}
		}
	})
}
