package attention

import (
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

const (
	// A tile is the queries of one key head that are computed together: each block of
	// keys and values is read once for all of them.
	tileRows = 96

	// stripRows is how many of a tile's rows meet a block of keys at a time. The
	// scores of a strip stay in the L1 cache. It is a multiple of the height of the
	// tiles of matrix products; the smaller, the less is computed beyond the diagonal.
	stripRows = 12

	// Keys are divided into segments of so many, from position 0 on. Each has a softmax
	// of its own; these are merged in order. With fewer tiles than splitTiles, as when
	// one position with few key heads is decoded, several cores work on the segments of
	// a tile. Since the segments are there in any case, the bits of a row depend on its
	// query and its keys alone, however a sequence is cut.
	segmentLen = 8 * maxBlockLen
	splitTiles = 8
)

// attend computes softmax attention of queries to a cache. The queries of the heads
// that share a key head are rows of one matrix, those of the first position first: row
// r is position r/group, head r%group of the key head.
type attend struct {
	mask  mask
	cache *cache
	heads int // query heads
	q     rows
	out   rows // may be q
	first int  // position of the first query
	n     int  // queries of each sequence
	keys  int  // positions in the cache end here

	scale   float32
	softcap float32
	slopes  []float32
	ramp    ramp

	tiles   int       // of each key head
	split   int       // segments that are computed at once; 0 if those of a tile are not
	segment int       // the first of them
	partial []float32 // what they leave: see partialLen
}

// A mask says which keys a query sees: as many as left before its own and right after
// it. Negative numbers stand for all.
type mask struct{ left, right int }

// visible returns the keys lo ≤ j < hi that the query at position p sees, of those
// that end at end. It may be that hi < lo.
func (m mask) visible(p, end int) (lo, hi int) {
	if m.left >= 0 {
		lo = max(0, p-m.left)
	}
	hi = end
	if m.right >= 0 {
		hi = min(end, p+m.right+1)
	}
	return lo, hi
}

// group returns the number of query heads that share a key head.
func (a *attend) group() int { return a.heads / a.cache.kvHeads }

// run computes all queries.
func (a *attend) run() {
	c := a.cache
	queryRows := a.n * a.group()
	a.tiles = (queryRows + tileRows - 1) / tileRows
	lo, _ := a.mask.visible(a.first, a.keys)
	_, hi := a.mask.visible(a.first+a.n-1, a.keys)
	span := max(hi-lo, 0)
	if a.slopes != nil {
		a.ramp.grow(max(a.first+a.n-lo, hi-a.first) + 2*c.blockLen)
	}
	units := a.tiles * c.kvHeads * c.batch
	a.split = 0
	if units < splitTiles && span > 2*segmentLen {
		a.segment = lo / segmentLen
		a.split = (hi-1)/segmentLen + 1 - a.segment
		a.partial = resizeMore(a.partial, units*a.split*partialLen(min(queryRows, tileRows), c.headDim))
		span = segmentLen
	}
	work := min(queryRows, tileRows) * span * c.headDim * 2
	par.Do(units*max(a.split, 1), 100_000/max(work, 1)+1, a)
	if a.split > 0 {
		a.merge()
	}
}

// A tile holds what one core needs to compute a tile of queries.
type tile struct {
	rows      int
	q         []float32 // scaled, headDim wide
	out       []float32 // sums of values, width wide
	max, sum  []float32 // see kernel.OnlineSoftmax
	scores    []float32 // of a strip
	width     int       // of out: whole panels of values
	base      int       // the channel of a head at which its out begins
	head, b   int       // key head and sequence
	firstRow  int       // of all rows of the key head
	keyLo     int       // keys of this segment
	keyHi     int
	done      []float32 // what earlier segments left: see partialLen
	positions [tileRows]int
}

var tiles = sync.Pool{New: func() any { return new(tile) }}

func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// resizeMore is resize for what becomes more by and by.
func resizeMore(s []float32, n int) []float32 {
	if cap(s) < n {
		s = make([]float32, n+n/2)
	}
	return s[:n]
}

// Run computes tiles lo to hi-1, counted through sequences and key heads first, then
// tiles, then segments: so all heads of a tile cost the same, and the longest rows of
// causal attention, which are last, are begun first.
func (a *attend) Run(lo, hi int) {
	t := tiles.Get().(*tile)
	c := a.cache
	size := partialLen(min(tileRows, a.n*a.group()), c.headDim)
	for u := lo; u < hi; u++ {
		h := u % (c.kvHeads * c.batch)
		i := u / (c.kvHeads * c.batch)
		t.b, t.head = h/c.kvHeads, h%c.kvHeads
		t.firstRow = i % a.tiles * tileRows
		t.rows = min(tileRows, a.n*a.group()-t.firstRow)
		a.begin(t)
		if a.split > 0 {
			a.tile(t, a.segment+i/a.tiles)
			a.save(a.partial[u*size:(u+1)*size], t)
		} else {
			a.finish(t, a.allSegments(t))
		}
	}
	tiles.Put(t)
}

// begin loads the queries of t.
func (a *attend) begin(t *tile) {
	c, group := a.cache, a.group()
	first := t.head * c.headDim
	t.base = first % panel
	t.width = roundUp(t.base+c.headDim, panel)
	t.q = resize(t.q, t.rows*c.headDim)
	t.out = resize(t.out, t.rows*t.width)
	t.max = resize(t.max, t.rows)
	t.sum = resize(t.sum, t.rows*kernel.SoftmaxLanes)
	t.scores = resize(t.scores, stripRows*c.blockLen)
	for r := range t.rows {
		i, g := (t.firstRow+r)/group, (t.firstRow+r)%group
		q := a.q.at(t.b, i, (t.head*group+g)*c.headDim, c.headDim)
		kernel.Scale(t.q[r*c.headDim:(r+1)*c.headDim], a.scale, q)
		t.positions[r] = a.first + i
	}
}

// visible returns the keys that some row of t sees.
func (a *attend) visible(t *tile) (lo, hi int) {
	lo, _ = a.mask.visible(t.positions[0], a.keys)
	_, hi = a.mask.visible(t.positions[t.rows-1], a.keys)
	return lo, hi
}

// allSegments goes through the segments of keys that some row of t sees. It returns
// what they leave altogether, or nil if that is in t because it was one segment.
func (a *attend) allSegments(t *tile) []float32 {
	lo, hi := a.visible(t)
	first := lo / segmentLen
	a.tile(t, first)
	if (first+1)*segmentLen >= hi {
		return nil
	}
	dim := a.cache.headDim
	t.done = resize(t.done, partialLen(t.rows, dim))
	a.save(t.done, t)
	for s := first + 1; s*segmentLen < hi; s++ {
		a.tile(t, s)
		for r := range t.rows {
			mergeRow(t.done[r*(dim+2):(r+1)*(dim+2)], t.out[r*t.width+t.base:][:dim], t.max[r], t.total(r))
		}
	}
	return t.done
}

// tile goes through the blocks of keys of a segment that some row of t sees.
func (a *attend) tile(t *tile, segment int) {
	clear(t.out)
	clear(t.sum)
	for r := range t.max {
		t.max[r] = kernel.SoftmaxStart
	}
	lo, hi := a.visible(t)
	t.keyLo = segment * segmentLen
	t.keyHi = min(t.keyLo+segmentLen, a.keys)
	lo, hi = max(lo, t.keyLo), min(hi, t.keyHi)
	size := a.cache.blockLen
	for p := lo / size * size; p < hi; p += size {
		blk := a.cache.block(t.b, p)
		for r := 0; r < t.rows; r += stripRows {
			a.strip(t, blk, p, r, min(r+stripRows, t.rows))
		}
	}
}

// strip adds a block of keys and values, the first at position p, to rows r0 to r1-1.
func (a *attend) strip(t *tile, blk *block, p, r0, r1 int) {
	c := a.cache
	lo, _ := a.mask.visible(t.positions[r0], a.keys)
	_, hi := a.mask.visible(t.positions[r1-1], a.keys)
	lo, hi = max(lo, t.keyLo, p)-p, min(hi, t.keyHi, p+c.blockLen)-p
	if lo >= hi {
		return
	}
	rows, dim := r1-r0, c.headDim
	k0 := lo / panel * panel
	n := roundUp(hi, panel) - k0
	s := t.scores[:rows*n]
	keys := blk.keys[(t.head*c.blockLen+k0)*dim:]
	kernel.Gemm(s, n, t.q[r0*dim:], dim, keys, rows, n, dim, false)
	if a.softcap != 0 {
		a.cap(s)
	}
	if a.slopes != nil {
		a.bias(s, n, t, p+k0, r0, r1)
	}
	a.hide(s, n, t, p+k0, r0, r1)
	out := t.out[r0*t.width:]
	kernel.OnlineSoftmax(s, n, out, t.width, t.max[r0:r1], t.sum[r0*kernel.SoftmaxLanes:], rows, n, t.width)
	from := t.head*dim - t.base // a multiple of panel
	for j := 0; j < t.width; j += panel {
		values := blk.values[(from+j)*c.blockLen+lo*panel:]
		kernel.Gemm(out[j:], t.width, s[lo-k0:], n, values, rows, panel, hi-lo, true)
	}
}

// cap bounds scores smoothly: c·tanh(s/c).
func (a *attend) cap(s []float32) {
	kernel.Scale(s, 1/a.softcap, s)
	kernel.Tanh(s, s)
	kernel.Scale(s, a.softcap, s)
}

// bias subtracts from scores the slope of the head times the distance.
func (a *attend) bias(s []float32, n int, t *tile, p, r0, r1 int) {
	group := a.group()
	for r := r0; r < r1; r++ {
		head := t.head*group + (t.firstRow+r)%group
		kernel.Axpy(a.slopes[head], a.ramp.from(t.positions[r]-p, n), s[(r-r0)*n:(r-r0+1)*n])
	}
}

var hidden = func() (h [maxBlockLen]float32) {
	for i := range h {
		h[i] = float32(math.Inf(-1))
	}
	return h
}()

// hide makes the scores of keys that a row does not see -Inf. s are the scores of the
// n keys from position p on.
func (a *attend) hide(s []float32, n int, t *tile, p, r0, r1 int) {
	for r := r0; r < r1; r++ {
		lo, hi := a.mask.visible(t.positions[r], a.keys)
		lo, hi = max(lo, t.keyLo)-p, min(hi, t.keyHi)-p
		if lo <= 0 && hi >= n {
			continue
		}
		row := s[(r-r0)*n : (r-r0+1)*n]
		lo = min(max(lo, 0), n)
		hi = min(max(hi, lo), n)
		copy(row[:lo], hidden[:])
		copy(row[hi:], hidden[:])
	}
}

// total adds the partial sums of row r.
func (t *tile) total(r int) float32 {
	var s float32
	for _, v := range t.sum[r*kernel.SoftmaxLanes : (r+1)*kernel.SoftmaxLanes] {
		s += v
	}
	return s
}

// finish writes the rows of t, or of done unless that is nil, divided by their sums. A
// query that has seen no key gives 0.
func (a *attend) finish(t *tile, done []float32) {
	dim := a.cache.headDim
	for r := range t.rows {
		out, sum := t.out[r*t.width+t.base:][:dim], float32(0)
		if done != nil {
			row := done[r*(dim+2):]
			out, sum = row[:dim], row[dim+1]
		} else {
			sum = t.total(r)
		}
		a.write(t.b, t.head, t.firstRow+r, out, sum)
	}
}

// write writes a row of a key head.
func (a *attend) write(b, head, row int, out []float32, sum float32) {
	group, dim := a.group(), a.cache.headDim
	dst := a.out.at(b, row/group, (head*group+row%group)*dim, dim)
	if sum == 0 {
		clear(dst)
		return
	}
	kernel.Scale(dst, 1/sum, out)
}

// partialLen is the length of what a segment leaves of a tile: for each row, the sum of
// values, the maximum and the sum of the softmax.
func partialLen(rows, headDim int) int { return rows * (headDim + 2) }

// save copies what a segment has left in t.
func (a *attend) save(dst []float32, t *tile) {
	dim := a.cache.headDim
	for r := range t.rows {
		row := dst[r*(dim+2) : (r+1)*(dim+2)]
		copy(row, t.out[r*t.width+t.base:][:dim])
		row[dim], row[dim+1] = t.max[r], t.total(r)
	}
}

// merge joins the segments of all tiles.
func (a *attend) merge() {
	c, group, dim := a.cache, a.group(), a.cache.headDim
	units := c.kvHeads * c.batch * a.tiles
	size := partialLen(min(tileRows, a.n*group), dim)
	for u := range units {
		b, head := u%(c.kvHeads*c.batch)/c.kvHeads, u%c.kvHeads
		firstRow := u / (c.kvHeads * c.batch) * tileRows
		for r := range min(tileRows, a.n*group-firstRow) {
			sum := a.partial[u*size+r*(dim+2):][:dim+2]
			for s := 1; s < a.split; s++ {
				next := a.partial[(s*units+u)*size+r*(dim+2):][:dim+2]
				mergeRow(sum, next[:dim], next[dim], next[dim+1])
			}
			a.write(b, head, firstRow+r, sum[:dim], sum[dim+1])
		}
	}
}

// mergeRow adds what a segment leaves of a row, the sum of values out, the maximum top
// and the sum l, to that of those before it. With the larger maximum m,
//
//	sum = e^(m1-m)·sum + e^(m2-m)·next
func mergeRow(sum, out []float32, top, l float32) {
	n := len(out)
	m := max(sum[n], top)
	old := float32(math.Exp(float64(sum[n] - m)))
	add := float32(math.Exp(float64(top - m)))
	kernel.Scale(sum[:n], old, sum[:n])
	kernel.Axpy(add, out, sum[:n])
	sum[n], sum[n+1] = m, old*sum[n+1]+add*l
}
