package attention

import (
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

// A cache holds the keys and values of a batch of sequences, from some position on,
// in the order in which matrix products read them. Its memory consists of blocks of
// the same number of positions. A block that is full is not written again until all
// its positions have fallen out of the window: so clones share it.
type cache struct {
	kvHeads, headDim int
	blockLen         int
	batch            int

	first  int     // position of the first block, a multiple of blockLen
	blocks []block // block i of sequence b is blocks[i*batch+b]
	free   []block
}

// A block holds blockLen positions of one sequence: the keys of each head in panels of
// 32 positions, [kvHeads][blockLen/32][headDim][32], and the values in panels of 32
// channels of all heads, [⌈kvHeads·headDim/32⌉][blockLen][32].
type block struct {
	keys, values []float32
	shared       bool // with a clone
}

const (
	panel = kernel.PanelWidth

	// maxBlockLen is the number of keys that are multiplied by a tile of queries at a
	// time: enough for the products to be efficient, few enough for the scores to
	// stay in the L1 cache.
	maxBlockLen = 128
)

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// blockLenFor returns the length of the blocks for windows of so many previous keys;
// small windows have small blocks, so that a stream holds little that it cannot see.
func blockLenFor(left int) int {
	if left < 0 {
		return maxBlockLen
	}
	return min(roundUp(max(left, 1), panel), maxBlockLen)
}

func (c *cache) keyLen() int   { return c.kvHeads * c.blockLen * c.headDim }
func (c *cache) valueLen() int { return roundUp(c.kvHeads*c.headDim, panel) * c.blockLen }

// begin makes c empty. Its memory is used again if it fits.
func (c *cache) begin(kvHeads, headDim, blockLen, batch int) {
	if c.kvHeads != kvHeads || c.headDim != headDim || c.blockLen != blockLen {
		*c = cache{kvHeads: kvHeads, headDim: headDim, blockLen: blockLen}
	}
	c.reset()
	c.batch = batch
}

func (c *cache) reset() {
	c.recycle(len(c.blocks))
	c.first = 0
}

// recycle takes the first n blocks out.
func (c *cache) recycle(n int) {
	for _, b := range c.blocks[:n] {
		if !b.shared {
			c.free = append(c.free, b)
		}
	}
	rest := copy(c.blocks, c.blocks[n:])
	clear(c.blocks[rest:])
	c.blocks = c.blocks[:rest]
}

// keep makes room for the positions from lo to hi-1 and forgets those before lo.
func (c *cache) keep(lo, hi int) {
	if n := lo/c.blockLen - c.first/c.blockLen; n > 0 {
		c.recycle(min(n, len(c.blocks)/c.batch) * c.batch)
		c.first += n * c.blockLen
	}
	for c.first+len(c.blocks)/c.batch*c.blockLen < hi {
		for range c.batch {
			c.blocks = append(c.blocks, c.newBlock())
		}
	}
}

func (c *cache) newBlock() block {
	if len(c.free) == 0 {
		c.allocate()
	}
	n := len(c.free) - 1
	b := c.free[n]
	c.free = c.free[:n]
	return b
}

// allocate makes a free block for each sequence, in one piece of memory.
func (c *cache) allocate() {
	n, m := c.keyLen(), c.valueLen()
	data := make([]float32, c.batch*(n+m))
	for range c.batch {
		c.free = append(c.free, block{keys: data[:n:n], values: data[n : n+m : n+m]})
		data = data[n+m:]
	}
}

// reserve makes sure that there are blocks for so many positions.
func (c *cache) reserve(positions int) {
	n := roundUp(positions, c.blockLen) / c.blockLen * c.batch
	c.blocks = slices.Grow(c.blocks, max(n-len(c.blocks), 0))
	for len(c.blocks)+len(c.free) < n {
		c.allocate()
	}
}

// block returns the block of sequence b that holds position p.
func (c *cache) block(b, p int) *block {
	return &c.blocks[(p/c.blockLen-c.first/c.blockLen)*c.batch+b]
}

// clone copies c, of which positions before end are in use. Both share full blocks
// from now on.
func (c *cache) clone(end int) cache {
	d := *c
	d.free = nil
	d.blocks = make([]block, len(c.blocks))
	for i := range c.blocks {
		b := &c.blocks[i]
		if c.first+(i/c.batch+1)*c.blockLen <= end {
			b.shared = true
			d.blocks[i] = *b
			continue
		}
		d.blocks[i] = d.newBlock()
		copy(d.blocks[i].keys, b.keys)
		copy(d.blocks[i].values, b.values)
	}
	return d
}

// A store packs new keys and values into a cache.
type store struct {
	cache        *cache
	keys, values rows
	first, n     int // positions, for which there is room
}

// run stores the positions of all sequences, rows 0 to n-1 of keys and values.
func (s *store) run() {
	c := s.cache
	groups := (s.first+s.n-1)/panel - s.first/panel + 1
	work := min(panel, s.n) * c.kvHeads * c.headDim * 2
	par.Do(groups*c.batch, 32768/max(work, 1)+1, s)
}

// Run stores groups of positions that belong to one panel of keys, those of sequence 0
// first.
func (s *store) Run(lo, hi int) {
	groups := (s.first+s.n-1)/panel - s.first/panel + 1
	for u := lo; u < hi; u++ {
		p := (s.first/panel + u%groups) * panel
		s.group(u/groups, max(p, s.first), min(p+panel, s.first+s.n))
	}
}

// group stores positions p0 to p1-1 of sequence b.
func (s *store) group(b, p0, p1 int) {
	c := s.cache
	blk := c.block(b, p0)
	at := p0 % c.blockLen // in the block
	n := p1 - p0
	for h := range c.kvHeads {
		k := blk.keys[(h*c.blockLen+at/panel*panel)*c.headDim:]
		kernel.PackKeys(k, s.keys.from(b, p0-s.first, h*c.headDim), s.keys.position, at%panel, n, c.headDim)
	}
	width := c.kvHeads * c.headDim
	for i := range n {
		v := s.values.at(b, p0-s.first+i, 0, width)
		for j := 0; j < width; j += panel {
			copy(blk.values[j*c.blockLen+(at+i)*panel:], v[j:min(j+panel, width)])
		}
	}
}

// read copies the keys and values of position p of sequence b.
func (c *cache) read(keys, values []float32, b, p int) {
	blk, at := c.block(b, p), p%c.blockLen
	for h := range c.kvHeads {
		panels := blk.keys[h*c.blockLen*c.headDim:][:c.blockLen*c.headDim]
		kernel.PanelRow(keys[h*c.headDim:(h+1)*c.headDim], panels, at, c.headDim)
	}
	for j := 0; j < len(values); j += panel {
		copy(values[j:min(j+panel, len(values))], blk.values[j*c.blockLen+at*panel:])
	}
}
