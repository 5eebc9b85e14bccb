package kernel

import (
	"math"
	"slices"
)

// ScanSegment is how many positions a gradient goes back at a time. The states within
// a segment are computed again from the one at its beginning.
const ScanSegment = 32

// ScanGrad holds the arguments of [SelectiveScanGrad]: those of the scan, of which Y
// is not used and State, before the first position, only read; and gradients, which
// lie as what they belong to.
//
// Starts is what the scan stored, and makes the gradient fast, if there are no resets
// and no gate, and B and C depend on the position. Without it states are computed once
// more, and one channel after the other.
type ScanGrad struct {
	Scan

	// DY is the gradient for the result.
	DY   []float32
	LdDY int

	// DU, DDelta and DZ are written. One of them may be DY, with the same distance
	// between rows. DZ may be nil, and is not used if there is no gate.
	DU       []float32
	LdDU     int
	DDelta   []float32
	LdDDelta int
	DZ       []float32
	LdDZ     int

	// DA, DB, DC and DD are added to, if they are not nil. DA is the gradient for A
	// itself, not for the packed rates, in channel blocks.
	DA   []float32
	DB   []float32
	LdDB int
	DC   []float32
	LdDC int
	DD   []float32

	// DState holds the gradient for the state after the last position, and afterwards
	// that for the state before the first. If it is nil, the former is zero.
	DState []float32

	// Scratch has at least ScanGradScratchLen elements.
	Scratch []float32
}

// ScanGradScratchLen returns the number of elements that the gradient of a scan over l
// positions with n states, for so many blocks of channels, needs as scratch.
func ScanGradScratchLen(l, n, blocks int) int {
	channel := ((l+ScanSegment-1)/ScanSegment + 2*ScanSegment + 3) * n
	return max(channel, (blocks+1)*ScanBlock*n+scanTraceLen(n)+2*ScanSegment*n)
}

// SelectiveScanGrad computes the gradients of [SelectiveScan] for the channels of
// blocks lo to hi-1. With dy for the gradient in front of the gate and a[t] for the
// exponentials, it goes back through time by
//
//	g[t][e][n]  = C[t][n]·dy[t][e] + a[t+1][e][n]·g[t+1][e][n]
//	du[t][e]    = D[e]·dy[t][e] + Δ[t][e]·Σ_n g[t][e][n]·B[t][n]
//	dΔ[t][e]    = u[t][e]·Σ_n g[t][e][n]·B[t][n] + Σ_n g[t][e][n]·A[e][n]·a[t][e][n]·h[t-1][e][n]
//	dA[e][n]    = Σ_t g[t][e][n]·Δ[t][e]·a[t][e][n]·h[t-1][e][n]
//	dB[t][n]    = Σ_e g[t][e][n]·Δ[t][e]·u[t][e]
//	dC[t][n]    = Σ_e dy[t][e]·h[t][e][n]
//	dD[e]       = Σ_t dy[t][e]·u[t][e]
//
// The gradients of B and C add up over channels: calls at the same time for different
// blocks need those of their own. It panics if a slice is too short.
func SelectiveScanGrad(g *ScanGrad, lo, hi int) {
	g.check(lo, hi)
	if g.inBlocks() {
		g.blocks(lo, hi)
		return
	}
	for e := lo * ScanBlock; e < min(hi*ScanBlock, g.E); e++ {
		g.channel(e)
	}
}

func (g *ScanGrad) check(lo, hi int) {
	g.checkInput(lo, hi)
	groups := max(g.Groups, 1)
	checkScanRows("DY", len(g.DY), g.LdDY, g.L, g.E)
	checkScanRows("DU", len(g.DU), g.LdDU, g.L, g.E)
	checkScanRows("DDelta", len(g.DDelta), g.LdDDelta, g.L, g.E)
	if g.Z != nil && g.DZ != nil {
		checkScanRows("DZ", len(g.DZ), g.LdDZ, g.L, g.E)
	}
	n := ScanLen(g.E, g.N)
	for _, x := range []struct {
		name   string
		grad   []float32
		blocks bool
		ld     int
	}{{"DA", g.DA, true, 0}, {"DState", g.DState, true, 0}, {"DB", g.DB, g.BConst, g.LdDB}, {"DC", g.DC, g.CConst, g.LdDC}} {
		switch {
		case x.grad == nil:
		case x.blocks:
			checkScanLen(x.name, len(x.grad), n)
		default:
			checkScanRows(x.name, len(x.grad), x.ld, g.L, groups*g.N)
		}
	}
	if g.DD != nil {
		checkScanLen("DD", len(g.DD), g.E)
	}
	checkScanLen("Scratch", len(g.Scratch), ScanGradScratchLen(g.L, g.N, hi-lo))
}

// scanChannel is the scan of one channel on its way back.
type scanChannel struct {
	*ScanGrad
	e, group int

	rate   []float32 // of each state, times log₂(e)
	grad   []float32 // for each state after the position
	decay  []float32 // a for each position of the segment and each state
	states []float32 // h before each position of the segment and after the last

	dd float64
}

