package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./linattn -out ../linattn_amd64.s -stubs ../linattn_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group linattn -out ../linattn_arm64.s -stubs ../linattn_stub_arm64.go"

// KeyBlock is the number of neighbouring elements of keys and queries that linear
// attention works on at a time.
const KeyBlock = 8

const (
	// linearPositions is how many positions are taken at a time through one block
	// of the key: few enough that what they read and write stays in the L1 cache.
	linearPositions = 64

	// linearWork bounds the positions times blocks of the key of one call into
	// assembly.
	linearWork = 1 << 12
)

// LinearLen returns the number of elements of a state of linear attention, for values
// of e channels and keys of n elements: an array of shape [⌈e/16⌉][8⌈n/8⌉][16], in
// which neighbours belong to neighbouring channels. What is beyond e and n is zero.
func LinearLen(e, n int) int {
	return (e + ScanBlock - 1) / ScanBlock * ScanBlock * keyLen(n)
}

// keyLen returns n, rounded up to whole blocks.
func keyLen(n int) int { return (n + KeyBlock - 1) / KeyBlock * KeyBlock }

// PackLinearState stores src, which has shape (e, n), in the order of a state.
func PackLinearState(dst, src []float32, e, n int) {
	checkLinearPack(len(dst), len(src), e, n)
	clear(dst[:LinearLen(e, n)])
	for c := range e {
		for i := range n {
			dst[scanAt(c, i, keyLen(n))] = src[c*n+i]
		}
	}
}

// UnpackLinearState is the inverse of [PackLinearState].
func UnpackLinearState(dst, src []float32, e, n int) {
	checkLinearPack(len(src), len(dst), e, n)
	for c := range e {
		for i := range n {
			dst[c*n+i] = src[scanAt(c, i, keyLen(n))]
		}
	}
}

func checkLinearPack(packed, plain, e, n int) {
	if e < 0 || n < 0 || packed < LinearLen(e, n) || plain < e*n {
		panic(fmt.Sprintf("kernel: state of linear attention of %d×%d: %d elements packed, %d plain", e, n, packed, plain))
	}
}

// KeysLen returns the number of elements of the keys and queries of l positions, of n
// elements each, as [PackKeysQueries] stores them.
func KeysLen(l, n int) int { return 2 * l * keyLen(n) }

// PackKeysQueries stores the keys k and queries q of some positions, of n elements
// each, in rows ldk and ldq apart. dst has shape [⌈n/8⌉][l][2][8]: for each block of
// elements and position those of the key and then those of the query. The positions
// become first to first+rows-1 of the l that dst has room for.
func PackKeysQueries(dst, k []float32, ldk int, q []float32, ldq, first, rows, l, n int) {
	if rows <= 0 || n <= 0 {
		return
	}
	if first < 0 || first+rows > l || len(dst) < KeysLen(l, n) || len(k) < (rows-1)*ldk+n || len(q) < (rows-1)*ldq+n {
		panic(fmt.Sprintf("kernel: keys of %d elements: positions %d to %d of %d, %d elements from %d and %d", n, first, first+rows-1, l, len(dst), len(k), len(q)))
	}
	for t := range rows {
		key, query := k[t*ldk:t*ldk+n], q[t*ldq:t*ldq+n]
		at := 2 * KeyBlock * (first + t)
		for len(key) >= KeyBlock {
			to := (*[2 * KeyBlock]float32)(dst[at:])
			*(*[KeyBlock]float32)(to[:KeyBlock]) = [KeyBlock]float32(key)
			*(*[KeyBlock]float32)(to[KeyBlock:]) = [KeyBlock]float32(query)
			key, query = key[KeyBlock:], query[KeyBlock:]
			at += 2 * KeyBlock * l
		}
		if len(key) > 0 {
			to := dst[at : at+2*KeyBlock]
			clear(to)
			copy(to, key)
			copy(to[KeyBlock:], query)
		}
	}
}

