package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A rotaryBlock takes sequences first, first+1 … of the heads of a Mamba-3 through a
// block of positions. Row i·length+t of the matrices is position t of sequence first+i.
type rotaryBlock struct {
	*rotaryStates
	first, sequences, length int
	starts                   [][]int // for each sequence, positions at which others begin; nil for none

	x, out tensor.Mat // heads·p wide; out may be x
	open   tensor.Mat // receives what comes before the gates, rank·heads·p wide, unless it has no rows
	b, c   tensor.Mat // normalised, rank·keyGroups·n wide
	angles tensor.Mat // times a step, what a position adds to the angles: those of all heads, or of each
	rotarySteps
	rotaryWeights
}

// rotarySteps say how the steps and decays are computed.
type rotarySteps struct {
	delta     tensor.Mat // heads wide: the step, before bias and softplus if there is a bias
	deltaBias []float32
	rate      tensor.Mat // heads wide: of the rate A, if there is a bias, else A·Δ itself
	floor     float64
	act       RateActivation
	trap      tensor.Mat // heads wide: λ before its sigmoid
}

// rotaryWeights are the parameters of heads.
type rotaryWeights struct {
	bBias, cBias        []float32     // (heads, rank, n)
	d                   []float32     // heads, or nil
	mimoX, mimoZ, mimoO []float32     // (heads, rank, p), or nil if there are no ranks
	z                   tensor.Mat    // the gate, heads·p wide; no rows for none
	norm                *GatedRMSNorm // of heads, before the gate, or nil
}

// rotaryGrain is the number of states from which it is worth splitting.
const rotaryGrain = 1 << 16

// run computes the block.
func (k *rotaryBlock) run() {
	work := k.length * k.rank * k.p * k.n
	par.Do(k.sequences*k.heads, rotaryGrain/work+1, (*rotaryHeads)(k))
}

// rotaryHeads is a block, head by head.
type rotaryHeads rotaryBlock

// Run computes heads lo to hi-1, those of the first sequence first.
func (p *rotaryHeads) Run(lo, hi int) {
	k := (*rotaryBlock)(p)
	scratch := tensor.GetScratch()
	h := newRotaryHead(k, scratch)
	for i := lo; i < hi; i++ {
		h.run(i/k.heads, i%k.heads)
	}
	tensor.PutScratch(scratch)
}

// rotaryKeys is how many keys of a head are computed at a time: of so many positions,
// times the rank.
const rotaryKeys = 64

// A rotaryHead takes one head through the positions of a block, a few at a time. Its
// buffers have room for them; those of keys and values begin with the last position
// before.
type rotaryHead struct {
	*rotaryBlock
	sequence, head int
	width          int // p, rounded up to whole blocks of channels

	step, rates, lambda    []float32 // see readSteps
	gain, scale, own, fold []float32 // see weigh
	cos, sin               []float32
	keys, queries, packed  []float32
	values                 []float32 // (positions+1, p)
	ranked                 []float32 // (positions+1, rank, p): values times mimoX
	v, y                   []float32 // (positions, rank, width)
	gate, keep, dots       []float32
	positions              int // room
}

// table returns the number of elements of a table of rotation.
func (s *rotaryStates) table() int {
	if s.halves {
		return s.n / 2
	}
	return 2 * s.turning
}

func newRotaryHead(k *rotaryBlock, s *tensor.Scratch) rotaryHead {
	return rotaryHeadFor(k, max(1, min(k.length, rotaryKeys/k.rank)), s)
}

