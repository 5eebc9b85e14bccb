package kernel

import (
	"fmt"
	"math"
	"math/bits"
)

//go:generate sh -c "cd _asm && go run ./fft -out ../fft_amd64.s -stubs ../fft_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group fft -out ../fft_arm64.s -stubs ../fft_stub_arm64.go"

// ConvBlock is the number of channels that a long convolution works on at a time.
const ConvBlock = 16

const (
	fftRow      = 2 * ConvBlock // a row of a transform: real parts, imaginary parts
	fftMinLen   = 64
	fftRadix    = 8    // of the first and the last pass of a transform
	fftNearRows = 256  // a transform of so many rows stays in the L1 cache
	fftCallRows = 4096 // rows for one call of a pass
)

// A ConvPlan convolves sequences with filters as long as they are, by Fourier
// transforms. It holds the factors for one length of transform and is read only, so
// that any number of goroutines can share it.
//
// To convolve without wrapping around, sequences are not padded to twice their
// length. They are weighted: with w = exp(iπ/2M), the cyclic convolution of length M
// of x[n]·wⁿ and h[n]·wⁿ is (y[n] + i·y[n+M])·wⁿ where y is the convolution without
// wrapping, because w^M = i. So its real part, unweighted, is the causal result.
// (This is the right-angle convolution of Crandall and Fagin, "Discrete weighted
// transforms and large-integer arithmetic", 1994.)
//
// The channels of a block lie side by side, so that all of them are transformed
// together and nothing is ever shuffled. The frequencies are left in the order in
// which the transform produces them.
type ConvPlan struct {
	n      int       // the length of the transforms
	passes []fftPass // of a forward transform, in order
}

// An fftPass is one pass of a transform. Forward, it takes the rows j, j+stride,
// j+2·stride … of a block together, transforms them, and multiplies each by a factor.
type fftPass struct {
	radix   int
	stride  int
	factors []float32 // pairs: for each j, those of rows 1 to radix-1, in the first pass of all
}

// NewConvPlan returns a plan for sequences of up to length positions. It takes about
// 10 bytes a position. It panics if length is below 1.
func NewConvPlan(length int) *ConvPlan {
	if length < 1 {
		panic(fmt.Sprintf("kernel: a convolution of length %d", length))
	}
	p := &ConvPlan{n: fftMinLen}
	if length > p.n {
		p.n = 1 << bits.Len(uint(length-1))
	}
	size := p.n
	for i, r := range fftRadices(p.n) {
		weight := 0.0
		if i == 0 {
			weight = 1
		}
		p.passes = append(p.passes, newFFTPass(r, size, weight))
		size /= r
	}
	return p
}

// fftRadices divides a transform of n rows into passes.
func fftRadices(n int) []int {
	radices := []int{fftRadix}
	for n /= fftRadix * fftRadix; n > 1; {
		r := 8
		switch n {
		case 2, 4:
			r = n
		case 16:
			r = 4
		}
		radices = append(radices, r)
		n /= r
	}
	return append(radices, fftRadix)
}

// newFFTPass returns the pass that begins the transform of size rows. If weight is 1,
// it is the first one and weights the rows as well.
func newFFTPass(radix, size int, weight float64) fftPass {
	p := fftPass{radix: radix, stride: size / radix}
	first := 1 - int(weight) // the factor of row 0 is 1 unless there is a weight
	p.factors = make([]float32, 0, 2*(radix-first)*p.stride)
	for j := range p.stride {
		for slot := first; slot < radix; slot++ {
			q := fftOrder(slot, radix)
			turn := weight*float64(j)/float64(4*size) - float64(j*q%size)/float64(size)
			sin, cos := math.Sincos(2 * math.Pi * turn)
			p.factors = append(p.factors, float32(cos), float32(sin))
		}
	}
	return p
}

// fftOrder returns which frequency a transform of radix rows leaves in row slot.
func fftOrder(slot, radix int) int {
	return int(bits.Reverse8(uint8(slot)) >> (8 - bits.Len(uint(radix-1))))
}

// Len returns the largest number of positions that p can convolve.
func (p *ConvPlan) Len() int { return p.n }

