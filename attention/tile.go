package attention

import (
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
)

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
		values := blk.values[(from+j)*c.blockLen:]
		if a.safe(t, values, p, lo, hi, r0, r1) {
			kernel.Gemm(out[j:], t.width, s[lo-k0:], n, values[lo*panel:], rows, panel, hi-lo, true)
			continue
		}
		for r := range rows {
			lo, hi := a.within(t, p, lo, hi, r0+r)
			if lo < hi {
				kernel.Gemm(out[r*t.width+j:], t.width, s[r*n+lo-k0:], n, values[lo*panel:], 1, panel, hi-lo, true)
			}
		}
	}
}

// within returns which keys from lo to hi-1 of the block at position p row r sees.
func (a *attend) within(t *tile, p, lo, hi, r int) (from, to int) {
	from, to = a.mask.visible(t.positions[r], a.keys)
	return max(from-p, lo), min(to-p, hi)
}

// safe reports whether a panel of values can be multiplied by the weights of rows r0 to
// r1-1 as a whole: what some rows do not see has the weight 0 and must be finite then.
// Rows see more and more of the last keys, and less and less of the first.
func (a *attend) safe(t *tile, values []float32, p, lo, hi, r0, r1 int) bool {
	_, end := a.within(t, p, lo, hi, r0)
	first, _ := a.within(t, p, lo, hi, r1-1)
	end, first = max(end, lo), min(first, hi)
	return kernel.AllFinite(values[end*panel:hi*panel]) && kernel.AllFinite(values[lo*panel:first*panel])
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
		if done != nil {
			row := done[r*(dim+2):]
			a.write(t.b, t.head, t.firstRow+r, row[:dim], row[dim], row[dim+1])
		} else {
			a.write(t.b, t.head, t.firstRow+r, t.out[r*t.width+t.base:][:dim], t.max[r], t.total(r))
		}
	}
}

// write writes a row of a key head, of which the largest score is top and sum the
// denominator after that was subtracted.
func (a *attend) write(b, head, row int, out []float32, top, sum float32) {
	group, dim := a.group(), a.cache.headDim
	i, h := row/group, head*group+row%group
	dst := a.out.at(b, i, h*dim, dim)
	if a.lse.data != nil {
		a.lse.at(b, i, h, 1)[0] = float32(float64(top) + math.Log(float64(sum)))
	}
	if sum == 0 {
		clear(dst)
		return
	}
	kernel.Scale(dst, 1/sum, out)
}