// rotaryHeadFor returns one with room for t positions at a time.
func rotaryHeadFor(k *rotaryBlock, t int, s *tensor.Scratch) rotaryHead {
	width := (k.p + kernel.ScanBlock - 1) / kernel.ScanBlock * kernel.ScanBlock
	h := rotaryHead{
		rotaryBlock: k, width: width, positions: t,
		step: s.Take(t), rates: s.Take(t), lambda: s.Take(t),
		gain: s.Take(t), scale: s.Take(t), own: s.Take(t), fold: s.Take(t),
		cos: s.Take(t * k.table()), sin: s.Take(t * k.table()),
		keys: s.Take((t + 1) * k.rank * k.n), queries: s.Take(t * k.rank * k.n), packed: s.Take(kernel.KeysLen(t*k.rank, k.n)),
		values: s.Take((t + 1) * k.p), v: s.Take(t * k.rank * width), y: s.Take(t * k.rank * width),
		gate: s.Take(k.p), keep: s.Take(width), dots: s.Take(2 * k.rank),
	}
	h.ranked = h.values
	if k.mimoX != nil {
		h.ranked = s.Take((t + 1) * k.rank * k.p)
	}
	clear(h.v) // the channels beyond p stay zero
	return h
}

// run takes a head through the block.
func (h *rotaryHead) run(sequence, head int) {
	h.sequence, h.head = sequence, head
	var starts []int
	if h.starts != nil {
		starts = h.starts[sequence]
	}
	for t := 0; t < h.length; {
		if len(starts) > 0 && starts[0] == t {
			h.begin()
			starts = starts[1:]
		}
		end := min(t+h.positions, h.length)
		if len(starts) > 0 {
			end = min(end, starts[0])
		}
		h.piece(t, end)
		t = end
	}
}

// index returns the number of the head among those of all sequences of the stream.
func (h *rotaryHead) index() int { return (h.first+h.sequence)*h.heads + h.head }

// last returns what the stream keeps of the last position: keys and values.
func (h *rotaryHead) last() (keys, values []float32) {
	i := h.index()
	return h.rotaryStates.keys[i*h.rank*h.n : (i+1)*h.rank*h.n], h.rotaryStates.values[i*h.p : (i+1)*h.p]
}

// angleState returns the angles of the head.
func (h *rotaryHead) angleState() []float64 {
	i := h.index()
	return h.rotaryStates.theta[i*h.turning : (i+1)*h.turning]
}

// begin makes the state that of the beginning of a sequence.
func (h *rotaryHead) begin() {
	keys, values := h.last()
	clear(keys)
	clear(values)
	clear(h.angleState())
	clear(h.group(h.first+h.sequence, h.head))
	h.decays[h.index()], h.pending[h.index()] = 1, 0
}

// piece computes positions t to end-1.
func (h *rotaryHead) piece(t, end int) {
	n := end - t
	h.weigh(t, n)
	h.rotate(t, n)
	keys, values := h.last()
	copy(h.keys, keys)
	copy(h.values, values)
	h.loadValues(t, n)
	for i := range n {
		h.loadKeys(t, i)
	}
	kernel.PackKeysQueries(h.packed, h.keys, h.n, h.queries, h.n, 0, n*h.rank, n*h.rank, h.n)
	h.scan(n)
	for i := range n {
		h.finish(t, i)
	}
	copy(keys, h.keys[n*h.rank*h.n:])
	copy(values, h.values[n*h.p:])
}

// weigh computes, for positions t to t+n-1, with steps Δ, λ, decays a = exp(Δ·A) and
// their product d,
//
//	gain  = (λ'Δ' + (1-λ)Δ)·a/d      of the position before, whose λ' and Δ' these are
//	scale = d                        of what is read from the state
//	own   = λΔ                       of the position itself
//
// so that (gain of the next)·scale is the weight that the trapezoidal rule gives.
func (h *rotaryHead) weigh(t, n int) {
	h.readSteps(t, n)
	pending, state := &h.pending[h.index()], &h.decays[h.index()]
	d := decay(*state)
	for i, delta := range h.step[:n] {
		x := float64(h.rates[i])
		if h.deltaBias != nil {
			x = min(-x, -h.floor) * float64(delta)
		}
		a, lambda := math.Exp(x), float64(h.lambda[i])
		weight := (float64(*pending) + (1-lambda)*float64(delta)) * a
		d, h.fold[i] = d.times(a)
		h.gain[i], h.scale[i], h.own[i] = float32(weight/float64(d)), float32(d), float32(lambda*float64(delta))
		*pending = h.own[i]
	}
	*state = float64(d)
}

