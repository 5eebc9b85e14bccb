package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/seqmix/seqmix/internal/pages"
)

// A Compact is an n×k matrix of float32 or bfloat16 numbers in panels that take less
// memory than these, and hold the same numbers to the bit. What is multiplied by one row
// takes the time of reading it from memory, so that is faster too.
//
// The upper byte of a number is its sign and seven bits of its exponent. The exponents of
// a weight lie close together, so that four bits say almost always which byte it is: a
// bfloat16 then takes 12 bits and a float32 28. The panel of 32 rows of the matrix is cut
// into the blocks of k of [Gemm], and each of these is
//
//	[16]byte           upper bytes: 0, base+1 … base+7, and the same with a sign
//	uint32             bytes up to the first unit, a multiple of 64
//	[…][2]uint16       runs: units that have codes, and then units that have not
//	units of 4 neighbours of k by 32 columns
//
// A unit that has codes consists of
//
//	[64]byte               two codes each: those at the places i and i+64
//	[128]byte              the second bytes of the numbers: see codedPlace
//	[2][32][2]uint16       float32: the lower halves, in the order of bfloat16 panels
//
// and one that has not, since one of its upper bytes is not in the table, of the numbers as
// [PackPanels] or [PackBF16Panels] orders them.
type Compact struct {
	full   bool // float32, not bfloat16
	n, k   int
	panels [][]byte

	// memory is where panels come from until each had its turn. Then it is let go, since what
	// is left of its chunks would keep these.
	memory atomic.Pointer[pages.Arena]
	made   atomic.Int64
}

const (
	compactTable  = 16
	compactRuns   = compactTable + 4
	compactLine   = 64
	compactCodes  = 64  // bytes of the codes of a unit
	compactRest   = 128 // bytes with what the codes do not say of an upper half
	compactLow    = 256 // bytes of the lower halves of float32s
	compactOthers = 7   // upper bytes that have a code, but for 0 and the sign
)

// CompactK is what the columns of a [Compact] must be a multiple of.
const CompactK = 4

// unitBytes returns the sizes of a unit with codes and of one without.
func unitBytes(full bool) (coded, plain int) {
	if full {
		return compactCodes + compactRest + compactLow, 4 * CompactK * PanelWidth
	}
	return compactCodes + compactRest, 2 * CompactK * PanelWidth
}

// NewCompact returns an n×k matrix of zeros, of float32s if full is set and of bfloat16s if
// not, in an arena or, if that is nil, in memory of its own. It panics if k is not a multiple
// of [CompactK].
func NewCompact(full bool, n, k int, memory *pages.Arena) *Compact {
	if k%CompactK != 0 {
		panic(fmt.Sprintf("kernel: compact panels of %d columns, want a multiple of %d", k, CompactK))
	}
	c := &Compact{full: full, n: n, k: k, panels: make([][]byte, (n+PanelWidth-1)/PanelWidth)}
	if len(c.panels) > 0 {
		p := packers.Get().(*compactPacker)
		zero := p.panels(c, min(n, PanelWidth), p.clear)[0]
		packers.Put(p)
		for i := range c.panels {
			c.panels[i] = zero
		}
	}
	if memory == nil {
		memory = pages.NewArena(len(c.panels) * c.usualBytes())
	}
	c.memory.Store(memory)
	return c
}

// usualBytes returns what a panel takes of which some units in a hundred have no codes.
func (c *Compact) usualBytes() int {
	coded, plain := unitBytes(c.full)
	return c.k / CompactK * (coded + (plain-coded)/20)
}

// Full reports whether the numbers are float32s.
func (c *Compact) Full() bool { return c.full }

// Bytes returns the number of bytes of all panels.
func (c *Compact) Bytes() (n int) {
	for _, p := range c.panels {
		n += len(p)
	}
	return n
}

// SetFloat32s makes m rows of w, row-major, those from the given one on, which is a multiple
// of [PanelWidth]. Rows that complete the last panel become zero.
func (c *Compact) SetFloat32s(from int, w []float32, m int) {
	p := packers.Get().(*compactPacker)
	c.set(from, p.panels(c, m, func() { PackPanels(p.f32, w, m, c.k, c.k, 1) }))
	packers.Put(p)
}