// SpectrumLen returns the number of elements of the spectra of channels filters.
func (p *ConvPlan) SpectrumLen(channels int) int {
	return (channels + ConvBlock - 1) / ConvBlock * p.ScratchLen()
}

// ScratchLen returns the number of elements that a convolution needs as scratch.
func (p *ConvPlan) ScratchLen() int { return p.n * fftRow }

// Spectrum transforms blocks lo to hi-1 of 16 channels of the filters h, which has n
// rows of channels elements with distance ldh, for [ConvPlan.Convolve] and
// [ConvPlan.Correlate].
//
// dst, of SpectrumLen elements, has for each block Len rows of 16 real and 16
// imaginary parts: row k holds the frequency whose number is k with its bits
// reversed, divided by Len.
func (p *ConvPlan) Spectrum(dst, h []float32, ldh, n, channels, lo, hi int) {
	p.check("spectrum", len(dst), p.SpectrumLen(channels), len(h), ldh, n, channels, lo, hi)
	for b := lo; b < hi; b++ {
		buf := dst[b*p.ScratchLen() : (b+1)*p.ScratchLen()]
		p.first(buf, h, ldh, n, channels, b)
		p.middle(buf, nil, false)
		Scale(buf, 1/float32(p.n), buf)
	}
}

// Convolve computes, for the channels of blocks lo to hi-1,
//
//	dst[t][c] = Σ_{i≤t} h[t-i][c] · src[i][c]    t < n
//
// where spectrum is that of h. dst and src have n rows of channels elements with
// distances ldd and lds; dst may be src, with the same distance, and else overlaps
// nothing. scratch holds at least ScratchLen elements; calls at the same time need one
// each. The error is that of a transform: about 1e-6 of the largest element of the
// channel's result, and a result depends, in rounding, on later inputs too. An input that
// is not finite makes NaN of the results from its position on, of its channel, and of no
// others.
//
// It panics if a slice is too short or n above Len.
func (p *ConvPlan) Convolve(dst []float32, ldd int, src []float32, lds, n, channels int, spectrum, scratch []float32, lo, hi int) {
	p.convolve(dst, ldd, src, lds, n, channels, spectrum, scratch, lo, hi, causalProduct)
}

// ConvolveAll is Convolve for a spectrum by which results depend on later inputs, too. One
// that is not finite makes NaN of all results of its channel.
func (p *ConvPlan) ConvolveAll(dst []float32, ldd int, src []float32, lds, n, channels int, spectrum, scratch []float32, lo, hi int) {
	p.convolve(dst, ldd, src, lds, n, channels, spectrum, scratch, lo, hi, allProduct)
}

// Correlate is the adjoint of Convolve, with the same arguments:
//
//	dst[t][c] = Σ_{t≤i<n} h[i-t][c] · src[i][c]    t < n
//
// With the gradient of a loss for src it gives, by the spectrum of the filter, the
// gradient for the input, and by that of the input the gradient for the filter.
func (p *ConvPlan) Correlate(dst []float32, ldd int, src []float32, lds, n, channels int, spectrum, scratch []float32, lo, hi int) {
	p.convolve(dst, ldd, src, lds, n, channels, spectrum, scratch, lo, hi, conjugateProduct)
}

// A convProduct says what is made of two transforms.
type convProduct uint8

const (
	causalProduct convProduct = iota
	allProduct
	conjugateProduct
)

func (p *ConvPlan) convolve(dst []float32, ldd int, src []float32, lds, n, channels int, spectrum, scratch []float32, lo, hi int, kind convProduct) {
	p.check("convolution", len(spectrum), p.SpectrumLen(channels), len(src), lds, n, channels, lo, hi)
	p.check("convolution", len(scratch), p.ScratchLen(), len(dst), ldd, n, channels, lo, hi)
	size := p.ScratchLen()
	buf := scratch[:size]
	for b := lo; b < hi; b++ {
		p.first(buf, src, lds, n, channels, b)
		p.middle(buf, spectrum[b*size:(b+1)*size], kind == conjugateProduct)
		if kind == causalProduct && !allFinite(buf[:fftRow]) && p.convolveFinite(dst, ldd, src, lds, n, channels, spectrum, buf, b) {
			continue
		}
		p.last(dst, ldd, buf, n, channels, b)
	}
}

