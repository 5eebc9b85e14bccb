package kernel

import (
	"fmt"
	"math"
)

//go:generate sh -c "cd _asm && go run ./scan -out ../scan_amd64.s -stubs ../scan_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group scan -out ../scan_arm64.s -stubs ../scan_stub_arm64.go"

// ScanBlock is the number of channels that a scan works on at a time.
//
// What a scan keeps for E channels of N states each, its rates and its state, lies in
// channel blocks: an array of shape [⌈E/16⌉][N][16], in which neighbours belong to
// neighbouring channels. The channels that pad the last block are zero.
const ScanBlock = 16

// scanPositions is how many positions a block of channels is taken through before
// the next one: few enough that what they read and write stays in the caches.
const scanPositions = 16

// scanCells bounds what is done without a point at which the scheduler can stop it:
// so many states are advanced by one position each, in less than 100 µs.
const scanCells = 1 << 17

// ScanLen returns the number of elements of e channels of n states in channel blocks.
func ScanLen(e, n int) int { return (e + ScanBlock - 1) / ScanBlock * ScanBlock * n }

// scanAt returns where state n of channel e, of states each, is in channel blocks.
func scanAt(e, n, states int) int {
	return (e/ScanBlock*states+n)*ScanBlock + e%ScanBlock
}

// PackScanA stores in channel blocks the rates of a scan: a·log₂(e) for each element
// of a, which has shape (e, n) and holds the diagonal of A itself, not its logarithm.
// So a power of two of the product with Δ is all that a scan computes. The rates are
// limited to ±2⁶⁴, so that their product with Δ is finite.
func PackScanA(dst, a []float32, e, n int) {
	checkScanPack(len(dst), len(a), e, n)
	const limit = 1 << 64
	packScan(dst, a, e, n, func(v float32) float32 {
		return float32(max(-limit, min(limit, float64(v)*math.Log2E)))
	})
}

// PackState stores src, which has shape (e, n), in channel blocks.
func PackState(dst, src []float32, e, n int) {
	checkScanPack(len(dst), len(src), e, n)
	packScan(dst, src, e, n, func(v float32) float32 { return v })
}

// UnpackState is the inverse of [PackState].
func UnpackState(dst, src []float32, e, n int) {
	checkScanPack(len(src), len(dst), e, n)
	for i := range e {
		for j := range n {
			dst[i*n+j] = src[scanAt(i, j, n)]
		}
	}
}

func packScan(dst, src []float32, e, n int, f func(float32) float32) {
	clear(dst[:ScanLen(e, n)])
	for i := range e {
		for j := range n {
			dst[scanAt(i, j, n)] = f(src[i*n+j])
		}
	}
}

func checkScanPack(blocks, rows, e, n int) {
	if e < 0 || n < 0 || blocks < ScanLen(e, n) || rows < e*n {
		panic(fmt.Sprintf("kernel: %d×%d states in %d elements, in channel blocks of %d, want %d", e, n, rows, blocks, ScanLen(e, n)))
	}
}

// Scan holds the arguments of [SelectiveScan] for one sequence of L positions, E
// channels and N states for each channel.
//
// Y, U, Delta and Z have a row of E elements for each position; the distance between
// rows is LdY and so on, so that they can be columns of something wider. Y may be U
// or Delta, with the same distance; else it overlaps nothing.
type Scan struct {
	L, E, N int

	Y   []float32 // the result
	LdY int

	U   []float32 // the input
	LdU int

	// Delta is the step size Δ itself: of a model that computes it as a softplus,
	// what the softplus gives.
	Delta   []float32
	LdDelta int

	// Z is the gate: Y is multiplied by SiLU(Z). Without one it is nil.
	Z   []float32
	LdZ int

	// A holds the rates, as PackScanA makes them.
	A []float32

	// B and C have a row for each position, which holds N elements for each group
	// of channels. There are Groups groups, or one if Groups is 0; channel e is in
	// group e/(E/Groups).
	//
	// If BConst is set, B does not depend on the position, but on the channel: it
	// has shape (E, N) and lies in channel blocks. LdB is not used then. The same
	// holds for C.
	B      []float32
	LdB    int
	BConst bool
	C      []float32
	LdC    int
	CConst bool
	Groups int

	// D holds for each channel how much of the input passes by the states; nil is 0.
	D []float32

	// State, in channel blocks, holds h before the first position, and afterwards h
	// after the last.
	State []float32

	// Resets lists positions before which the state becomes zero, in ascending
	// order: the first positions of sequences that lie in one row.
	Resets []int

	// Starts, if it is not nil, receives h before every position that is a multiple
	// of ScanSegment, for the gradient: ⌈L/ScanSegment⌉ states, one after the other.
	Starts []float32
}

