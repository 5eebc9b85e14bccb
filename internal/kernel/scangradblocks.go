package kernel

import "math"

// inBlocks reports whether the gradient can be computed for all channels of a block
// at once.
func (g *ScanGrad) inBlocks() bool {
	groups := max(g.Groups, 1)
	return g.Starts != nil && g.Z == nil && !g.BConst && !g.CConst && len(g.Resets) == 0 &&
		(groups == 1 || g.E/groups%ScanBlock == 0)
}

// A trace is what the way forth through a segment leaves for the way back: for each
// position and state four vectors of a block of channels, of which the first two are
//
//	exp(Δ[t]·A[n])    h[t][n]
//
// and the others what the channels add to the gradients of B[t][n] and C[t][n], summed
// up over blocks. In front of the first position there is another, for the state at
// the beginning of the segment.
const scanTrace = 4 * ScanBlock

func scanTraceLen(n int) int { return (ScanSegment + 1) * n * scanTrace }

// blocks computes the gradients of blocks lo to hi-1. It takes all of them through a
// segment before the one in front of it, so that what they add to the gradients of B
// and C is summed up within vectors, and over the lanes of these once for each segment.
func (g *ScanGrad) blocks(lo, hi int) {
	size := g.N * ScanBlock
	rest := g.Scratch
	take := func(n int) []float32 {
		x := rest[:n]
		rest = rest[n:]
		return x
	}
	if lo == hi {
		return
	}
	trace, sums, da := take(scanTraceLen(g.N)), take(2*ScanSegment*g.N), take(size)
	grad := take((hi - lo) * size)
	clear(trace)
	clear(grad)
	if g.DState != nil {
		copy(grad, g.DState[lo*size:hi*size])
	}
	for t := (g.L - 1) / ScanSegment * ScanSegment; t >= 0; t -= ScanSegment {
		end := min(t+ScanSegment, g.L)
		for block := lo; block < hi; block++ {
			group := g.groupOf(block)
			if block > lo && group > g.groupOf(block-1) {
				g.fold(t, end, group-1, trace, sums)
			}
			p := scanGradTile{
				l: end - t, n: g.N, a: g.A[block*size:], da: da,
				b: g.B[t*g.LdB+group*g.N:], ldb: g.LdB, c: g.C[t*g.LdC+group*g.N:], ldc: g.LdC,
				trace: trace, grad: grad[(block-lo)*size:],
			}
			if g.DA != nil {
				p.da = g.DA[block*size:]
			}
			copyStart(&p, g.Starts[t/ScanSegment*ScanLen(g.E, g.N)+block*size:])
			g.tile(&p, t, block*ScanBlock)
		}
		g.fold(t, end, g.groupOf(hi-1), trace, sums)
	}
	if g.DState != nil {
		copy(g.DState[lo*size:hi*size], grad)
	}
}

func (g *ScanGrad) groupOf(block int) int { return block * ScanBlock / (g.E / max(g.Groups, 1)) }

// copyStart puts the state at the beginning of a segment in front of the trace.
func copyStart(p *scanGradTile, state []float32) {
	for n := range p.n {
		copy(p.trace[n*scanTrace+ScanBlock:][:ScanBlock], state[n*ScanBlock:])
	}
}

// tile takes the block whose first channel is c through the segment at t and back.
func (g *ScanGrad) tile(p *scanGradTile, t, c int) {
	var d, dd [ScanBlock]float32
	width := min(ScanBlock, g.E-c)
	if g.D != nil {
		copy(d[:], g.D[c:c+width])
	}
	p.d, p.dd = d[:], dd[:]
	if width == ScanBlock {
		p.u, p.ldu = g.U[t*g.LdU+c:], g.LdU
		p.delta, p.ldd = g.Delta[t*g.LdDelta+c:], g.LdDelta
		p.dy, p.lddy = g.DY[t*g.LdDY+c:], g.LdDY
		p.du, p.lddu = g.DU[t*g.LdDU+c:], g.LdDU
		p.ddelta, p.ldddelta = g.DDelta[t*g.LdDDelta+c:], g.LdDDelta
		scanForth(p)
		scanBack(p)
	} else {
		g.part(p, t, c, width)
	}
	if g.DD != nil {
		for i, v := range dd[:width] {
			g.DD[c+i] += v
		}
	}
}