// SetBF16s is SetFloat32s for a matrix of bfloat16s.
func (c *Compact) SetBF16s(from int, w []uint16, m int) {
	p := packers.Get().(*compactPacker)
	c.set(from, p.panels(c, m, func() { PackBF16Panels(p.u16, w, m, c.k) }))
	packers.Put(p)
}

// set makes panels those of the rows from the given one on.
func (c *Compact) set(from int, panels [][]byte) {
	copy(c.panels[from/PanelWidth:], panels)
	if c.made.Add(int64(len(panels))) >= int64(len(c.panels)) {
		c.memory.Store(nil)
	}
}

// Gemm is [Gemm] or [GemmBF16] with the rows of the matrix from the given one on, a multiple
// of [PanelWidth], as weights: the result is the same to the bit. More than one row needs
// scratch of [GemmScratchLen] elements.
func (c *Compact) Gemm(out []float32, ldc int, a []float32, lda int, from, m, n int, scratch []float32, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	k := c.k
	checkGemm(len(out), ldc, len(a), lda, m, n, k)
	panels := c.panels[from/PanelWidth:]
	switch {
	case k == 0:
		gemmEmpty(out, ldc, m, n, add)
		return
	case m == 1:
		for j := 0; j < n; j += PanelWidth {
			c.gemv(out[j:min(j+PanelWidth, n)], a[:k], panels[j/PanelWidth], add)
		}
		return
	case len(scratch) < GemmScratchLen(k):
		panic(fmt.Sprintf("kernel: scratch of %d elements, want %d", len(scratch), GemmScratchLen(k)))
	}
	for j := 0; j < n; j += blockPanels * PanelWidth {
		c.gemmPanels(out[j:], ldc, a, lda, panels[j/PanelWidth:], m, min(blockPanels*PanelWidth, n-j), scratch, add)
	}
}

// gemmPanels is Gemm for a few panels. Block by block of k these are widened, so that they
// stay in the cache.
func (c *Compact) gemmPanels(out []float32, ldc int, a []float32, lda int, panels [][]byte, m, n int, scratch []float32, add bool) {
	var at [blockPanels]int
	kc := blockOf(c.k)
	for p := 0; p < c.k; p += kc {
		depth := min(kc, c.k-p)
		for j := 0; j < n; j += PanelWidth {
			i := j / PanelWidth
			at[i] += c.widenBlock(scratch[j*depth:(j+PanelWidth)*depth], panels[i][at[i]:])
		}
		Gemm(out, ldc, a[p:], lda, scratch, m, n, depth, add || p > 0)
	}
}

// gemv multiplies one row by one panel. The kernels compute all 32 columns; a part of them
// goes through a buffer.
func (c *Compact) gemv(out, a []float32, panel []byte, add bool) {
	var buf [PanelWidth]float32
	sums := out
	if len(out) < PanelWidth {
		copy(buf[:], out)
		sums = buf[:]
	}
	kc := blockOf(c.k)
	for p := 0; p < c.k; p += kc {
		panel = panel[c.gemvBlock(sums, a[p:min(p+kc, c.k)], panel, add || p > 0):]
	}
	if len(out) < PanelWidth {
		copy(out, buf[:])
	}
}

// gemvBlock multiplies a part of a row by a block, whose length it returns.
func (c *Compact) gemvBlock(out, a []float32, block []byte, add bool) int {
	if c.full {
		return gemvCompactFloat32(out, a, block, add)
	}
	return gemvCompactBF16(out, a, block, add)
}

// widenBlock converts a block to float32, and returns its length.
func (c *Compact) widenBlock(dst []float32, block []byte) int {
	if c.full {
		return widenCompactFloat32(dst, block)
	}
	return widenCompactBF16(dst, block)
}

// Row writes row row to dst.
func (c *Compact) Row(dst []float32, row int) {
	kc, column := blockOf(c.k), row%PanelWidth
	panel := c.panels[row/PanelWidth]
	for p := 0; p < c.k; p += kc {
		out := dst[p:min(p+kc, c.k)]
		panel = panel[eachUnit(c.full, panel, len(out), func(i int, u *compactUnit) {
			for r := range CompactK {
				out[i*CompactK+r] = u.at(r, column)
			}
		}):]
	}
}

