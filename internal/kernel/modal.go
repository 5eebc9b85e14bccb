package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./modal -out ../modal_amd64.s -stubs ../modal_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group modal -out ../modal_arm64.s -stubs ../modal_stub_arm64.go"

// ModalBlock is the number of channels that a modal filter works on at a time.
const ModalBlock = 16

// modalPositions is how many positions a block of channels is taken through before
// the next one: input and result of that many stay in the L1 cache.
const modalPositions = 64

// A ModalFilter holds, for each of some channels, a linear recurrence whose states do
// not depend on each other: a filter that is given by its poles and residues. With
// pairs of poles that stand for themselves and their conjugates and with real poles,
//
//	h[k] = λ[k]·h[k] + u                            complex for a pair, else real
//	y    = Σ Re(r[k]·h[k]) + Σ r[k]·h[k] + d·u
//
// at each position, the first sum being over pairs and the second over real poles. A
// filter is read only once its poles are set, so that any number of goroutines can
// share it.
//
// Poles are given by their distance λ-1 from one. Those of a slow filter are close to
// one, and what that distance is rounded to decides how long they remember.
type ModalFilter struct {
	channels, pairs, reals int

	// For each block of channels, four rows of 16 elements for each pair, Re(λ-1),
	// Im(λ-1), Re(r), -Im(r), and two for each real pole, λ-1, r.
	poles []float32
	d     []float32 // of each channel, and of those that pad the last block
}

// The rows of a pair and of a real pole, in the poles and in the state of a block.
const (
	modalPairRows, modalRealRows           = 4, 2
	modalPairStateRows, modalRealStateRows = 2, 1
)

// NewModalFilter returns a filter of so many channels with so many pairs of poles and
// so many real ones each. Poles that are not set have no effect. It panics if a number
// is negative.
func NewModalFilter(channels, pairs, reals int) *ModalFilter {
	if channels < 0 || pairs < 0 || reals < 0 {
		panic(fmt.Sprintf("kernel: a modal filter of %d channels, %d pairs and %d real poles", channels, pairs, reals))
	}
	f := &ModalFilter{channels: channels, pairs: pairs, reals: reals}
	f.poles = make([]float32, f.Blocks()*f.blockLen())
	f.d = make([]float32, f.Blocks()*ModalBlock)
	return f
}

// Blocks returns the number of blocks of 16 channels.
func (f *ModalFilter) Blocks() int { return (f.channels + ModalBlock - 1) / ModalBlock }

func (f *ModalFilter) blockLen() int {
	return (modalPairRows*f.pairs + modalRealRows*f.reals) * ModalBlock
}

// StateLen returns the number of elements of the state of one sequence.
func (f *ModalFilter) StateLen() int { return f.Blocks() * f.blockStateLen() }

func (f *ModalFilter) blockStateLen() int {
	return (modalPairStateRows*f.pairs + modalRealStateRows*f.reals) * ModalBlock
}

// SetSkip sets d of a channel.
func (f *ModalFilter) SetSkip(channel int, d float32) { f.d[channel] = d }

// SetPair sets pair k of a channel: λ-1 and the residue.
func (f *ModalFilter) SetPair(channel, k int, distance, residue complex128) {
	at := channel/ModalBlock*f.blockLen() + modalPairRows*k*ModalBlock + channel%ModalBlock
	for i, v := range [modalPairRows]float64{real(distance), imag(distance), real(residue), -imag(residue)} {
		f.poles[at+i*ModalBlock] = float32(v)
	}
}

// SetReal sets real pole k of a channel.
func (f *ModalFilter) SetReal(channel, k int, distance, residue float64) {
	at := channel/ModalBlock*f.blockLen() + (modalPairRows*f.pairs+modalRealRows*k)*ModalBlock + channel%ModalBlock
	f.poles[at], f.poles[at+ModalBlock] = float32(distance), float32(residue)
}

// PairAt returns where in a state the real and the imaginary part of h of pair k are.
func (f *ModalFilter) PairAt(channel, k int) (re, im int) {
	at := channel/ModalBlock*f.blockStateLen() + modalPairStateRows*k*ModalBlock + channel%ModalBlock
	return at, at + ModalBlock
}

// RealAt returns where in a state h of real pole k is.
func (f *ModalFilter) RealAt(channel, k int) int {
	return channel/ModalBlock*f.blockStateLen() + (modalPairStateRows*f.pairs+modalRealStateRows*k)*ModalBlock + channel%ModalBlock
}

// Filter takes the channels of blocks lo to hi-1 through n positions. dst and src have
// n rows, with an element for each channel and distances ldd and lds; dst may be src,
// with the same distance, and else overlaps nothing. state, of StateLen elements, holds
// h before the first position and, afterwards, after the last.
//
// The result does not depend on how a sequence is cut. It panics if a slice is too
// short.
func (f *ModalFilter) Filter(dst []float32, ldd int, src []float32, lds, n int, state []float32, lo, hi int) {
	checkFilter("result", f.channels, len(dst), ldd, n, lo, hi)
	checkFilter("input", f.channels, len(src), lds, n, lo, hi)
	if len(state) < f.StateLen() {
		panic(fmt.Sprintf("kernel: a modal filter with a state of %d elements, want %d", len(state), f.StateLen()))
	}
	var x modalTile
	for b := lo; b < hi; b++ {
		h := state[b*f.blockStateLen() : (b+1)*f.blockStateLen()]
		for t := 0; t < n; t += modalPositions {
			f.tile(&x, b, dst[t*ldd:], ldd, src[t*lds:], lds, min(modalPositions, n-t), h)
		}
	}
}

func checkFilter(what string, channels, got, ld, n, lo, hi int) {
	if n < 0 || lo < 0 || hi < lo || hi > (channels+ModalBlock-1)/ModalBlock {
		panic(fmt.Sprintf("kernel: a filter on %d positions and blocks %d to %d of %d channels", n, lo, hi, channels))
	}
	if n > 0 && hi > lo && (ld < 0 || got < (n-1)*ld+min(hi*ModalBlock, channels)) {
		panic(fmt.Sprintf("kernel: a filter: %s of %d elements, want %d rows of %d with distance %d", what, got, n, channels, ld))
	}
}

// A modalTile holds the input and the result of a block of channels, 16 to a row.
type modalTile struct {
	u, y [modalPositions * ModalBlock]float32
}

// tile takes block b through n positions, at most modalPositions and at least one.
func (f *ModalFilter) tile(x *modalTile, b int, dst []float32, ldd int, src []float32, lds, n int, h []float32) {
	c := b * ModalBlock
	width := min(ModalBlock, f.channels-c)
	modalBegin(n, width, x.y[:], x.u[:], src[c:], lds, f.d[c:])
	poles := f.poles[b*f.blockLen() : (b+1)*f.blockLen()]
	split, stateSplit := modalPairRows*f.pairs*ModalBlock, modalPairStateRows*f.pairs*ModalBlock
	if f.pairs > 0 {
		modalPairs(n, f.pairs, x.y[:], x.u[:], poles[:split], h[:stateSplit])
	}
	if f.reals > 0 {
		modalReals(n, f.reals, x.y[:], x.u[:], poles[split:], h[stateSplit:])
	}
	modalEnd(n, width, dst[c:], ldd, x.y[:])
}
