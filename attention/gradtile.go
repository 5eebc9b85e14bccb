package attention

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
)

// A gradTile holds what one core needs for the gradients of a tile of queries. Scores
// and their gradients have a row for each key: a row of them and one of a matrix of keys
// or values are the two sides of a product.
type gradTile struct {
	b, head, firstRow, rows int
	dk, dv                  rows // of all keys of the head

	q, dout             []float32 // scaled queries and the gradient of their results, headDim wide
	qCols, doutCols     []float32 // both in panels of 32 queries
	qRows, doutRows     []float32 // both in panels of 32 dimensions
	dq                  []float32
	offset, inner       []float32 // of each query: -lse, and -dout·out
	slopes              []float32
	kRows               []float32 // a block of keys in panels of 32 dimensions
	scores, bend        []float32 // of a strip
	dscores, transposed []float32 // of a block
}

var gradTiles = sync.Pool{New: func() any { return new(gradTile) }}

// tile computes the gradients of the queries of t, and adds theirs to those of the keys
// and values that they see.
func (g *gradient) tile(t *gradTile) {
	g.load(t)
	lo, _ := g.mask.visible(g.position(t, 0), g.keys)
	_, hi := g.mask.visible(g.position(t, t.rows-1), g.keys)
	for p := lo; p < hi; p += gradKeys {
		g.block(t, p, min(p+gradKeys, hi))
	}
	for r := range t.rows {
		dq := g.queryRow(g.dq, t, r)
		if g.seesOne(t, r) {
			clear(dq)
			continue
		}
		kernel.Scale(dq, g.dot.Scale, t.dq[r*g.headDim:(r+1)*g.headDim])
	}
}

// seesOne reports whether row r of t sees one key. Its weight is 1 then, whatever the
// query is, and no rounding may make a gradient of it.
func (g *gradient) seesOne(t *gradTile, r int) bool {
	lo, hi := g.mask.visible(g.position(t, r), g.keys)
	return hi-lo == 1
}

// position returns that of row r among the keys.
func (g *gradient) position(t *gradTile, r int) int {
	return g.keys - g.n + (t.firstRow+r)/g.group()
}

// queryRow returns row r of t in x, which is as wide as queries.
func (g *gradient) queryRow(x rows, t *gradTile, r int) []float32 {
	row := t.firstRow + r
	return x.at(t.b, row/g.group(), (t.head*g.group()+row%g.group())*g.headDim, g.headDim)
}

// load packs the queries of t and what is known of them.
func (g *gradient) load(t *gradTile) {
	n, dim := t.rows, g.headDim
	t.q, t.dout, t.dq = resize(t.q, n*dim), resize(t.dout, n*dim), resize(t.dq, n*dim)
	t.offset, t.inner, t.slopes = resize(t.offset, n), resize(t.inner, n), resize(t.slopes, n)
	clear(t.dq)
	for r := range n {
		q, dout := t.q[r*dim:(r+1)*dim], t.dout[r*dim:(r+1)*dim]
		kernel.Scale(q, g.dot.Scale, g.queryRow(g.q, t, r))
		copy(dout, g.queryRow(g.dout, t, r))
		t.inner[r] = -kernel.Dot(dout, g.queryRow(g.out, t, r))
		i, head := (t.firstRow+r)/g.group(), t.head*g.group()+(t.firstRow+r)%g.group()
		t.offset[r] = -g.lse.at(t.b, i, head, 1)[0]
		if g.dot.Slopes != nil {
			t.slopes[r] = g.dot.Slopes[head]
		}
	}
	t.qCols, t.doutCols = packColumns(t.qCols, t.q, n, dim), packColumns(t.doutCols, t.dout, n, dim)
	for r := range n {
		if g.seesOne(t, r) {
			clear(t.q[r*dim : (r+1)*dim])
		}
	}
	t.qRows, t.doutRows = packRows(t.qRows, t.q, dim, n, dim), packRows(t.doutRows, t.dout, dim, n, dim)
}

// packColumns packs n rows into panels in which neighbours belong to different rows.
func packColumns(panels, x []float32, n, dim int) []float32 {
	panels = resize(panels, kernel.PanelLen(n, dim))
	for i := 0; i < n; i += panel {
		kernel.PackKeys(panels[i*dim:], x[i*dim:], dim, 0, min(panel, n-i), dim)
	}
	return panels
}

// packRows packs n rows, stride apart, into panels in which neighbours belong to
// different dimensions.
func packRows(panels, x []float32, stride, n, dim int) []float32 {
	panels = resize(panels, kernel.PanelLen(dim, n))
	kernel.PackPanels(panels, x, dim, n, 1, stride)
	return panels
}

// block goes through keys p0 to p1-1.
func (g *gradient) block(t *gradTile, p0, p1 int) {
	n, dim, keys := t.rows, g.headDim, p1-p0
	t.kRows = packRows(t.kRows, g.k.from(t.b, p0, t.head*dim), g.k.position, keys, dim)
	t.dscores, t.transposed = resize(t.dscores, keys*n), resize(t.transposed, keys*n)
	strips := (keys + stripRows - 1) / stripRows // of about the same height
	for s := range strips {
		g.strip(t, p0, p0+s*keys/strips, p0+(s+1)*keys/strips)
	}
	kernel.Transpose(t.transposed, keys, t.dscores, n, keys, n)
	strips = (n + stripRows - 1) / stripRows
	for s := range strips {
		r0, r1 := s*n/strips, (s+1)*n/strips
		lo, _ := g.mask.visible(g.position(t, r0), g.keys)
		_, hi := g.mask.visible(g.position(t, r1-1), g.keys)
		lo, hi = max(lo, p0)-p0, min(hi, p1)-p0
		if lo < hi {
			addProduct(t.dq[r0*dim:], dim, t.transposed[r0*keys+lo:], keys, t.kRows[lo*panel:], keys, r1-r0, dim, hi-lo)
		}
	}
}

