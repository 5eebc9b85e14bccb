package based

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// gradient computes the gradients of linear attention. For a query i and a key j ≤ i,
// with the weight w = φ(q)·φ(k) and the sum z of those of a query,
//
//	dn[i] = dout[i]/z[i]    dz[i] = -dout[i]·out[i]/z[i]    dw = dn[i]·v[j] + dz[i]
//	dφ(q[i]) += dw·φ(k[j])  dφ(k[j]) += dw·φ(q[i])          dv[j] += w·dn[i]
//
// Without normalisation z is 1 and dz is 0.
//
// As in [Attention], positions are divided into chunks. Within a chunk the sums are taken
// as they stand, and for [Taylor] no features are needed: with s = q·k/√f, w is
// 1 + s + s²/2 and ds = (1 + s)·dw is the gradient of s. What lies between chunks goes
// through two sums of fixed size: S = Σ φ(k)·vᵀ over the chunks before, computed once
// more in order, for dφ(q); and R = Σ φ(q)·dnᵀ over those after, computed from the last
// chunk to the first, for dφ(k) and dv. So memory does not grow with the number of
// features times that of positions.
type gradient struct {
	attention Attention
	taylor    bool
	f, d      int // width of queries and keys, and of values, of a head
	features  int
	width     int     // of what scores are products of: f for Taylor, else features
	scale     float32 // that queries and keys are multiplied by before
	chunk     int

	q, k, v, out, dout tensor.Seq
	inverse            tensor.Seq // 1/z of each head

	// Of queries and keys for Taylor, and else of their features.
	dq, dk, dv tensor.Seq

	position int       // of the first query
	sums     *sumGrads // of a segment
}

// gradChunk is the length of chunks of sequences that are not one chunk.
const gradChunk = chunkLen

func (g *gradient) run() {
	g.width, g.scale = g.features, 1
	if g.taylor {
		g.width, g.scale = g.f, taylorScale(g.f)
	}
	g.chunk = max(g.q.Len, 1)
	if g.q.Len > quadraticLen {
		g.chunk = gradChunk
	}
	pairs := min(g.q.Len, g.chunk) / 2
	work := g.q.Len * (pairs*(3*g.width+2*g.d) + 1)
	par.Do(g.q.Batch*g.attention.Heads, attendGrain/max(work, 1)+1, g)
}

// Run computes heads lo to hi-1, counted through the batch.
func (g *gradient) Run(lo, hi int) {
	w := gradWorkers.Get().(*gradWorker)
	w.gradient = g
	for u := lo; u < hi; u++ {
		w.b, w.head = u/g.attention.Heads, u%g.attention.Heads
		w.forth()
		if g.chunk < g.q.Len || g.sums != nil {
			w.back()
		}
	}
	w.gradient = nil
	gradWorkers.Put(w)
}

// gradWorker is what one core needs for the gradients of a head.
type gradWorker struct {
	*gradient
	b, head  int
	first, n int // the chunk

	// Of the chunk, as rows: what scores are products of, gradients of sums and of
	// scores' factors.
	rowsQ, rowsK, dn   []float32
	dz                 []float32
	rowsDQ, rowsDK, dV []float32

	inverse, scales []float32 // 1/z, and scale for each row
	products        []float32 // see dots

	tile gradTile
	sums gradSums
}

var gradWorkers = sync.Pool{New: func() any { return new(gradWorker) }}

// forth goes through the chunks in order. It computes the gradient of queries, and what
// chunks add to those of their own keys and values.
func (w *gradWorker) forth() {
	begun := false
	switch {
	case w.gradient.sums != nil:
		w.sums.set(w, w.gradient.sums.first, w.unit())
		begun = w.gradient.sums.first != nil
	case w.chunk < w.q.Len:
		w.sums.reset(w)
	}
	for w.first = 0; w.first < w.q.Len; w.first += w.chunk {
		w.load()
		w.within()
		if w.first > 0 || begun {
			w.addFromSums(w.rowsDQ, w.rowsQ, w.dn, w.d, w.dz, nil)
		}
		w.store(w.dq, w.rowsDQ, w.width, w.scales, false)
		w.store(w.dk, w.rowsDK, w.width, w.scales, false)
		w.store(w.dv, w.dV, w.d, ones[:w.n], false)
		if w.first+w.n < w.q.Len {
			v := rowsFrom(w.v, w.b, w.first, w.n, w.head, w.d)
			w.addToSums(w.rowsK, v.Data, v.Stride, nil)
		}
	}
}