// eachUnit calls f for the units of a block of k columns, and returns the length of the
// block.
func eachUnit(full bool, block []byte, k int, f func(i int, u *compactUnit)) int {
	u := &compactUnit{table: [compactTable]byte(block), full: full}
	coded, plain := unitBytes(full)
	at, runs := int(binary.LittleEndian.Uint32(block[compactTable:])), block[compactRuns:]
	for i := 0; i < k/CompactK; runs = runs[4:] {
		for range binary.LittleEndian.Uint16(runs) {
			u.coded, u.bytes = true, block[at:at+coded]
			f(i, u)
			i, at = i+1, at+coded
		}
		for range binary.LittleEndian.Uint16(runs[2:]) {
			u.coded, u.bytes = false, block[at:at+plain]
			f(i, u)
			i, at = i+1, at+plain
		}
	}
	return at
}

// A compactUnit is 4 neighbours of k by 32 columns.
type compactUnit struct {
	table       [compactTable]byte
	bytes       []byte
	coded, full bool
}

// at returns the number that neighbour r of k has in a column.
func (u *compactUnit) at(r, column int) float32 {
	var bits uint32
	pair := pairPlace(r, column)
	switch {
	case u.coded:
		i := codedPlace(r, column)
		code := u.bytes[i%compactCodes] >> (i / compactCodes * 4) & 15
		bits = uint32(u.table[code])<<24 | uint32(u.bytes[compactCodes+i])<<16
		if u.full {
			bits |= uint32(binary.LittleEndian.Uint16(u.bytes[compactCodes+compactRest+pair:]))
		}
	case u.full:
		bits = binary.LittleEndian.Uint32(u.bytes[4*(r*PanelWidth+column):])
	default:
		bits = uint32(binary.LittleEndian.Uint16(u.bytes[pair:])) << 16
	}
	return math.Float32frombits(bits)
}

// codedPlace returns where in a unit with codes the second byte of a number is, and, modulo
// 64, its code: in the lower half of a byte if it is below 64. The order is such that the
// bytes of two neighbours of k in four columns are interleaved by one instruction.
func codedPlace(r, column int) int {
	return column/4*16 + r/2*8 + column%4*2 + r%2
}

// pairPlace returns where 16 bits of each number are that lie in the order of bfloat16 panels.
func pairPlace(r, column int) int { return r/2*4*PanelWidth + 4*column + r%2*2 }

// A compactPacker holds the temporary memory for making panels.
type compactPacker struct {
	f32    []float32 // panels as PackPanels makes them
	u16    []uint16  // or PackBF16Panels
	spans  []byte    // of the units: see spansOf
	blocks []packedBlock
}

// A packedBlock says how a block will be stored.
type packedBlock struct{ base, runs, size int }

var packers = sync.Pool{New: func() any { return new(compactPacker) }}

// clear makes the panels zero.
func (p *compactPacker) clear() {
	clear(p.f32)
	clear(p.u16)
}

// panels returns m rows as compact panels, after fill has written them to f32 or u16.
func (p *compactPacker) panels(c *Compact, m int, fill func()) [][]byte {
	count := (m + PanelWidth - 1) / PanelWidth
	units := count * c.k / CompactK
	p.grow(c, units)
	fill()
	if units > 0 {
		if c.full {
			spansFloat32(p.spans, p.f32)
		} else {
			spansBF16(p.spans, p.u16)
		}
	}
	total := p.plan(c, count)
	memory := pages.Take[byte](c.memory.Load(), total)
	result := make([][]byte, count)
	blocks, unit := p.blocks, 0
	for i := range result {
		panel := memory
		for at := 0; at < c.k; at += blockOf(c.k) {
			n := min(blockOf(c.k), c.k-at) / CompactK
			b := blocks[0]
			p.writeBlock(memory[:b.size], c, b, unit, n)
			memory, blocks, unit = memory[b.size:], blocks[1:], unit+n
		}
		result[i] = panel[: len(panel)-len(memory) : len(panel)-len(memory)]
	}
	return result
}

// grow makes room for units.
func (p *compactPacker) grow(c *Compact, units int) {
	elements := units * CompactK * PanelWidth
	p.f32, p.u16 = p.f32[:0], p.u16[:0]
	switch {
	case !c.full && cap(p.u16) < elements:
		p.u16 = make([]uint16, elements)
	case !c.full:
		p.u16 = p.u16[:elements]
	case cap(p.f32) < elements:
		p.f32 = make([]float32, elements)
	default:
		p.f32 = p.f32[:elements]
	}
	if cap(p.spans) < 2*units {
		p.spans = make([]byte, 2*units)
	}
	p.spans = p.spans[:2*units]
}

