package ssm

import (
	"math/cmplx"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// ltiBlock is the number of channels that an LTI system is computed in at a time.
const ltiBlock = kernel.ModalBlock

// A recurrence is an LTI system for each channel, ready to run. It is read only.
type recurrence interface {
	channels() int

	// stateLen returns the number of elements of the state of one sequence.
	stateLen() int

	// cost returns about how many nanoseconds a position of a channel takes.
	cost() float64

	// run takes the channels of blocks lo to hi-1 through all rows of src, from the
	// state h on. dst may be src.
	run(dst, src tensor.Mat, h []float32, lo, hi int)

	// exportState writes the state h of one sequence to dst in the form of
	// LTIStream.State. importState is the inverse.
	exportState(dst, h []float32)
	importState(h, src []float32)
}

// A mode is a term of an impulse response: a pole λ, as λ-1, and what it is
// multiplied by. For a pair of conjugate poles it stands for both of them.
type mode struct{ distance, residue complex128 }

// A modal is a recurrence whose states do not depend on each other. The states are
// scaled such that the input has the factor one, which saves multiplications: h[k]
// here is that of the mixer over scale[k].
type modal struct {
	*kernel.ModalFilter
	dim         int
	pairs       [][]mode // of each channel
	reals       [][]mode
	coordinates stateCoordinates
}

// stateCoordinates say what the state of a channel is outside of its recurrence. z
// holds the states of its pairs and then of its real poles; what they are exchanged
// with is as wide as a channel of LTIStream.State.
type stateCoordinates interface {
	fromModes(dst []float32, channel int, z []complex128)
	toModes(z []complex128, channel int, src []float32)
}

// newModal makes a recurrence of the modes of each channel and d, which may be nil.
// Channels need not have the same number of them.
func newModal(pairs, reals [][]mode, d []float32, c stateCoordinates) *modal {
	m := &modal{dim: len(pairs), pairs: pairs, reals: reals, coordinates: c}
	m.ModalFilter = kernel.NewModalFilter(m.dim, longest(pairs), longest(reals))
	for ch := range m.dim {
		for k, p := range pairs[ch] {
			m.SetPair(ch, k, p.distance, 2*p.residue)
		}
		for k, p := range reals[ch] {
			m.SetReal(ch, k, real(p.distance), real(p.residue))
		}
		if d != nil {
			m.SetSkip(ch, d[ch])
		}
	}
	return m
}

func longest(modes [][]mode) int {
	n := 0
	for _, m := range modes {
		n = max(n, len(m))
	}
	return n
}

func (m *modal) channels() int { return m.dim }

func (m *modal) stateLen() int { return m.StateLen() }

func (m *modal) run(dst, src tensor.Mat, h []float32, lo, hi int) {
	m.Filter(dst.Data, dst.Stride, src.Data, src.Stride, src.Rows, h, lo, hi)
}

func (m *modal) cost() float64 {
	return 0.25 + 0.105*float64(longest(m.pairs)) + 0.045*float64(longest(m.reals))
}

func (m *modal) exportState(dst, h []float32) {
	width := len(dst) / m.dim
	for ch := range m.dim {
		z := make([]complex128, 0, len(m.pairs[ch])+len(m.reals[ch]))
		for k := range m.pairs[ch] {
			re, im := m.PairAt(ch, k)
			z = append(z, complex(float64(h[re]), float64(h[im])))
		}
		for k := range m.reals[ch] {
			z = append(z, complex(float64(h[m.RealAt(ch, k)]), 0))
		}
		m.coordinates.fromModes(dst[ch*width:(ch+1)*width], ch, z)
	}
}

func (m *modal) importState(h, src []float32) {
	width := len(src) / m.dim
	for ch := range m.dim {
		pairs := len(m.pairs[ch])
		z := make([]complex128, pairs+len(m.reals[ch]))
		m.coordinates.toModes(z, ch, src[ch*width:(ch+1)*width])
		for k, v := range z[:pairs] {
			re, im := m.PairAt(ch, k)
			h[re], h[im] = float32(real(v)), float32(imag(v))
		}
		for k, v := range z[pairs:] {
			h[m.RealAt(ch, k)] = float32(real(v))
		}
	}
}

// response returns the first n values of the impulse response of a channel, without d.
func response(pairs, reals []mode, n int) []float64 {
	k := make([]float64, n)
	for i, p := range append(append([]mode(nil), pairs...), reals...) {
		h, times := complex(1, 0), 1.0
		if i < len(pairs) {
			times = 2
		}
		for t := range k {
			k[t] += times * real(p.residue*h)
			h += p.distance * h
		}
	}
	return k
}

// inputScale returns what states are scaled by whose input has the factor b: b itself,
// unless that is nothing. Such a state can still be set from outside, so that it must
// not be lost; the input then reaches it with a factor that does not count.
func inputScale(b complex128) complex128 {
	const least = 1e-18
	if cmplx.Abs(b) < least {
		return least
	}
	return b
}

// complexStates are states as they stand in pairs of real and imaginary part, or, of
// real poles, in single numbers.
type complexStates struct{ scale [][]complex128 } // of each channel, by the order of its modes

func (c complexStates) fromModes(dst []float32, channel int, z []complex128) {
	for k, s := range c.scale[channel] {
		v := z[k] * s
		if len(dst) == len(c.scale[channel]) {
			dst[k] = float32(real(v))
		} else {
			dst[2*k], dst[2*k+1] = float32(real(v)), float32(imag(v))
		}
	}
}

func (c complexStates) toModes(z []complex128, channel int, src []float32) {
	for k, s := range c.scale[channel] {
		if len(src) == len(c.scale[channel]) {
			z[k] = complex(float64(src[k]), 0) / s
		} else {
			z[k] = complex(float64(src[2*k]), float64(src[2*k+1])) / s
		}
	}
}