// readSteps computes Δ, the positive rate or Δ·A, and λ of positions t to t+n-1.
func (h *rotaryHead) readSteps(t, n int) {
	row := h.sequence*h.length + t
	step, rates, lambda := h.step[:n], h.rates[:n], h.lambda[:n]
	for i := range n {
		step[i], rates[i], lambda[i] = h.delta.Row(row + i)[h.head], h.rate.Row(row + i)[h.head], h.trap.Row(row + i)[h.head]
	}
	kernel.Sigmoid(lambda, lambda)
	if h.deltaBias == nil {
		return
	}
	kernel.AddConst(step, step, h.deltaBias[h.head])
	kernel.Softplus(step, step)
	if h.act == SoftplusRate {
		kernel.Softplus(rates, rates)
	} else {
		HeavyTail(rates, rates)
	}
}

// rotate turns the angles on and makes tables of positions t to t+n-1 for
// kernel.RotatePairs or kernel.RotateHalves.
func (h *rotaryHead) rotate(t, n int) {
	theta, row := h.angleState(), h.sequence*h.length+t
	size := h.table()
	for i := range n {
		speeds := h.angles.Row(row + i)
		if len(speeds) > h.turning {
			speeds = speeds[h.head*h.turning:]
		}
		cos, sin := h.cos[i*size:(i+1)*size], h.sin[i*size:(i+1)*size]
		if h.halves {
			clear(cos[h.turning:])
			clear(sin[h.turning:])
		}
		for j := range theta {
			theta[j] = wrap(theta[j] + float64(speeds[j])*float64(h.step[i]))
			a := float32(theta[j])
			if h.halves {
				cos[j], sin[j] = a, a
			} else {
				cos[2*j], cos[2*j+1], sin[2*j], sin[2*j+1] = a, a, -a, a
			}
		}
	}
	kernel.Cos(h.cos[:n*size], h.cos[:n*size])
	kernel.Sin(h.sin[:n*size], h.sin[:n*size])
}

// loadValues copies the values of positions t to t+n-1 behind those of the last.
func (h *rotaryHead) loadValues(t, n int) {
	for i := range n {
		copy(h.values[(i+1)*h.p:(i+2)*h.p], h.x.Row(h.sequence*h.length + t + i)[h.head*h.p:])
	}
	if h.mimoX == nil {
		return
	}
	for i := range n + 1 {
		for r := range h.rank {
			at := (i*h.rank + r) * h.p
			kernel.Mul(h.ranked[at:at+h.p], h.values[i*h.p:(i+1)*h.p], h.of(h.mimoX, r))
		}
	}
}

// of returns what belongs to a rank of the head in weights of shape (heads, rank, p).
func (h *rotaryHead) of(w []float32, r int) []float32 {
	at := (h.head*h.rank + r) * h.p
	return w[at : at+h.p]
}

// loadKeys computes the keys and queries of position t+i.
func (h *rotaryHead) loadKeys(t, i int) {
	row := h.sequence*h.length + t + i
	size := h.rank * h.n
	keys, queries := h.keys[(i+1)*size:(i+2)*size], h.queries[i*size:(i+1)*size]
	g := h.head / (h.heads / h.keyGroups)
	b, c := h.b.Row(row), h.c.Row(row)
	for r := range h.rank {
		from, bias := (r*h.keyGroups+g)*h.n, (h.head*h.rank+r)*h.n
		kernel.Add(keys[r*h.n:(r+1)*h.n], b[from:from+h.n], h.bBias[bias:bias+h.n])
		kernel.Add(queries[r*h.n:(r+1)*h.n], c[from:from+h.n], h.cBias[bias:bias+h.n])
	}
	table := h.table()
	cos, sin := h.cos[i*table:(i+1)*table], h.sin[i*table:(i+1)*table]
	if h.halves {
		kernel.RotateHalves(keys, h.n, cos, sin)
		kernel.RotateHalves(queries, h.n, cos, sin)
	} else {
		kernel.RotatePairs(keys, h.n, cos, sin)
		kernel.RotatePairs(queries, h.n, cos, sin)
	}
}