// part is tile for a block that is not full. The channels that it lacks see zeros.
func (g *ScanGrad) part(p *scanGradTile, t, c, width int) {
	var u, delta, dy [ScanSegment * ScanBlock]float32
	p.u, p.delta, p.dy, p.du, p.ddelta = u[:], delta[:], dy[:], u[:], delta[:]
	p.ldu, p.ldd, p.lddy, p.lddu, p.ldddelta = ScanBlock, ScanBlock, ScanBlock, ScanBlock, ScanBlock
	for i := range p.l {
		copy(u[i*ScanBlock:], g.U[(t+i)*g.LdU+c:][:width])
		copy(delta[i*ScanBlock:], g.Delta[(t+i)*g.LdDelta+c:][:width])
		copy(dy[i*ScanBlock:], g.DY[(t+i)*g.LdDY+c:][:width])
	}
	scanForth(p)
	scanBack(p)
	for i := range p.l {
		copy(g.DU[(t+i)*g.LdDU+c:][:width], u[i*ScanBlock:])
		copy(g.DDelta[(t+i)*g.LdDDelta+c:][:width], delta[i*ScanBlock:])
	}
}

// fold adds what the blocks of a group added up in the trace to the gradients of B and
// C, and makes it zero.
func (g *ScanGrad) fold(t, end, group int, trace, sums []float32) {
	count := (end - t) * g.N
	db, dc := sums[:ScanSegment*g.N], sums[ScanSegment*g.N:]
	// Four at a time: there is room for a multiple of that.
	scanFold((count+3)/4*4, trace[g.N*scanTrace:], db, dc)
	for i := range end - t {
		if g.DB != nil {
			row := g.DB[(t+i)*g.LdDB+group*g.N:][:g.N]
			Add(row, row, db[i*g.N:(i+1)*g.N])
		}
		if g.DC != nil {
			row := g.DC[(t+i)*g.LdDC+group*g.N:][:g.N]
			Add(row, row, dc[i*g.N:(i+1)*g.N])
		}
	}
}

// scanGradTile holds the arguments of the gradient for one block over l positions, at
// most a segment.
type scanGradTile struct {
	l, n                           int
	u, delta, dy, du, ddelta       []float32
	ldu, ldd, lddy, lddu, ldddelta int
	a, b, c                        []float32
	ldb, ldc                       int
	d, dd                          []float32
	trace, grad, da                []float32
}

// scanForthGeneric computes exponentials and states of the trace.
func scanForthGeneric(p *scanGradTile) {
	size := p.n * scanTrace
	for t := range p.l {
		u := (*[ScanBlock]float32)(p.u[t*p.ldu:])
		delta := (*[ScanBlock]float32)(p.delta[t*p.ldd:])
		for n := range p.n {
			before := p.trace[t*size+n*scanTrace+ScanBlock:][:ScanBlock]
			at := p.trace[(t+1)*size+n*scanTrace:]
			decay, h := at[:ScanBlock], at[ScanBlock:2*ScanBlock]
			rate, b := p.a[n*ScanBlock:(n+1)*ScanBlock], p.b[t*p.ldb+n]
			for j := range u {
				decay[j] = exp2Generic(delta[j] * rate[j])
				h[j] = decay[j]*before[j] + delta[j]*u[j]*b
			}
		}
	}
}

// scanBackGeneric takes the gradients from behind the last position to before the first.
func scanBackGeneric(p *scanGradTile) {
	size := p.n * scanTrace
	for t := p.l - 1; t >= 0; t-- {
		u := (*[ScanBlock]float32)(p.u[t*p.ldu:])
		delta := (*[ScanBlock]float32)(p.delta[t*p.ldd:])
		dy := *(*[ScanBlock]float32)(p.dy[t*p.lddy:])
		var in, rates [ScanBlock]float32
		for n := range p.n {
			before := p.trace[t*size+n*scanTrace+ScanBlock:][:ScanBlock]
			at := p.trace[(t+1)*size+n*scanTrace:][:scanTrace]
			rate, grad, da := p.a[n*ScanBlock:], p.grad[n*ScanBlock:], p.da[n*ScanBlock:]
			b, c := p.b[t*p.ldb+n], p.c[t*p.ldc+n]
			for j := range u {
				decay, h := at[j], at[ScanBlock+j]
				v := grad[j] + c*dy[j]
				at[2*ScanBlock+j] += v * (delta[j] * u[j])
				at[3*ScanBlock+j] += dy[j] * h
				in[j] += v * b
				grad[j] = v * decay
				through := grad[j] * before[j]
				rates[j] += through * rate[j]
				da[j] += through * delta[j]
			}
		}
		for j := range u {
			x := u[j]
			p.dd[j] += dy[j] * x
			p.du[t*p.lddu+j] = p.d[j]*dy[j] + delta[j]*in[j]
			p.ddelta[t*p.ldddelta+j] = x*in[j] + math.Ln2*rates[j]
		}
	}
}

// scanFoldGeneric sums the last two vectors of count places of a trace up in db and dc
// and makes them zero.
func scanFoldGeneric(count int, trace, db, dc []float32) {
	for i := range count {
		at := trace[i*scanTrace+2*ScanBlock:][:2*ScanBlock]
		var b, c float32
		for j := range ScanBlock {
			b += at[j]
			c += at[ScanBlock+j]
		}
		db[i], dc[i] = b, c
		clear(at)
	}
}
