package attention

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
)

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
			a.write(b, head, firstRow+r, sum[:dim], sum[dim], sum[dim+1])
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
