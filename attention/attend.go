package attention

import "github.com/seqmix/seqmix/internal/par"

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
	lse   rows // see operands
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