// SelectiveScan takes the channels of blocks lo to hi-1 through all positions of s:
//
//	h[e][n] ← exp(Δ[t][e]·A[e][n])·h[e][n] + Δ[t][e]·B[t][n]·u[t][e]
//	y[t][e] = Σ_n C[t][n]·h[e][n] + D[e]·u[t][e]
//
// with y[t][e] multiplied by SiLU(z[t][e]) if there is a gate. It is the recurrence
// of Mamba (arXiv 2312.00752, selective_scan_ref in state-spaces/mamba). The blocks
// are independent of each other, and all of them are 0 to ⌈E/16⌉.
//
// A position whose Δ is 0 leaves the state as it is. Where the exponential is below
// the smallest normal number it is 0 or denormal. The assembly for amd64 takes denormal
// numbers for zero: a state that has decayed for long would otherwise slow it down
// fiftyfold there.
//
// Positions may be divided into any number of calls, with State in between: the bits
// of the results are the same. It panics if a slice is too short.
func SelectiveScan(s *Scan, lo, hi int) {
	s.check(lo, hi)
	if lo == hi {
		return
	}
	end := min(hi*ScanBlock, s.E)
	resets := s.Resets
	for t := 0; t < s.L; {
		if s.Starts != nil && t%ScanSegment == 0 {
			from, to := lo*ScanBlock*s.N, hi*ScanBlock*s.N
			copy(s.Starts[t/ScanSegment*ScanLen(s.E, s.N)+from:], s.State[from:to])
		}
		for len(resets) > 0 && resets[0] <= t {
			clear(s.State[lo*ScanBlock*s.N : hi*ScanBlock*s.N])
			resets = resets[1:]
		}
		next := min(t-t%scanPositions+scanPositions, s.L)
		if len(resets) > 0 {
			next = min(next, resets[0])
		}
		s.positions(t, next, lo*ScanBlock, end)
		t = next
	}
}

// positions advances channels from to end-1 over positions t0 to t1-1. from begins a
// block.
func (s *Scan) positions(t0, t1, from, end int) {
	size := s.E / max(s.Groups, 1)
	most := max(1, scanCells/((t1-t0)*s.N*ScanBlock))
	for c := from; c < end; {
		group := c / size
		last := min((group+1)*size, end)
		if blocks := min((last-c)/ScanBlock, most); c%ScanBlock == 0 && blocks > 0 {
			s.blocks(t0, t1, c, blocks, group)
			c += blocks * ScanBlock
			continue
		}
		last = min(last, (c/ScanBlock+1)*ScanBlock)
		s.part(t0, t1, c, last, group)
		c = last
	}
	if s.Z != nil {
		for t := t0; t < t1; t++ {
			y := s.Y[t*s.LdY+from : t*s.LdY+end]
			SiLUMul(y, s.Z[t*s.LdZ+from:t*s.LdZ+end], y)
		}
	}
}

// noSkip stands for a D of zeros.
var noSkip [ScanBlock]float32

// blocks advances whole blocks of one group, of which c is the first channel.
func (s *Scan) blocks(t0, t1, c, blocks, group int) {
	p := s.tile(t0, t1, c/ScanBlock, group)
	p.blocks = blocks
	p.y, p.ldy = s.Y[t0*s.LdY+c:], s.LdY
	p.u, p.ldu = s.U[t0*s.LdU+c:], s.LdU
	p.delta, p.ldd = s.Delta[t0*s.LdDelta+c:], s.LdDelta
	p.d, p.dStep = noSkip[:], 0
	if s.D != nil {
		p.d, p.dStep = s.D[c:], ScanBlock
	}
	scanBlocks(&p)
}