// convolveFinite computes block b if there are inputs in it that are not finite, which
// show in every row of what they are transformed to. It transforms the inputs before them,
// and reports whether there are any.
func (p *ConvPlan) convolveFinite(dst []float32, ldd int, src []float32, lds, n, channels int, spectrum, buf []float32, b int) bool {
	at := b * ConvBlock
	width := min(channels-at, ConvBlock)
	before := make([]float32, n*width)
	var end [ConvBlock]int // of the finite inputs of each channel
	found := false
	for c := range width {
		for end[c] < n && isFinite(src[end[c]*lds+at+c]) {
			before[end[c]*width+c] = src[end[c]*lds+at+c]
			end[c]++
		}
		found = found || end[c] < n
	}
	if !found {
		return false
	}
	p.first(buf, before, width, n, width, 0)
	p.middle(buf, spectrum[b*len(buf):(b+1)*len(buf)], false)
	p.last(dst[at:], ldd, buf, n, width, 0)
	for c := range width {
		for t := end[c]; t < n; t++ {
			dst[t*ldd+at+c] = float32(math.NaN())
		}
	}
	return true
}

func (p *ConvPlan) check(what string, size, wantSize, elems, ld, n, channels, lo, hi int) {
	if n < 0 || n > p.n || channels < 0 || lo < 0 || hi < lo || hi > (channels+ConvBlock-1)/ConvBlock {
		panic(fmt.Sprintf("kernel: %s of %d positions, at most %d, and blocks %d to %d of %d channels", what, n, p.n, lo, hi, channels))
	}
	if size < wantSize || n > 0 && (ld < 0 || elems < (n-1)*ld+channels) {
		panic(fmt.Sprintf("kernel: %s of %d positions of %d channels: %d elements with distance %d, and %d elements for spectrum or scratch, want %d", what, n, channels, elems, ld, size, wantSize))
	}
}

// fftSamples are eight rows of 16 real samples that the first or the last pass takes
// together, and the distance of each to the one that takes its place in the next turn.
type fftSamples struct {
	rows [fftRadix][]float32
	ld   [fftRadix]int
}

// first makes buf what the first pass leaves of block b of the rows in src.
func (p *ConvPlan) first(buf, src []float32, lds, n, channels, b int) {
	src = src[min(b*ConvBlock, len(src)):]
	width := min(channels-b*ConvBlock, ConvBlock)
	if width < ConvBlock {
		p.gather(buf, src, lds, n, width)
	}
	pass := &p.passes[0]
	var x fftSamples
	for j := 0; j < pass.stride; {
		count := p.turns(j, n)
		for q := range x.rows {
			t := j + q*pass.stride
			switch {
			case width < ConvBlock:
				x.rows[q], x.ld[q] = buf[p.gathered(t):], fftRow
			case t < n:
				x.rows[q], x.ld[q] = src[t*lds:], lds
			default:
				x.rows[q], x.ld[q] = fftSilence[:], 0
			}
		}
		fftFirst(buf[j*fftRow:], &x, pass.factors[j*2*fftRadix:], pass.stride, count)
		j += count
	}
}

// fftSilence stands for samples after the last.
var fftSilence [ConvBlock]float32

// turns returns how many turns of the first or the last pass can be made in one call
// from turn j on: while the samples are the same ones of those before and after n.
func (p *ConvPlan) turns(j, n int) int {
	s := p.passes[0].stride
	end := min(j+fftCallRows/fftRadix, s)
	if change := n % s; j < change && n < p.n {
		end = min(end, change)
	}
	return end - j
}

// gather copies samples of a block that is not whole to buf, with zeros after them.
func (p *ConvPlan) gather(buf, src []float32, lds, n, width int) {
	clear(buf[p.n/2*fftRow:])
	for t := range n {
		copy(buf[p.gathered(t):], src[t*lds:t*lds+width])
	}
}

