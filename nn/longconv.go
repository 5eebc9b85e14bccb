package nn

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A LongConv convolves each channel of a sequence with a filter of its own that may be
// as long as the sequence:
//
//	y[t][c] = Σ_{i≤t} h[t-i][c] · x[i][c]
//
// or, if it has two sides,
//
//	y[t][c] = Σ_{i≤t} h[t-i][c] · x[i][c] + Σ_{i≥t} g[i-t][c] · x[i][c]
//
// where lag 0 counts in both. Filters shorter than the sequence end in zeros, of
// longer ones the beginning is used.
//
// It is the part that the mixers of Hyena, Monarch Mixer and state spaces share. The
// taps are computed from their parameters, not parameters themselves, so a LongConv
// has none. A term D·x is best made part of tap 0.
//
// Sequences of any length are convolved by Fourier transforms of a power of two, all
// channels side by side, and short ones or ones with few taps by summing up. The error
// of a transform is about 1e-7 of the largest results of the channel, and results depend
// on later inputs by that much; the outputs of a stream do not.
//
// The spectra of the filters are computed when they are first needed and kept, as far
// as CacheLimit allows. Any number of goroutines may use a LongConv.
type LongConv struct {
	// CacheLimit is the number of bytes that the spectra kept may take up; 0 stands for
	// 256 MiB, and a negative number keeps none. A spectrum that does not fit is
	// computed again in each call, once for the whole batch, for 16 channels at a time;
	// with one sequence that makes a call about half as long again. A filter of n taps
	// has 8 bytes a channel and tap of spectra for whole sequences, and streams need
	// about twice as much. It must not change once the LongConv is in use.
	CacheLimit int

	fwd, back tensor.Mat

	mu      sync.Mutex // held while spectra are made
	cached  int        // bytes, guarded by mu
	spectra [kinds][bits.UintSize]atomic.Pointer[[]float32]
}

const defaultCacheLimit = 256 << 20

// NewLongConv returns a causal convolution with taps h: row i of h holds the taps of lag
// i. It keeps h, which must not change any more. It panics with a *tensor.ShapeError if
// h has no rows.
func NewLongConv(h tensor.Mat) *LongConv {
	if h.Rows < 1 {
		panic(&tensor.ShapeError{Op: "nn.NewLongConv", Got: []int{h.Rows, h.Cols}, Want: []int{1, h.Cols}})
	}
	return &LongConv{fwd: h}
}

// NewTwoSidedConv returns a convolution with taps h for the inputs before a position, as
// NewLongConv, and g for those after it: row i of g holds the taps of lag -i. It panics
// with a *tensor.ShapeError if h or g has no rows, or if they have different numbers of
// columns.
func NewTwoSidedConv(h, g tensor.Mat) *LongConv {
	if h.Rows < 1 || g.Rows < 1 || g.Cols != h.Cols {
		panic(&tensor.ShapeError{Op: "nn.NewTwoSidedConv", Got: []int{g.Rows, g.Cols}, Want: []int{max(g.Rows, 1), h.Cols}})
	}
	return &LongConv{fwd: h, back: g}
}

// Dim returns the number of channels.
func (c *LongConv) Dim() int { return c.fwd.Cols }

// Taps returns the number of taps of the causal side.
func (c *LongConv) Taps() int { return c.fwd.Rows }

// Causal reports whether c has one side only.
func (c *LongConv) Causal() bool { return c.back.Rows == 0 }

// Params yields nothing: see [LongConv].
func (c *LongConv) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(func(string, *tensor.Tensor) bool) {}
}

const (
	convBlock = kernel.ConvBlock
	convStrip = 4 * convBlock // channels that are summed up at a time

	// directTaps is how many taps are summed up rather than transformed, and extraRows
	// how many positions beyond a power of two.
	directTaps = 40
	extraRows  = 24
	minConvLen = 64 // of a transform
)