// part advances channels c to end-1, which are a part of one block and of one group.
// The other channels of the block see a Δ of 0, which leaves them as they are.
func (s *Scan) part(t0, t1, c, end, group int) {
	var u, delta [scanPositions * ScanBlock]float32
	var d [ScanBlock]float32
	p := s.tile(t0, t1, c/ScanBlock, group)
	p.blocks = 1
	p.y, p.ldy = u[:], ScanBlock
	p.u, p.ldu = u[:], ScanBlock
	p.delta, p.ldd = delta[:], ScanBlock
	p.d = d[:]
	lane := c % ScanBlock
	if s.D != nil {
		copy(d[lane:], s.D[c:end])
	}
	for i := range p.l {
		t := t0 + i
		copy(u[i*ScanBlock+lane:], s.U[t*s.LdU+c:t*s.LdU+end])
		copy(delta[i*ScanBlock+lane:], s.Delta[t*s.LdDelta+c:t*s.LdDelta+end])
	}
	scanBlocks(&p)
	for i := range p.l {
		t := t0 + i
		copy(s.Y[t*s.LdY+c:t*s.LdY+end], u[i*ScanBlock+lane:])
	}
}

// scanTile holds the arguments of a scan over whole blocks of one group.
type scanTile struct {
	l, n, blocks         int
	y, u, delta          []float32
	ldy, ldu, ldd        int
	a, h                 []float32
	b, c                 []float32
	ldb, ldc             int  // between positions
	bBlock, cBlock       int  // between blocks
	bChannels, cChannels bool // whether b or c has an element for each channel of the block
	d                    []float32
	dStep                int // between blocks
}

// tile returns the arguments that do not depend on where the channels lie.
func (s *Scan) tile(t0, t1, block, group int) scanTile {
	first := block * ScanBlock * s.N
	p := scanTile{l: t1 - t0, n: s.N, a: s.A[first:], h: s.State[first:]}
	if s.BConst {
		p.b, p.bBlock, p.bChannels = s.B[first:], ScanBlock*s.N, true
	} else {
		p.b, p.ldb = s.B[t0*s.LdB+group*s.N:], s.LdB
	}
	if s.CConst {
		p.c, p.cBlock, p.cChannels = s.C[first:], ScanBlock*s.N, true
	} else {
		p.c, p.ldc = s.C[t0*s.LdC+group*s.N:], s.LdC
	}
	return p
}

func (s *Scan) check(lo, hi int) {
	checkScanRows("Y", len(s.Y), s.LdY, s.L, s.E)
	s.checkInput(lo, hi)
}

// checkInput is check without the result.
func (s *Scan) checkInput(lo, hi int) {
	groups := max(s.Groups, 1)
	if s.L < 0 || s.E < 1 || s.N < 1 || s.E%groups != 0 {
		panic(fmt.Sprintf("kernel: scan of %d positions, %d channels in %d groups, %d states", s.L, s.E, groups, s.N))
	}
	if lo < 0 || hi < lo || hi > (s.E+ScanBlock-1)/ScanBlock {
		panic(fmt.Sprintf("kernel: scan of blocks %d to %d of %d channels", lo, hi, s.E))
	}
	checkScanRows("U", len(s.U), s.LdU, s.L, s.E)
	checkScanRows("Delta", len(s.Delta), s.LdDelta, s.L, s.E)
	if s.Z != nil {
		checkScanRows("Z", len(s.Z), s.LdZ, s.L, s.E)
	}
	n := ScanLen(s.E, s.N)
	checkScanLen("A", len(s.A), n)
	checkScanLen("State", len(s.State), n)
	if s.Starts != nil {
		checkScanLen("Starts", len(s.Starts), (s.L+ScanSegment-1)/ScanSegment*n)
	}
	if s.BConst {
		checkScanLen("B", len(s.B), n)
	} else {
		checkScanRows("B", len(s.B), s.LdB, s.L, groups*s.N)
	}
	if s.CConst {
		checkScanLen("C", len(s.C), n)
	} else {
		checkScanRows("C", len(s.C), s.LdC, s.L, groups*s.N)
	}
	if s.D != nil {
		checkScanLen("D", len(s.D), s.E)
	}
}

func checkScanRows(name string, got, ld, rows, width int) {
	if rows > 0 && (ld < 0 || got < (rows-1)*ld+width) {
		panic(fmt.Sprintf("kernel: scan: %s has %d elements, want %d rows of %d with distance %d", name, got, rows, width, ld))
	}
}

func checkScanLen(name string, got, want int) {
	if got < want {
		panic(fmt.Sprintf("kernel: scan: %s has %d elements, want %d", name, got, want))
	}
}