// Linear holds the arguments of [LinearAttention].
type Linear struct {
	L, N   int // positions, elements of a key
	Blocks int // of 16 channels

	// Y and V have a row of 16·Blocks elements for each position, LdY and LdV apart.
	// They do not overlap.
	Y, V     []float32
	LdY, LdV int

	// Keys holds keys and queries, as PackKeysQueries makes them, with room for
	// Room positions, of which First is that of the first row.
	Keys        []float32
	Room, First int

	// State, see LinearLen, is S before the first position, and afterwards S after
	// the last.
	State []float32

	// Keep holds a factor for each channel that S is multiplied by before the first
	// position.
	Keep []float32
}

// LinearAttention computes causal attention without softmax, as a recurrence: with
// keys k, queries q and values v, for each channel c,
//
//	S[n][c] ← keep[c]·S[n][c]                 before the first position
//	S[n][c] ← S[n][c] + k[t][n]·v[t][c]
//	y[t][c] = Σ_n q[t][n]·S[n][c]
//
// It is the core of Mamba-2 and Mamba-3 (arXiv 2405.21060), whose decay is in v and y:
// see package ssm. A factor of 1 keeps the bits of S, so positions may be divided into
// any number of calls. The bits are the same on AVX2 and AVX-512, which take denormal
// numbers for zero.
//
// It panics if a slice is too short.
func LinearAttention(s *Linear) {
	s.check()
	ones := &linearOnes
	for t := 0; t < s.L; t += linearPositions {
		l := min(linearPositions, s.L-t)
		for i := range l {
			clear(s.Y[(t+i)*s.LdY : (t+i)*s.LdY+s.Blocks*ScanBlock])
		}
		for b := 0; b < s.Blocks; {
			keep := s.Keep[b*ScanBlock:]
			if t > 0 {
				keep = ones[:]
			}
			b += s.blocks(t, l, b, keep)
		}
	}
}

var linearOnes = func() (ones [2 * ScanBlock]float32) {
	for i := range ones {
		ones[i] = 1
	}
	return ones
}()

// blocks computes positions t to t+l-1 of one block of channels or of two, and returns
// how many.
func (s *Linear) blocks(t, l, b int, keep []float32) int {
	n := keyLen(s.N)
	p := linearTile{
		l: l, y: s.Y[t*s.LdY+b*ScanBlock:], ldy: s.LdY, v: s.V[t*s.LdV+b*ScanBlock:], ldv: s.LdV,
		ldk: 2 * KeyBlock * s.Room, next: n * ScanBlock, keep: keep, blocks: min(linearBlocks(), s.Blocks-b),
	}
	parts := n / KeyBlock
	for first := 0; first < parts; first += linearWork / linearPositions {
		p.parts = min(linearWork/linearPositions, parts-first)
		p.keys = s.Keys[first*p.ldk+2*KeyBlock*(s.First+t):]
		p.state = s.State[b*p.next+first*KeyBlock*ScanBlock:]
		linearParts(&p)
	}
	return p.blocks
}

// linearTile holds the arguments for some positions, blocks of channels and parts of
// the key.
type linearTile struct {
	l, parts, blocks int
	y, v             []float32
	ldy, ldv         int
	keys             []float32
	ldk              int // between blocks of the key
	state            []float32
	next             int // between blocks of channels
	keep             []float32
}

func (s *Linear) check() {
	width := s.Blocks * ScanBlock
	if s.L < 0 || s.N < 0 || s.Blocks < 0 || s.First < 0 || s.First+s.L > s.Room {
		panic(fmt.Sprintf("kernel: linear attention of %d positions of %d from %d on, keys of %d elements, %d blocks", s.L, s.Room, s.First, s.N, s.Blocks))
	}
	checkScanRows("Y", len(s.Y), s.LdY, s.L, width)
	checkScanRows("V", len(s.V), s.LdV, s.L, width)
	checkScanLen("Keys", len(s.Keys), KeysLen(s.Room, s.N))
	checkScanLen("State", len(s.State), LinearLen(width, s.N))
	checkScanLen("Keep", len(s.Keep), width)
}