// Mix convolves whole sequences.
func (c *LongConv) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.LongConv.Mix", dst, src, c.Dim())
	n, taps := src.Len, min(src.Len, c.Taps())
	whole := 1 << bits.Len(uint(n)) >> 1 // the largest power of two up to n
	switch {
	case n == 0 || src.Batch == 0 || src.Dim == 0:
	case !c.Causal():
		c.transform(dst, src, wholeSpectrum, false)
	case taps <= directTaps:
		c.sum(dst, src, 0)
	case n > whole && n-whole <= extraRows && whole >= minConvLen:
		// The last first, since they need all inputs and dst may be src.
		c.sum(dst, src, whole)
		c.transform(dst.Slice(0, whole), src.Slice(0, whole), wholeSpectrum, false)
	case saveLen(taps) <= whole:
		c.save(dst, src)
	default:
		c.transform(dst, src, wholeSpectrum, false)
	}
}

// Transpose is the adjoint of Mix: it computes
//
//	dst[i][c] = Σ_{t≥i} h[t-i][c] · src[t][c]
//
// and, if c has two sides, adds Σ_{t≤i} g[i-t][c] · src[t][c]. From the gradient of a
// loss with respect to the result of Mix it makes that with respect to the input. The
// rules for dst and src are those of Mix.
func (c *LongConv) Transpose(dst, src tensor.Seq) {
	tensor.CheckMix("nn.LongConv.Transpose", dst, src, c.Dim())
	switch {
	case src.Len == 0 || src.Batch == 0 || src.Dim == 0:
	case c.Causal() && min(src.Len, c.Taps()) <= directTaps:
		c.sumTransposed(dst, src)
	default:
		c.transform(dst, src, wholeSpectrum, true)
	}
}

// NewStream returns a stream at the beginning of batch sequences: see
// [LongConv.StreamUpTo].
func (c *LongConv) NewStream(batch int) (seqmix.Stream, error) {
	if !c.Causal() {
		return nil, fmt.Errorf("nn: a stream of a convolution with two sides: %w", errors.ErrUnsupported)
	}
	return c.StreamUpTo(batch, 0), nil
}

// A longConvLoop is one convolution of a batch of sequences.
type longConvLoop struct {
	conv     *LongConv
	mode     convMode
	dst, src tensor.Seq

	spectrum convSpectrum
	conj     bool
	first    int // position, of sum
}

type convMode uint8

const (
	transformMode convMode = iota
	saveMode
	sumMode
)

var longConvLoops = sync.Pool{New: func() any { return new(longConvLoop) }}

// run runs l on units of so many channels of each sequence, in parts of at least grain.
func (l longConvLoop) run(channels, grain int) {
	p := longConvLoops.Get().(*longConvLoop)
	*p = l
	par.Do((l.src.Dim+channels-1)/channels*l.src.Batch, grain, p)
	*p = longConvLoop{}
	longConvLoops.Put(p)
}

// transform convolves by one transform of the whole sequence.
func (c *LongConv) transform(dst, src tensor.Seq, kind spectrumKind, conj bool) {
	longConvLoop{conv: c, dst: dst, src: src, spectrum: c.spectrum(kind, src.Len), conj: conj}.run(convBlock, 1)
}

// save convolves piece by piece.
func (c *LongConv) save(dst, src tensor.Seq) {
	longConvLoop{conv: c, mode: saveMode, dst: dst, src: src, spectrum: c.spectrum(wholeSpectrum, saveLen(c.Taps()))}.run(convBlock, 1)
}

// saveLen returns the length of the pieces that sequences much longer than the filter
// are cut into. They overlap by the length of the filter.
func saveLen(taps int) int { return max(256, 4<<bits.Len(uint(taps-1))) }

// sumGrain is the number of multiplications from which it is worth splitting: some
// microseconds on one core.
const sumGrain = 1 << 16

// sum computes positions first and later by summing up.
func (c *LongConv) sum(dst, src tensor.Seq, first int) {
	products := (src.Len - first) * min(src.Len, c.Taps()) * convStrip
	longConvLoop{conv: c, mode: sumMode, dst: dst, src: src, first: first}.run(convStrip, sumGrain/products+1)
}