// addProduct adds the product of an m×k matrix a and k rows, which begin in panels of
// room rows, to the m×n matrix c.
func addProduct(c []float32, ldc int, a []float32, lda int, panels []float32, room, m, n, k int) {
	for j := 0; j < n; j += panel {
		kernel.Gemm(c[j:], ldc, a, lda, panels[j*room:], m, min(panel, n-j), k, true)
	}
}

// strip computes the gradients of the scores of keys j0 to j1-1, of the block from p0
// on, and adds to those of keys and values.
func (g *gradient) strip(t *gradTile, p0, j0, j1 int) {
	n, dim, first := t.rows, g.headDim, t.head*g.headDim
	lo, _ := g.seenBy(t, j0)
	_, hi := g.seenBy(t, j1-1)
	lo = lo / panel * panel
	m, cols := j1-j0, hi-lo
	ds := t.dscores[(j0-p0)*n : (j1-p0)*n]
	if cols <= 0 {
		clear(ds)
		return
	}
	g.weights(t, j0, j1, lo, hi)
	for j := range m {
		row := ds[j*n : (j+1)*n]
		clear(row[:lo])
		copy(row[lo:hi], t.inner[lo:hi])
		clear(row[hi:])
	}
	kernel.Gemm(ds[lo:], n, g.v.from(t.b, j0, first), g.v.position, t.doutCols[lo*dim:], m, cols, dim, true)
	for j := range m {
		row := ds[j*n+lo : j*n+hi]
		kernel.Mul(row, row, t.scores[j*cols:(j+1)*cols])
		if g.dot.Softcap != 0 {
			kernel.Mul(row, row, t.bend[j*cols:(j+1)*cols])
		}
	}
	addProduct(t.dv.from(0, j0, 0), t.dv.position, t.scores, cols, t.doutRows[lo*panel:], n, m, dim, cols)
	addProduct(t.dk.from(0, j0, 0), t.dk.position, ds[lo:], n, t.qRows[lo*panel:], n, m, dim, cols)
}

// seenBy returns the rows lo to hi-1 of t that see key j.
func (g *gradient) seenBy(t *gradTile, j int) (lo, hi int) {
	row := func(position int) int {
		return min(max((position-(g.keys-g.n))*g.group()-t.firstRow, 0), t.rows)
	}
	lo, hi = 0, t.rows
	if g.mask.right >= 0 {
		lo = row(j - g.mask.right)
	}
	if g.mask.left >= 0 {
		hi = row(j + g.mask.left + 1)
	}
	return lo, hi
}

// weights computes those of keys j0 to j1-1 for rows lo to hi-1 and, with a softcap, the
// slope of scores.
func (g *gradient) weights(t *gradTile, j0, j1, lo, hi int) {
	dim, m, cols := g.headDim, j1-j0, hi-lo
	t.scores = resize(t.scores, m*cols)
	s := t.scores
	keys := g.k.from(t.b, j0, t.head*dim)
	if g.dot.Softcap != 0 {
		kernel.Gemm(s, cols, keys, g.k.position, t.qCols[lo*dim:], m, cols, dim, false)
		g.cap(t)
		for j := range m {
			row := s[j*cols : (j+1)*cols]
			kernel.Add(row, row, t.offset[lo:hi])
			g.bias(t, row, j0+j, lo)
		}
	} else {
		for j := range m {
			row := s[j*cols : (j+1)*cols]
			copy(row, t.offset[lo:hi])
			g.bias(t, row, j0+j, lo)
		}
		kernel.Gemm(s, cols, keys, g.k.position, t.qCols[lo*dim:], m, cols, dim, true)
	}
	kernel.Exp(s, s)
	for j := range m {
		first, end := g.seenBy(t, j0+j)
		first, end = min(max(first, lo), hi), max(min(end, hi), lo)
		row := s[j*cols : (j+1)*cols]
		clear(row[:first-lo])
		clear(row[max(end, first)-lo:])
	}
}

// cap bounds the scores of a strip, as attend.cap does, and keeps the slope of that.
func (g *gradient) cap(t *gradTile) {
	s := t.scores
	t.bend = resize(t.bend, len(s))
	kernel.Scale(s, 1/g.dot.Softcap, s)
	kernel.Tanh(s, s)
	for i, v := range s {
		t.bend[i] = 1 - v*v
	}
	kernel.Scale(s, g.dot.Softcap, s)
}

// bias subtracts from the scores of key j for the rows from lo on the slope of the head
// times the distance.
func (g *gradient) bias(t *gradTile, s []float32, j, lo int) {
	if g.dot.Slopes == nil {
		return
	}
	for i := range s {
		p := g.position(t, lo+i)
		s[i] -= t.slopes[lo+i] * float32(max(p-j, j-p))
	}
}
