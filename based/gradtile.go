package based

import "github.com/seqmix/seqmix/internal/kernel"

const (
	// Within a chunk, so many queries are packed once and meet the keys before them in
	// blocks.
	gradRows = 128
	gradKeys = 96
)

// A gradTile is a tile of queries r0 to r0+rows-1 of a chunk. Scores and their gradients
// have a row for each key.
type gradTile struct {
	r0, rows            int
	qCols, dnCols       []float32 // factors and gradients of sums in panels of 32 queries
	qRows, dnRows       []float32 // both in panels of 32 dimensions
	kRows               []float32 // a block of keys in panels of 32 dimensions
	weights             []float32 // of a strip
	dscores, transposed []float32 // of a block
}

// within adds what the queries and keys of a chunk contribute to one another's gradients.
func (w *gradWorker) within() {
	t := &w.tile
	for t.r0 = 0; t.r0 < w.n; t.r0 += gradRows {
		t.rows = min(gradRows, w.n-t.r0)
		q, dn := w.rowsQ[t.r0*w.width:], w.dn[t.r0*w.d:]
		t.qCols, t.dnCols = packColumns(t.qCols, q, w.width, t.rows, w.width), packColumns(t.dnCols, dn, w.d, t.rows, w.d)
		t.qRows, t.dnRows = packRows(t.qRows, q, w.width, t.rows, w.width), packRows(t.dnRows, dn, w.d, t.rows, w.d)
		end := t.r0 + t.rows
		for p := 0; p < end; p += gradKeys {
			w.block(t, p, min(p+gradKeys, end))
		}
	}
}

// packColumns packs n rows of dim elements, stride apart, into panels in which neighbours
// belong to different rows.
func packColumns(panels, x []float32, stride, n, dim int) []float32 {
	panels = resize(panels, kernel.PanelLen(n, dim))
	for i := 0; i < n; i += panel {
		kernel.PackKeys(panels[i*dim:], x[i*stride:], stride, 0, min(panel, n-i), dim)
	}
	return panels
}

// packRows packs n rows of dim elements, stride apart, into panels in which neighbours
// belong to different dimensions.
func packRows(panels, x []float32, stride, n, dim int) []float32 {
	panels = resize(panels, kernel.PanelLen(dim, n))
	kernel.PackPanels(panels, x, dim, n, 1, stride)
	return panels
}

// block goes through keys p0 to p1-1.
func (w *gradWorker) block(t *gradTile, p0, p1 int) {
	keys := p1 - p0
	t.kRows = packRows(t.kRows, w.rowsK[p0*w.width:], w.width, keys, w.width)
	t.dscores, t.transposed = resize(t.dscores, keys*t.rows), resize(t.transposed, keys*t.rows)
	strips := (keys + stripRows - 1) / stripRows // of about the same height
	for s := range strips {
		w.gradStrip(t, p0, p0+s*keys/strips, p0+(s+1)*keys/strips)
	}
	kernel.Transpose(t.transposed, keys, t.dscores, t.rows, keys, t.rows)
	strips = (t.rows + stripRows - 1) / stripRows
	for s := range strips {
		i0, i1 := s*t.rows/strips, (s+1)*t.rows/strips
		if seen := min(t.r0+i1, p1) - p0; seen > 0 {
			addProduct(w.rowsDQ[(t.r0+i0)*w.width:], w.width, t.transposed[i0*keys:], keys, t.kRows, keys, i1-i0, w.width, seen)
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

// gradStrip computes the gradients of the scores of keys j0 to j1-1, of the block from p0
// on, and adds to those of keys and values.
func (w *gradWorker) gradStrip(t *gradTile, p0, j0, j1 int) {
	lo := max(j0-t.r0, 0) / panel * panel
	m, cols := j1-j0, t.rows-lo
	t.weights = resize(t.weights, m*cols)
	kernel.Gemm(t.weights, cols, w.rowsK[j0*w.width:], w.width, t.qCols[lo*w.width:], m, cols, w.width, false)
	ds := t.dscores[(j0-p0)*t.rows : (j1-p0)*t.rows]
	if lo > 0 {
		for j := range m {
			clear(ds[j*t.rows : j*t.rows+lo])
		}
	}
	kernel.ScaleRows(ds[lo:], t.rows, w.dz[t.r0+lo:], 0, ones[:m], cols)
	v := rowsFrom(w.v, w.b, w.first+j0, m, w.head, w.d)
	kernel.Gemm(ds[lo:], t.rows, v.Data, v.Stride, t.dnCols[lo*w.d:], m, cols, w.d, true)
	if w.taylor {
		kernel.TaylorWeightsGrad(t.weights, cols, ds[lo:], t.rows, m, cols)
	}
	for j := range m {
		hidden := max(j0+j-t.r0-lo, 0)
		clear(t.weights[j*cols : j*cols+hidden])
		clear(ds[j*t.rows+lo : j*t.rows+lo+hidden])
	}
	addProduct(w.dV[j0*w.d:], w.d, t.weights, cols, t.dnRows[lo*panel:], t.rows, m, w.d, cols)
	addProduct(w.rowsDK[j0*w.width:], w.width, ds[lo:], t.rows, t.qRows[lo*panel:], t.rows, m, w.width, cols)
}