// Run computes units lo to hi-1. Those with the same channels follow each other, so that
// their filters stay in the cache.
func (l *longConvLoop) Run(lo, hi int) {
	if l.mode == sumMode {
		for i := lo; i < hi; i++ {
			l.sumStrip(i%l.src.Batch, i/l.src.Batch*convStrip)
		}
		return
	}
	s := tensor.GetScratch()
	size := l.spectrum.plan.ScratchLen()
	scratch, room := s.Take(size), s.Take(l.spectrum.room())
	piece := s.Take(l.spectrum.plan.Len() * convBlock)
	block := -1
	var spectrum []float32
	for i := lo; i < hi; i++ {
		if b := i / l.src.Batch; b != block {
			block, spectrum = b, l.spectrum.block(b, room)
		}
		u := l.unit(i%l.src.Batch, block, spectrum, scratch)
		if l.mode == transformMode {
			u.convolve(u.dst, l.dst.Dim, u.src, l.src.Len, l.conj)
		} else {
			u.save(piece, l.src.Len, l.conv.Taps())
		}
	}
	tensor.PutScratch(s)
}

// A convUnit is one sequence and one block of channels.
type convUnit struct {
	plan              *kernel.ConvPlan
	dst, src          []float32
	dim, width        int
	spectrum, scratch []float32
	causal            bool // whether results depend on inputs up to theirs only
}

func (l *longConvLoop) unit(b, block int, spectrum, scratch []float32) convUnit {
	at := block * convBlock
	return convUnit{
		plan: l.spectrum.plan, dim: l.src.Dim, width: min(convBlock, l.src.Dim-at),
		dst: l.dst.Data[b*l.dst.Stride+at:], src: l.src.Data[b*l.src.Stride+at:],
		spectrum: spectrum, scratch: scratch, causal: l.spectrum.causal(),
	}
}

// convolve convolves the first n positions of src.
func (u *convUnit) convolve(dst []float32, ldd int, src []float32, n int, conj bool) {
	switch {
	case conj:
		u.plan.Correlate(dst, ldd, src, u.dim, n, u.width, u.spectrum, u.scratch, 0, 1)
	case u.causal:
		u.plan.Convolve(dst, ldd, src, u.dim, n, u.width, u.spectrum, u.scratch, 0, 1)
	default:
		u.plan.ConvolveAll(dst, ldd, src, u.dim, n, u.width, u.spectrum, u.scratch, 0, 1)
	}
}

// save convolves pieces that overlap by taps-1 positions, of whose results the first as
// many are dropped: the inputs that they depend on are not all there. The last piece
// comes first, because dst may be src.
func (u *convUnit) save(piece []float32, n, taps int) {
	size := u.plan.Len()
	hop := size - (taps - 1)
	last := (max(n-size, 0) + hop - 1) / hop
	for i := last; i > 0; i-- {
		begin := i * hop
		u.convolve(piece, convBlock, u.src[begin*u.dim:], min(size, n-begin), false)
		for t := taps - 1; t < min(size, n-begin); t++ {
			copy(u.dst[(begin+t)*u.dim:][:u.width], piece[t*convBlock:])
		}
	}
	u.convolve(u.dst, u.dim, u.src, min(size, n), false)
}

// noTaps stands for a sum that begins at zero.
var noTaps [convStrip]float32

// sumStrip sums up some channels of sequence b, the last position first.
func (l *longConvLoop) sumStrip(b, at int) {
	h, dim := l.conv.fwd, l.src.Dim
	width := min(convStrip, dim-at)
	src, dst := l.src.Data[b*l.src.Stride+at:], l.dst.Data[b*l.dst.Stride+at:]
	for t := l.src.Len - 1; t >= l.first; t-- {
		n := min(t+1, h.Rows)
		kernel.ConvRow(dst[t*dim:], noTaps[:], src[(t+1-n)*dim:], dim, h.Data[at:], h.Stride, n, width)
	}
}