// plan decides how all blocks will be stored, and returns their length.
func (p *compactPacker) plan(c *Compact, panels int) (total int) {
	p.blocks = p.blocks[:0]
	coded, plain := unitBytes(c.full)
	spans := p.spans
	for range panels {
		for at := 0; at < c.k; at += blockOf(c.k) {
			n := min(blockOf(c.k), c.k-at) / CompactK
			b := packedBlock{base: bestBase(spans[:2*n])}
			for rest := spans[:2*n]; len(rest) > 0; b.runs++ {
				with, without := nextRun(rest, b.base)
				b.size += with*coded + without*plain
				rest = rest[2*(with+without):]
			}
			b.size += headerLen(b.runs)
			p.blocks = append(p.blocks, b)
			spans = spans[2*n:]
			total += b.size
		}
	}
	return total
}

// headerLen returns the bytes up to the first unit of a block.
func headerLen(runs int) int {
	return (compactRuns + 4*runs + compactLine - 1) / compactLine * compactLine
}

// writeBlock writes the block of n units from the given one on.
func (p *compactPacker) writeBlock(dst []byte, c *Compact, b packedBlock, unit, n int) {
	for i := 1; i <= compactOthers; i++ {
		dst[i] = byte(b.base + i)
		dst[i+8] = dst[i] | 0x80
	}
	dst[8] = 0x80
	header := headerLen(b.runs)
	binary.LittleEndian.PutUint32(dst[compactTable:], uint32(header))
	coded, plain := unitBytes(c.full)
	runs, units := dst[compactRuns:], dst[header:]
	for rest := p.spans[2*unit : 2*(unit+n)]; len(rest) > 0; runs = runs[4:] {
		with, without := nextRun(rest, b.base)
		binary.LittleEndian.PutUint16(runs, uint16(with))
		binary.LittleEndian.PutUint16(runs[2:], uint16(without))
		p.code(units[:with*coded], c, unit, with, byte(b.base))
		p.copy(units[with*coded:], c, unit+with, without)
		rest, units, unit = rest[2*(with+without):], units[with*coded+without*plain:], unit+with+without
	}
}

// code writes n units with codes.
func (p *compactPacker) code(dst []byte, c *Compact, unit, n int, base byte) {
	const elements = CompactK * PanelWidth
	switch {
	case n == 0:
	case c.full:
		packCompactFloat32(dst, p.f32[unit*elements:(unit+n)*elements], base)
	default:
		packCompactBF16(dst, p.u16[unit*elements:(unit+n)*elements], base)
	}
}

// copy writes n units without codes.
func (p *compactPacker) copy(dst []byte, c *Compact, unit, n int) {
	const elements = CompactK * PanelWidth
	if c.full {
		for i, v := range p.f32[unit*elements : (unit+n)*elements] {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
		return
	}
	for i, v := range p.u16[unit*elements : (unit+n)*elements] {
		binary.LittleEndian.PutUint16(dst[2*i:], v)
	}
}

// nextRun returns how many units that spans begins with can have codes, and how many cannot
// that follow these.
func nextRun(spans []byte, base int) (with, without int) {
	n := min(len(spans)/2, math.MaxUint16)
	for with < n && fits(spans[2*with], spans[2*with+1], base) {
		with++
	}
	for with+without < n && !fits(spans[2*(with+without)], spans[2*(with+without)+1], base) {
		without++
	}
	return with, without
}

// fits reports whether all upper bytes of a unit have a code: its span is the least that is
// not 0, less 1, or 255 if there is none, and 127 less the largest.
func fits(least, rest byte, base int) bool {
	return int(least) >= base && 127-int(rest) <= base+compactOthers
}

// bestBase returns the base with which the most units can have codes.
func bestBase(spans []byte) int {
	var change [127 - compactOthers + 2]int
	for i := 0; i < len(spans); i += 2 {
		first := max(127-int(spans[i+1])-compactOthers, 0)
		last := min(int(spans[i]), len(change)-2)
		if first <= last {
			change[first]++
			change[last+1]--
		}
	}
	best, most, sum := 0, 0, 0
	for base, d := range change[:len(change)-1] {
		if sum += d; sum > most {
			best, most = base, sum
		}
	}
	return best
}