// gathered returns where gather puts sample t. They lie in the upper half of the
// rows, those of the first half of the sequence as imaginary parts, the others as real
// parts, because the first pass writes the lower half before it has read all it needs.
func (p *ConvPlan) gathered(t int) int {
	if t < p.n/2 {
		return (t+p.n/2)*fftRow + ConvBlock
	}
	return t * fftRow
}

// last computes block b of the rows in dst from what is left after all other passes.
func (p *ConvPlan) last(dst []float32, ldd int, buf []float32, n, channels, b int) {
	dst = dst[min(b*ConvBlock, len(dst)):]
	width := min(channels-b*ConvBlock, ConvBlock)
	pass := &p.passes[0]
	var y fftSamples
	var unused [ConvBlock]float32
	for j := 0; j < pass.stride; {
		count := p.turns(j, n)
		for q := range y.rows {
			t := j + q*pass.stride
			switch {
			case width < ConvBlock:
				y.rows[q], y.ld[q] = buf[t*fftRow:], fftRow
			case t < n:
				y.rows[q], y.ld[q] = dst[t*ldd:], ldd
			default:
				y.rows[q], y.ld[q] = unused[:], 0
			}
		}
		fftLast(&y, buf[j*fftRow:], pass.factors[j*2*fftRadix:], pass.stride, count)
		j += count
	}
	if width < ConvBlock {
		for t := range n {
			copy(dst[t*ldd:t*ldd+width], buf[t*fftRow:])
		}
	}
}

// middle transforms buf to the end, multiplies it by spectrum or its conjugate, and
// transforms it back up to the last pass. If spectrum is nil it only does the first.
func (p *ConvPlan) middle(buf, spectrum []float32, conj bool) {
	size := len(buf) / fftRadix
	for i := range fftRadix {
		p.descend(buf[i*size:(i+1)*size], fftPart(spectrum, i, size), 1, conj)
	}
}

func fftPart(spectrum []float32, i, size int) []float32 {
	if spectrum == nil {
		return nil
	}
	return spectrum[i*size : (i+1)*size]
}

// descend does what middle does for one block of the given pass. It finishes each
// part of the block before the next, so that parts stay in the caches.
func (p *ConvPlan) descend(buf, spectrum []float32, level int, conj bool) {
	if level == len(p.passes)-1 || len(buf) <= fftNearRows*fftRow {
		p.near(buf, spectrum, level, conj)
		return
	}
	pass := &p.passes[level]
	size := len(buf) / pass.radix
	for j := 0; j < pass.stride; j += fftCallRows / fftRadix {
		fftForward(pass.radix, buf[j*fftRow:], pass.rowFactors(j), pass.stride, min(fftCallRows/fftRadix, pass.stride-j), 1)
	}
	for i := range pass.radix {
		p.descend(buf[i*size:(i+1)*size], fftPart(spectrum, i, size), level+1, conj)
	}
	if spectrum == nil {
		return
	}
	for j := 0; j < pass.stride; j += fftCallRows / fftRadix {
		fftInverse(pass.radix, buf[j*fftRow:], pass.rowFactors(j), pass.stride, min(fftCallRows/fftRadix, pass.stride-j), 1)
	}
}

// rowFactors returns the factors of rows j on, in any pass but the first.
func (p *fftPass) rowFactors(j int) []float32 { return p.factors[j*2*(p.radix-1):] }

// near is descend for a block that stays in the nearest cache: it takes all of it
// through one pass after the other.
func (p *ConvPlan) near(buf, spectrum []float32, level int, conj bool) {
	last := len(p.passes) - 1
	blocks := 1
	for i := level; i < last; i++ {
		pass := &p.passes[i]
		fftForward(pass.radix, buf, pass.factors, pass.stride, pass.stride, blocks)
		blocks *= pass.radix
	}
	if spectrum == nil {
		fftForward(fftRadix, buf, p.passes[last].factors, 1, 1, blocks)
		return
	}
	fftProduct(buf, spectrum, blocks, conj)
	for i := last - 1; i >= level; i-- {
		pass := &p.passes[i]
		blocks /= pass.radix
		fftInverse(pass.radix, buf, pass.factors, pass.stride, pass.stride, blocks)
	}
}
