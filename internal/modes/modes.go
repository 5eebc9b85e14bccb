// Package modes takes gradients through the states of linear time-invariant systems that
// are sums of modes, from behind a segment of sequences to in front of it.
//
// With the states h before a segment of T positions, and v for the gradient with respect
// to those behind it, a mode h' = λ·h + b·u, y = Re(c·h') adds to the loss, besides what
// the segment on its own does,
//
//	Re(c·h·Σ_t dy[t]·λ^(t+1)) + Re(conj(v)·(λ^T·h + b·Σ_t u[T-1-t]·λ^t))
//
// What the segment does on its own is a convolution with the impulse response Re(c·b·λ^t).
package modes

import (
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A Mode is a state of its own: h = Pole·h + B·u with the output Re(C·h). As a gradient
// it holds those of the three: of a complex number, that of its real part plus i times
// that of its imaginary part.
type Mode struct{ Pole, B, C complex128 }

// A System is the modes of each of some channels, as many of each: first Pairs ones with a
// complex state, of which two numbers are kept, and then real ones.
type System struct {
	Pairs    int
	Channels [][]Mode
}

// width returns how many numbers the state of a channel has.
func (s *System) width() int { return s.Pairs + len(s.Channels[0]) }

// state returns state k of a channel, whose numbers are v.
func (s *System) state(v []float32, k int) complex128 {
	if k < s.Pairs {
		return complex(float64(v[2*k]), float64(v[2*k+1]))
	}
	return complex(float64(v[s.Pairs+k]), 0)
}

func (s *System) setState(v []float32, k int, z complex128) {
	if k < s.Pairs {
		v[2*k], v[2*k+1] = float32(real(z)), float32(imag(z))
	} else {
		v[s.Pairs+k] = float32(real(z))
	}
}

// A Segment is some positions of sequences, their input and the gradient of their output,
// with the states First before them and the gradient DLast with respect to those after
// them. Both are of shape (batch, channels, numbers of a channel); nil stands for zeros.
// DTaps is the gradient with respect to the impulse responses of the channels, a row for
// each lag, or empty.
type Segment struct {
	System
	Src, DDst    tensor.Seq
	DTaps        tensor.Mat
	First, DLast []float32
}

// of returns the part of states that channel ch of sequence b has.
func (s *Segment) of(states []float32, b, ch int) []float32 {
	n := s.width()
	at := (b*len(s.Channels) + ch) * n
	return states[at : at+n]
}

// Back writes the gradient with respect to First to dfirst, unless that is nil, and
// returns those of the modes.
func (s *Segment) Back(dfirst []float32) [][]Mode {
	grads := make([][]Mode, len(s.Channels))
	par.Do(len(grads), 1, par.Func(func(lo, hi int) {
		scratch := tensor.GetScratch()
		for ch := lo; ch < hi; ch++ {
			scratch.Reset()
			grads[ch] = s.channel(ch, dfirst, scratch)
		}
		tensor.PutScratch(scratch)
	}))
	return grads
}

// channel is Back of a channel.
func (s *Segment) channel(ch int, dfirst []float32, scratch *tensor.Scratch) []Mode {
	modes := s.Channels[ch]
	grads := make([]Mode, len(modes))
	batch, length := s.Src.Batch, s.Src.Len
	p := newPowerSums(modes, 2*batch+1, length, scratch)
	for b := range batch {
		outputs, inputs := p.row(2*b), p.row(2*b+1)
		for t := range length {
			outputs[t], inputs[length-1-t] = s.DDst.At(b, t)[ch], s.Src.At(b, t)[ch]
		}
	}
	taps := p.row(2 * batch)
	for t := range s.DTaps.Rows {
		taps[t] = s.DTaps.Row(t)[ch]
	}
	p.run()
	for k, m := range modes {
		through, slope := power(m.Pole, length), complex128(0)
		if length > 0 {
			slope = complex(float64(length), 0) * power(m.Pole, length-1)
		}
		sum, dsum := p.sum(2*batch, k)
		grads[k] = Mode{conj(m.C * m.B * dsum), conj(m.C * sum), conj(m.B * sum)}
		for b := range batch {
			var h, v complex128
			if s.First != nil {
				h = s.state(s.of(s.First, b, ch), k)
			}
			if s.DLast != nil {
				v = conj(s.state(s.of(s.DLast, b, ch), k))
			}
			y, dy := p.sum(2*b, k)
			y, dy = m.Pole*y, y+m.Pole*dy
			u, du := p.sum(2*b+1, k)
			grads[k].C += conj(y * h)
			grads[k].B += conj(v * u)
			grads[k].Pole += conj(m.C*h*dy + v*(slope*h+m.B*du))
			if dfirst != nil {
				s.setState(s.of(dfirst, b, ch), k, conj(m.C*y+v*through))
			}
		}
	}
	return grads
}

func conj(z complex128) complex128 { return complex(real(z), -imag(z)) }

// power returns z^n.
func power(z complex128, n int) complex128 {
	p := complex128(1)
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p *= z
		}
		z *= z
	}
	return p
}

// AddInput adds to dsrc what DLast gives for the input, turned around in time an impulse
// response for each sequence:
//
//	dsrc[T-1-t] += Re(Σ b·conj(v)·λ^t)
func (s *Segment) AddInput(dsrc tensor.Seq) {
	if s.DLast == nil || dsrc.Len == 0 {
		return
	}
	scratch := tensor.GetScratch()
	defer tensor.PutScratch(scratch)
	dim := len(s.Channels)
	f := kernel.NewModalFilter(dim, s.Pairs, len(s.Channels[0])-s.Pairs)
	x, h := scratch.Take(dsrc.Len*dim), scratch.Take(f.StateLen())
	for b := range dsrc.Batch {
		for ch, modes := range s.Channels {
			for k, m := range modes {
				v := m.B * conj(s.state(s.of(s.DLast, b, ch), k))
				if k < s.Pairs {
					f.SetPair(ch, k, m.Pole-1, v)
				} else {
					f.SetReal(ch, k-s.Pairs, real(m.Pole)-1, real(v))
				}
			}
		}
		clear(h)
		clear(x)
		for ch := range dim {
			x[ch] = 1
		}
		par.Do(f.Blocks(), 1, par.Func(func(lo, hi int) { f.Filter(x, dim, x, dim, dsrc.Len, h, lo, hi) }))
		for t := range dsrc.Len {
			row := dsrc.At(b, dsrc.Len-1-t)
			kernel.Add(row, row, x[t*dim:(t+1)*dim])
		}
	}
}