// back goes through the chunks from the last to the first, and adds to the gradients of
// keys and values what comes from the chunks after.
func (w *gradWorker) back() {
	behind := false
	if w.gradient.sums != nil {
		w.sums.set(w, w.gradient.sums.dlast, w.unit())
		behind = w.gradient.sums.dlast != nil
	} else {
		w.sums.reset(w)
	}
	last := (w.q.Len - 1) / w.chunk * w.chunk
	for w.first = last; w.first >= 0 && w.q.Len > 0; w.first -= w.chunk {
		w.loadBack()
		if w.first < last || behind {
			clear(w.rowsDK)
			v := rowsFrom(w.v, w.b, w.first, w.n, w.head, w.d)
			w.addFromSums(w.rowsDK, w.rowsK, v.Data, v.Stride, nil, w.dV)
			w.store(w.dk, w.rowsDK, w.width, w.scales, true)
			w.store(w.dv, w.dV, w.d, ones[:w.n], true)
		}
		w.addToSums(w.rowsQ, w.dn, w.d, w.dz)
	}
	if w.gradient.sums != nil {
		w.sums.get(w, w.gradient.sums.dfirst, w.unit())
	}
}

// unit returns the number of the head, counted through the batch.
func (w *gradWorker) unit() int { return w.b*w.attention.Heads + w.head }

// load reads a chunk and clears the gradients.
func (w *gradWorker) load() {
	w.loadBack()
	clear(w.rowsDQ)
	clear(w.rowsDK)
	clear(w.dV)
}

// loadBack reads a chunk and leaves the gradients as they are.
func (w *gradWorker) loadBack() {
	w.n = min(w.chunk, w.q.Len-w.first)
	w.scales = resize(w.scales, w.n)
	for i := range w.scales {
		w.scales[i] = w.scale
	}
	w.rowsQ, w.rowsK = w.factors(w.rowsQ, w.q), w.factors(w.rowsK, w.k)
	w.rowsDQ, w.rowsDK = resize(w.rowsDQ, w.n*w.width), resize(w.rowsDK, w.n*w.width)
	w.dn, w.dV, w.dz = resize(w.dn, w.n*w.d), resize(w.dV, w.n*w.d), resize(w.dz, w.n)
	dout := rowsFrom(w.dout, w.b, w.first, w.n, w.head, w.d)
	if w.attention.Unnormalized {
		kernel.ScaleRows(w.dn, w.d, dout.Data, dout.Stride, ones[:w.n], w.d)
		clear(w.dz)
		return
	}
	inverse := rowsFrom(w.gradient.inverse, w.b, w.first, w.n, w.head, 1)
	w.inverse = resize(w.inverse, w.n)
	for i := range w.inverse {
		w.inverse[i] = inverse.Data[i*inverse.Stride]
	}
	kernel.ScaleRows(w.dn, w.d, dout.Data, dout.Stride, w.inverse, w.d)
	w.dots(w.dz, w.dn, rowsFrom(w.out, w.b, w.first, w.n, w.head, w.d))
	kernel.Scale(w.dz, -1, w.dz)
}

// dots computes the products of the rows of x, which lie one after the other, with those
// of y.
func (w *gradWorker) dots(dst, x []float32, y tensor.Mat) {
	if y.Cols > len(ones) {
		for i := range dst {
			dst[i] = kernel.Dot(x[i*y.Cols:(i+1)*y.Cols], y.Row(i))
		}
		return
	}
	w.products = resize(w.products, len(x))
	if y.Stride == y.Cols {
		kernel.Mul(w.products, x, y.Data[:len(x)])
	} else {
		for i := range dst {
			row := w.products[i*y.Cols : (i+1)*y.Cols]
			kernel.Mul(row, x[i*y.Cols:(i+1)*y.Cols], y.Row(i))
		}
	}
	kernel.RowDots(dst, w.products, y.Cols, ones[:y.Cols], len(dst), false)
}

// factors writes what scores are products of to dst.
func (w *gradWorker) factors(dst []float32, x tensor.Seq) []float32 {
	dst = resize(dst, w.n*w.width)
	rows := rowsFrom(x, w.b, w.first, w.n, w.head, w.f)
	if w.taylor {
		kernel.ScaleRows(dst, w.width, rows.Data, rows.Stride, w.scales, w.f)
		return dst
	}
	for i := range w.n {
		w.attention.Map.Map(dst[i*w.width:(i+1)*w.width], rows.Row(i), w.position+w.first+i)
	}
	return dst
}

// store writes the gradients of a chunk, each times its factor, or adds them.
func (w *gradWorker) store(dst tensor.Seq, src []float32, width int, factors []float32, add bool) {
	to := rowsFrom(dst, w.b, w.first, w.n, w.head, width)
	if !add {
		kernel.ScaleRows(to.Data, to.Stride, src, width, factors, width)
		return
	}
	for i := range w.n {
		kernel.Axpy(factors[i], src[i*width:(i+1)*width], to.Row(i))
	}
}
