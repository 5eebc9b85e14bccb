package ssm

import (
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// An ssdBlock takes sequences first, first+1 … of some heads through a block of
// positions. Row i·length+t of the matrices is position t of sequence first+i.
type ssdBlock struct {
	*headStates
	first, sequences, length int
	starts                   [][]int   // for each sequence, positions at which others begin; nil for none
	initial                  []float32 // what they begin with, if not zero

	x    tensor.Mat // heads·p wide; becomes the result
	b, c tensor.Mat // groups·n wide
	ssdSteps
	skip ssdSkip

	// What is derived from these, for each sequence, head and position, and the keys
	// of each sequence and group.
	gains, scales, folds []float32
	keys                 []float32
}

// ssdSteps say how Δ and the decay are computed.
type ssdSteps struct {
	delta     tensor.Mat // heads wide
	deltaBias []float32  // may be nil
	softplus  bool
	limit     Limit
	rates     []float64 // A
}

// ssdSkip is D: how much of the input passes by the states. One of its fields is set,
// or none.
type ssdSkip struct{ head, channel []float32 }

// run computes the block.
func (k *ssdBlock) run(s *tensor.Scratch) {
	n := k.sequences * k.heads * k.length
	k.gains, k.scales, k.folds = s.Take(n), s.Take(n), s.Take(n)
	k.keys = s.Take(k.sequences * k.groups * kernel.KeysLen(k.length, k.n))
	par.Do(k.sequences*k.heads, decayGrain/k.length+1, (*ssdDecays)(k))
	par.Do(k.sequences*k.groups*k.pieces(), keyGrain/(keyPositions*k.n)+1, (*ssdKeys)(k))
	par.Do(k.sequences*k.groups*k.strips(), scanGrain/(k.length*ssdWidth)+1, (*ssdScan)(k))
}

// The number of elements from which it is worth splitting.
const (
	decayGrain = 1 << 9 // exponentials
	keyGrain   = 1 << 14
)

// row returns the row of a position.
func (k *ssdBlock) row(sequence, t int) int { return sequence*k.length + t }

// startsOf returns the positions at which sequences begin.
func (k *ssdBlock) startsOf(sequence int) []int {
	if k.starts == nil {
		return nil
	}
	return k.starts[sequence]
}

// ssdDecays computes, for each position of a head,
//
//	Δ = softplus(delta + bias), within limits
//	d = exp(Δ·A)·d             the decay
//
// and what an input has to be multiplied by on the way into a state that is itself
// still to be multiplied by d.
type ssdDecays ssdBlock

// Run computes heads lo to hi-1 of all sequences.
func (p *ssdDecays) Run(lo, hi int) {
	k := (*ssdBlock)(p)
	for i := lo; i < hi; i++ {
		sequence, h := i/k.heads, i%k.heads
		at := i * k.length
		gains, scales, folds := k.gains[at:at+k.length], k.scales[at:at+k.length], k.folds[at:at+k.length]
		k.steps(gains, sequence, h)
		starts := k.startsOf(sequence)
		state := &k.decays[(k.first+sequence)*k.heads+h]
		d := decay(*state)
		for t, delta := range gains {
			if len(starts) > 0 && starts[0] == t {
				d, starts = 1, starts[1:]
			}
			d, folds[t] = d.times(math.Exp(float64(delta) * k.rates[h]))
			gains[t], scales[t] = float32(float64(delta)/float64(d)), float32(d)
		}
		*state = float64(d)
	}
}

// steps writes Δ of a head to dst.
func (k *ssdBlock) steps(dst []float32, sequence, h int) {
	for t := range dst {
		dst[t] = k.delta.Data[k.row(sequence, t)*k.delta.Stride+h]
	}
	if k.deltaBias != nil {
		kernel.AddConst(dst, dst, k.deltaBias[h])
	}
	if k.softplus {
		kernel.Softplus(dst, dst)
	}
	k.limit.apply(dst)
}

// ssdKeys stores B and C in the order in which they are read.
type ssdKeys ssdBlock

// keyPositions is the number of positions that are stored at a time.
const keyPositions = 32

func (k *ssdBlock) pieces() int { return (k.length + keyPositions - 1) / keyPositions }

// keysOf returns the keys of a group of a sequence.
func (k *ssdBlock) keysOf(sequence, group int) []float32 {
	size := kernel.KeysLen(k.length, k.n)
	at := (sequence*k.groups + group) * size
	return k.keys[at : at+size]
}

// Run stores pieces lo to hi-1, those of the first group of the first sequence first.
func (p *ssdKeys) Run(lo, hi int) {
	k := (*ssdBlock)(p)
	for i := lo; i < hi; i++ {
		group, t := i/k.pieces(), i%k.pieces()*keyPositions
		sequence, g := group/k.groups, group%k.groups
		row := k.row(sequence, t)
		kernel.PackKeysQueries(k.keysOf(sequence, g), k.b.Data[row*k.b.Stride+g*k.n:], k.b.Stride,
			k.c.Data[row*k.c.Stride+g*k.n:], k.c.Stride, t, min(keyPositions, k.length-t), k.length, k.n)
	}
}

const (
	// ssdWidth is the number of channels that one core works on at a time.
	ssdWidth  = ssdBlocks * kernel.ScanBlock
	ssdBlocks = 4

	// ssdPositions is how many positions of them.
	ssdPositions = 64
)

// ssdBuffer is temporary memory for one core.
type ssdBuffer struct {
	v, y [ssdPositions * ssdWidth]float32
	keep [ssdWidth]float32
}

var ssdBuffers = sync.Pool{New: func() any { return new(ssdBuffer) }}

// strips returns the number of strips of a group.
func (k *ssdBlock) strips() int { return (k.channels() + ssdWidth - 1) / ssdWidth }

// ssdScan takes strips of channels of a group through the block.
type ssdScan ssdBlock

// Run computes strips lo to hi-1, those of the first group of the first sequence first.
func (p *ssdScan) Run(lo, hi int) {
	k := (*ssdBlock)(p)
	buf := ssdBuffers.Get().(*ssdBuffer)
	for i := lo; i < hi; i++ {
		group, strip := i/k.strips(), i%k.strips()
		s := ssdStrip{
			ssdBlock: k, sequence: group / k.groups, group: group % k.groups,
			from: strip * ssdWidth, to: min((strip+1)*ssdWidth, k.channels()), ssdBuffer: buf,
		}
		s.run()
	}
	ssdBuffers.Put(buf)
}

// An ssdStrip is some channels of a group, from and to being counted within it.
type ssdStrip struct {
	*ssdBlock
	*ssdBuffer
	sequence, group, from, to int
}

// run takes the strip through all positions. Between the places at which decays are
// moved into the state or sequences begin, it is linear attention to inputs that are
// divided by the decay, and multiplied by it afterwards.
func (s *ssdStrip) run() {
	width := (s.to - s.from + kernel.ScanBlock - 1) / kernel.ScanBlock * kernel.ScanBlock
	size := kernel.LinearLen(ssdWidth, s.n)
	at := s.from / ssdWidth * size
	state := s.headStates.group(s.first+s.sequence, s.group)[at : at+kernel.LinearLen(width, s.n)]
	linear := kernel.Linear{
		N: s.n, Blocks: width / kernel.ScanBlock, Y: s.y[:], LdY: width, V: s.v[:], LdV: width,
		Keys: s.keysOf(s.sequence, s.group), Room: s.length, State: state, Keep: s.keep[:],
	}
	for i := range s.keep[:width] {
		s.keep[i] = 1
	}
	starts := s.startsOf(s.sequence)
	for t := 0; t < s.length; {
		if len(starts) > 0 && starts[0] == t {
			s.begin(state, at)
			starts = starts[1:]
		}
		end := min(t+ssdPositions, s.length)
		if len(starts) > 0 {
			end = min(end, starts[0])
		}
		end = s.unfolded(t, end)
		s.prepare(t, end, width)
		linear.First, linear.L = t, end-t
		kernel.LinearAttention(&linear)
		s.finish(t, end, width)
		t = end
	}
}

// begin makes the state that of the beginning of a sequence.
func (s *ssdStrip) begin(state []float32, at int) {
	if s.initial == nil {
		clear(state)
		return
	}
	copy(state, s.initial[s.group*s.groupLen()+at:])
}

// A span is a range of the channels of a strip.
type span struct{ from, to int }

// eachHead yields the heads of the strip with the channels of it that are theirs.
func (s *ssdStrip) eachHead(yield func(head int, of span) bool) {
	first := s.group * s.heads / s.groups
	for c := s.from; c < s.to; {
		h := c / s.p
		end := min((h+1)*s.p, s.to)
		if !yield(first+h, span{c - s.from, end - s.from}) {
			return
		}
		c = end
	}
}

// series returns the part of gains, scales or folds that belongs to a head.
func (s *ssdStrip) series(v []float32, head int) []float32 {
	at := (s.sequence*s.heads + head) * s.length
	return v[at : at+s.length]
}

// unfolded returns the first position after t, and up to end, at which a decay is moved
// into the state.
func (s *ssdStrip) unfolded(t, end int) int {
	for h := range s.eachHead {
		folds := s.series(s.folds, h)
		for i := t + 1; i < end; i++ {
			if folds[i] != 1 {
				end = i
			}
		}
	}
	return end
}

// prepare writes the inputs of positions t to end-1 to v, and what is moved into the
// state at t to keep.
func (s *ssdStrip) prepare(t, end, width int) {
	channel := s.group*s.channels() + s.from
	for h, of := range s.eachHead {
		fold := s.series(s.folds, h)[t]
		for i := of.from; i < of.to; i++ {
			s.keep[i] = fold
		}
		for i, gain := range s.series(s.gains, h)[t:end] {
			x := s.x.Row(s.row(s.sequence, t+i))[channel:]
			kernel.Scale(s.v[i*width+of.from:i*width+of.to], gain, x[of.from:of.to])
		}
	}
	if n := s.to - s.from; n < width {
		for i := range end - t {
			clear(s.v[i*width+n : (i+1)*width])
		}
	}
}

// finish writes the outputs of positions t to end-1 over the inputs.
func (s *ssdStrip) finish(t, end, width int) {
	channel := s.group*s.channels() + s.from
	for h, of := range s.eachHead {
		for i, d := range s.series(s.scales, h)[t:end] {
			x := s.x.Row(s.row(s.sequence, t+i))[channel+of.from : channel+of.to]
			y := s.y[i*width+of.from : i*width+of.to]
			s.skip.add(x, y, d, h, channel+of.from)
		}
	}
}

// add computes x = d·y + D·x for channels of a head, the first of which is given. It
// overwrites y.
func (k *ssdSkip) add(x, y []float32, d float32, head, first int) {
	switch {
	case k.head != nil:
		kernel.Scale(y, d, y)
		kernel.AddScaled(x, y, k.head[head], x)
	case k.channel != nil:
		kernel.Mul(x, x, k.channel[first:first+len(x)])
		kernel.Axpy(d, y, x)
	default:
		kernel.Scale(x, d, y)
	}
}