func (g *ScanGrad) channel(e int) {
	c := scanChannel{ScanGrad: g, e: e, group: e / (g.E / max(g.Groups, 1))}
	rest := g.Scratch
	take := func(n int) []float32 {
		x := rest[:n*g.N]
		rest = rest[n*g.N:]
		return x
	}
	c.rate, c.grad, c.decay, c.states = take(1), take(1), take(ScanSegment), take(ScanSegment+1)
	starts := take((g.L + ScanSegment - 1) / ScanSegment)
	h := c.states[:g.N]
	for n := range g.N {
		at := scanAt(e, n, g.N)
		c.rate[n], h[n], c.grad[n] = g.A[at], g.State[at], 0
		if g.DState != nil {
			c.grad[n] = g.DState[at]
		}
	}
	for t := 0; t < g.L; t += ScanSegment {
		copy(starts[t/ScanSegment*g.N:], h)
		end := min(t+ScanSegment, g.L)
		c.forward(t, end)
		copy(h, c.states[(end-t)*g.N:])
	}
	for t := (g.L - 1) / ScanSegment * ScanSegment; t >= 0; t -= ScanSegment {
		copy(h, starts[t/ScanSegment*g.N:(t/ScanSegment+1)*g.N])
		end := min(t+ScanSegment, g.L)
		c.forward(t, end)
		for p := end - 1; p >= t; p-- {
			c.back(p, p-t)
		}
	}
	if g.DState != nil {
		for n, v := range c.grad {
			g.DState[scanAt(e, n, g.N)] = v
		}
	}
	if g.DD != nil {
		g.DD[e] += float32(c.dd)
	}
}

// forward computes decay and states of the segment of positions from to end-1. Where
// the state is reset nothing of it remains: decay is 0.
func (c *scanChannel) forward(from, end int) {
	for t := from; t < end; t++ {
		i := (t - from) * c.N
		h, next, decay := c.states[i:i+c.N], c.states[i+c.N:i+2*c.N], c.decay[i:i+c.N]
		delta := c.Delta[t*c.LdDelta+c.e]
		in := delta * c.U[t*c.LdU+c.e]
		b, step := c.factor(c.B, c.LdB, c.BConst, t)
		if c.resetAt(t) {
			for n := range next {
				decay[n], next[n] = 0, in*b[n*step]
			}
			continue
		}
		for n := range next {
			decay[n] = exp2Generic(delta * c.rate[n])
			next[n] = decay[n]*h[n] + in*b[n*step]
		}
	}
}

func (c *scanChannel) resetAt(t int) bool {
	_, found := slices.BinarySearch(c.Resets, t)
	return found
}

// factor returns the elements of B or C, or of their gradients, at position t, and
// the distance between those of neighbouring states.
func (c *scanChannel) factor(x []float32, ld int, constant bool, t int) (elems []float32, step int) {
	if constant {
		return x[scanAt(c.e, 0, c.N):], ScanBlock
	}
	return x[t*ld+c.group*c.N:], 1
}

// back takes the gradient from behind position t, the i-th of its segment, to before
// it.
func (c *scanChannel) back(t, i int) {
	before, after := c.states[i*c.N:(i+1)*c.N], c.states[(i+1)*c.N:(i+2)*c.N]
	decay := c.decay[i*c.N : (i+1)*c.N]
	u, delta, dy := c.U[t*c.LdU+c.e], c.Delta[t*c.LdDelta+c.e], c.DY[t*c.LdDY+c.e]
	var skip float32
	if c.D != nil {
		skip = c.D[c.e]
	}
	b, bStep := c.factor(c.B, c.LdB, c.BConst, t)
	cc, cStep := c.factor(c.C, c.LdC, c.CConst, t)
	if c.Z != nil {
		y := skip * u
		for n, h := range after {
			y += cc[n*cStep] * h
		}
		dy = c.gate(t, y, dy)
	}
	if c.DC != nil {
		dc, step := c.factor(c.DC, c.LdDC, c.CConst, t)
		for n, h := range after {
			dc[n*step] += dy * h
		}
	}
	for n := range c.grad {
		c.grad[n] += cc[n*cStep] * dy
	}
	if c.DB != nil {
		db, step := c.factor(c.DB, c.LdDB, c.BConst, t)
		for n, g := range c.grad {
			db[n*step] += g * (delta * u)
		}
	}
	var in, rate float32
	reset := c.resetAt(t)
	for n, g := range c.grad {
		ga := g * (decay[n] * before[n])
		if reset {
			ga = 0 // even if the state before was not finite
		}
		in += g * b[n*bStep]
		rate += ga * c.rate[n]
		if c.DA != nil {
			c.DA[scanAt(c.e, n, c.N)] += ga * delta
		}
		c.grad[n] = g * decay[n]
	}
	c.DU[t*c.LdDU+c.e] = skip*dy + delta*in
	c.DDelta[t*c.LdDDelta+c.e] = u*in + math.Ln2*rate
	c.dd += float64(dy * u)
}

// gate returns the gradient in front of the gate for the one behind it, dy, and
// stores that of the gate. y is the result in front of the gate.
func (c *scanChannel) gate(t int, y, dy float32) float32 {
	z := float64(c.Z[t*c.LdZ+c.e])
	s := 1 / (1 + math.Exp(-z))
	if c.DZ != nil {
		c.DZ[t*c.LdDZ+c.e] = float32(float64(dy) * float64(y) * s * (1 + z*(1-s)))
	}
	return float32(float64(dy) * z * s)
}