// scan reads the state at n positions, after adding to it at each the position before.
// The ranks of a position come one after the other, like positions.
func (h *rotaryHead) scan(n int) {
	for i := range n * h.rank {
		kernel.Scale(h.v[i*h.width:i*h.width+h.p], h.gain[i/h.rank], h.ranked[i*h.p:(i+1)*h.p])
	}
	linear := kernel.Linear{
		N: h.n, Blocks: h.width / kernel.ScanBlock, LdY: h.width, LdV: h.width,
		Keys: h.packed, Room: n * h.rank, State: h.group(h.first+h.sequence, h.head), Keep: h.keep,
	}
	for i := 0; i < n; {
		end := i + 1
		for end < n && h.fold[end] == 1 {
			end++
		}
		for c := range h.keep {
			h.keep[c] = h.fold[i]
		}
		linear.First, linear.L = i*h.rank, (end-i)*h.rank
		linear.Y, linear.V = h.y[linear.First*h.width:], h.v[linear.First*h.width:]
		kernel.LinearAttention(&linear)
		i = end
	}
}

// finish computes the output of position t+i from what was read.
func (h *rotaryHead) finish(t, i int) {
	row := h.sequence*h.length + t + i
	out := h.out.Row(row)[h.head*h.p : (h.head+1)*h.p]
	var gate []float32
	if h.z.Rows > 0 {
		gate = h.z.Row(row)[h.head*h.p : (h.head+1)*h.p]
	}
	for r := range h.rank {
		y := h.y[(i*h.rank+r)*h.width:][:h.p]
		h.complete(y, i, r)
		if h.open.Rows > 0 {
			copy(h.open.Row(row)[(r*h.heads+h.head)*h.p:], y)
		}
		if h.mimoX == nil {
			h.gated(out, y, gate)
			return
		}
		if gate != nil {
			kernel.Mul(h.gate[:h.p], gate, h.of(h.mimoZ, r))
			h.gated(y, y, h.gate[:h.p])
		}
		if r == 0 {
			kernel.Mul(out, y, h.of(h.mimoO, r))
		} else {
			kernel.MulAdd(out, y, h.of(h.mimoO, r))
		}
	}
}

// complete adds to y, which rank r of position i has read, what the state did not have
// at that time: of the position before, the ranks that come later, and the position
// itself. Their keys lie one after the other.
func (h *rotaryHead) complete(y []float32, i, r int) {
	first := i*h.rank + r + 1
	dots := h.dots[:2*h.rank-r-1]
	kernel.RowDots(dots, h.keys[first*h.n:], h.n, h.queries[(i*h.rank+r)*h.n:][:h.n], len(dots), false)
	later := h.rank - r - 1
	for s, dot := range dots[:later] {
		kernel.Axpy(dot, h.v[(first+s)*h.width:][:h.p], y)
	}
	kernel.Scale(y, h.scale[i], y)
	for s, dot := range dots[later:] {
		weight := h.own[i] * dot
		if s == r && h.d != nil {
			weight += h.d[h.head]
		}
		at := (i+1)*h.rank + s
		kernel.Axpy(weight, h.ranked[at*h.p:(at+1)*h.p], y)
	}
}

// gated applies the norm and the gate, if there are any.
func (h *rotaryHead) gated(dst, y, gate []float32) {
	switch {
	case h.norm != nil && gate != nil:
		h.norm.group(dst, y, gate, h.head)
	case gate != nil:
		kernel.SiLUMul(dst, gate, y)
	default:
		copy(dst, y)
	}
}
