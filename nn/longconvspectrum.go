package nn

import (
	"math/bits"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

// A spectrumKind says of which filter a spectrum is.
type spectrumKind uint8

const (
	// wholeSpectrum is that of the taps of both sides: the convolution of a sequence
	// that is not longer than the transform.
	wholeSpectrum spectrumKind = iota

	// tileSpectrum gives what n inputs contribute to the n positions after them, with n
	// the length of the transform and taps up to lag 2n-1.
	tileSpectrum

	kinds
)

// convPlans holds the plan for transforms of 1<<i positions.
var convPlans [bits.UintSize]struct {
	once sync.Once
	plan *kernel.ConvPlan
}

func convPlan(length int) (plan *kernel.ConvPlan, log int) {
	log = bits.Len(uint(max(length, minConvLen) - 1))
	p := &convPlans[log]
	p.once.Do(func() { p.plan = kernel.NewConvPlan(1 << log) })
	return p.plan, log
}

// A convSpectrum is the spectrum of a bank of filters for transforms of one length, or
// the way to it.
type convSpectrum struct {
	conv *LongConv
	kind spectrumKind
	plan *kernel.ConvPlan
	all  []float32 // nil if it is not kept
}

// causal reports whether results by s depend on inputs up to their positions only.
func (s *convSpectrum) causal() bool { return s.kind == wholeSpectrum && s.conv.Causal() }

// spectrum returns the spectrum for sequences of so many positions.
func (c *LongConv) spectrum(kind spectrumKind, length int) convSpectrum {
	plan, log := convPlan(length)
	s := convSpectrum{conv: c, kind: kind, plan: plan}
	slot := &c.spectra[kind][log]
	if p := slot.Load(); p != nil {
		s.all = *p
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := slot.Load(); p != nil {
		s.all = *p
		return s
	}
	limit := c.CacheLimit
	if limit == 0 {
		limit = defaultCacheLimit
	}
	bytes := 4 * plan.SpectrumLen(c.Dim())
	if c.cached+bytes > limit {
		return s
	}
	c.cached += bytes
	all := make([]float32, plan.SpectrumLen(c.Dim()))
	par.Do(len(all)/plan.ScratchLen(), 1, &spectrumLoop{s, all})
	s.all = all
	slot.Store(&all)
	return s
}

// spectrumLoop computes the spectra of all blocks of channels.
type spectrumLoop struct {
	convSpectrum
	dst []float32
}

// Run computes blocks lo to hi-1.
func (l *spectrumLoop) Run(lo, hi int) {
	size := l.plan.ScratchLen()
	room := make([]float32, size)
	for b := lo; b < hi; b++ {
		l.compute(l.dst[b*size:(b+1)*size], room, b)
	}
}

// room returns the number of elements that block needs.
func (s *convSpectrum) room() int {
	if s.all != nil {
		return 0
	}
	return 2 * s.plan.ScratchLen()
}

// block returns the spectrum of one block of channels. It may use room.
func (s *convSpectrum) block(b int, room []float32) []float32 {
	size := s.plan.ScratchLen()
	if s.all != nil {
		return s.all[b*size : (b+1)*size]
	}
	s.compute(room[:size], room[size:2*size], b)
	return room[:size]
}

// compute makes dst the spectrum of block b.
//
// With the weights of a right-angle convolution, multiplying by a spectrum gives
// y[n] + i·y[n+N] for transforms of N positions, and the real part is kept. So the
// conjugate of the spectrum of the other side adds what that contributes. And since a
// tap of lag N+k counts as one of lag k times i, the spectrum of h[N+k] - i·h[k] has in
// the real part what came out as the imaginary one: all that positions N to 2N-1 get.
func (s *convSpectrum) compute(dst, room []float32, b int) {
	n := s.plan.Len()
	if s.kind == tileSpectrum {
		s.side(room, s.conv.fwd.Data, 0, n, b)
		s.side(dst, s.conv.fwd.Data, n, 2*n, b)
		combine(dst, room, func(hi, lo complex64) complex64 { return hi + complex(imag(lo), -real(lo)) })
		return
	}
	s.side(dst, s.conv.fwd.Data, 0, n, b)
	if s.conv.back.Rows > 0 {
		g := s.conv.back
		s.taps(room, g.Data, g.Stride, 0, min(n, g.Rows), b)
		combine(dst, room, func(h, g complex64) complex64 { return h + complex(real(g), -imag(g)) })
	}
}

// side computes the spectrum of taps from to to-1 of the causal side.
func (s *convSpectrum) side(dst, h []float32, from, to, b int) {
	s.taps(dst, h, s.conv.fwd.Stride, from, min(to, s.conv.fwd.Rows), b)
}

func (s *convSpectrum) taps(dst, h []float32, ld, from, to, b int) {
	at := b * convBlock
	width := min(convBlock, s.conv.Dim()-at)
	if to <= from {
		s.plan.Spectrum(dst, nil, 0, 0, width, 0, 1)
		return
	}
	s.plan.Spectrum(dst, h[from*ld+at:], ld, to-from, width, 0, 1)
}

// combine computes a = f(a, b) for spectra of one block.
func combine(a, b []float32, f func(a, b complex64) complex64) {
	for ; len(a) > 0; a, b = a[2*convBlock:], b[2*convBlock:] {
		for i := range convBlock {
			v := f(complex(a[i], a[convBlock+i]), complex(b[i], b[convBlock+i]))
			a[i], a[convBlock+i] = real(v), imag(v)
		}
	}
}
