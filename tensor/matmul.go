package tensor

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/pages"
	"github.com/seqmix/seqmix/internal/par"
)

// parallelWork is the number of multiply-adds from which a product is worth
// splitting: some 5 µs on one core.
const parallelWork = 150_000

// parallelRow is parallelWork for a single row, whose time is that of reading weights.
const parallelRow = 40_000

// rowGrain is the unit in which the rows of a product are split over cores. It is
// the height of the tallest tile of the kernels.
const rowGrain = 12

// MatMulT computes dst = src · wᵀ: with w of shape (n, k), src m×k and dst m×n,
//
//	dst[i][j] = Σ_p src[i][p] · w[j][p]
//
// which is what a linear layer does with its weight. dst must not overlap src. A
// packed w is read in place; of one that is not, panels are packed on the way, at
// the cost of one more pass over it. The bits of the result are the same in both
// cases and depend neither on m nor on the number of cores. It panics with a
// *[ShapeError] if the shapes do not fit.
func MatMulT(dst, src Mat, w *Tensor) { matMulT("tensor.MatMulT", dst, src, w, nil, false) }

// MatMulTAdd is MatMulT with the product added to dst.
func MatMulTAdd(dst, src Mat, w *Tensor) { matMulT("tensor.MatMulTAdd", dst, src, w, nil, true) }

// matMulT computes dst (+)= src · wᵀ + bias; bias may be nil.
func matMulT(op string, dst, src Mat, w *Tensor, bias []float32, add bool) {
	n, k := w.rowsCols()
	multiply(op, product{dst: dst, src: src, w: w, bias: bias, n: n, k: k, add: add})
}

// multiply checks a product and computes it.
func multiply(op string, of product) {
	checkMat(op, of.src, of.src.Rows, of.k)
	checkDst(op, of.dst, of.src.Rows, of.n)
	p := products.Get().(*product)
	*p = of
	p.run()
	*p = product{}
	products.Put(p)
}

// Linear computes dst = src · wᵀ + bias at every position: src has width k, dst
// width n, w shape (n, k) and bias, unless nil, n elements. See [MatMulT].
func Linear(dst, src Seq, w *Tensor, bias []float32) {
	n, k := w.rowsCols()
	CheckSeq("tensor.Linear", src, -1, -1, k)
	CheckSeq("tensor.Linear", dst, src.Batch, src.Len, n)
	if bias != nil && len(bias) != n {
		panic(&ShapeError{"tensor.Linear", []int{len(bias)}, []int{n}})
	}
	d, ok := dst.rows()
	x, ok2 := src.rows()
	if ok && ok2 {
		matMulT("tensor.Linear", d, x, w, bias, false)
		return
	}
	for b := range src.Batch {
		matMulT("tensor.Linear", dst.Sequence(b).Mat(), src.Sequence(b).Mat(), w, bias, false)
	}
}

// product is one matrix product, split over cores by the panels of the weights
// or, where these are few, by rows.
type product struct {
	dst, src Mat
	w        *Tensor
	bias     []float32
	first    int // row of w
	n, k     int
	add      bool
	byRows   bool
	split    []byte // the rows of src, if the weights are integers
}

var products = sync.Pool{New: func() any { return new(product) }}

func (p *product) run() {
	if !p.w.integers() || p.k == 0 || p.split != nil {
		p.divide()
		return
	}
	dst, src := p.dst, p.src
	b := splitBuffers.Get().(*bytesBuffer)
	for i := 0; i < src.Rows; i += splitRows {
		end := min(i+splitRows, src.Rows)
		p.dst, p.src = dst.SliceRows(i, end), src.SliceRows(i, end)
		p.splitInto(b)
		p.divide()
	}
	splitBuffers.Put(b)
}

// integers reports whether the elements are integers times scales.
func (t *Tensor) integers() bool { return t.dtype == Int8 || t.dtype == Int4 }

// splitRows is how many rows are split at a time, and splitWork the number of elements
// from which that is worth dividing: some 5 µs on one core.
const (
	splitRows = 1024
	splitWork = 16_000
)

// splitInto splits the rows of src.
func (p *product) splitInto(b *bytesBuffer) {
	p.split = b.take(kernel.SplitLen(p.src.Rows, p.k))
	par.Do(p.src.Rows, splitWork/p.k+1, (*splitter)(p))
}

// splitter is the part of a product with weights that are integers which splits rows.
type splitter product

// Run splits rows lo to hi-1.
func (p *splitter) Run(lo, hi int) {
	kernel.SplitRows(p.split[kernel.SplitLen(lo, p.k):], p.src.Data[lo*p.src.Stride:], p.src.Stride, hi-lo, p.k)
}

// divide computes the product on all cores.
func (p *product) divide() {
	panels := (p.n + kernel.PanelWidth - 1) / kernel.PanelWidth
	perPanel := p.src.Rows * p.k * kernel.PanelWidth
	p.byRows = panels < 8 && p.src.Rows >= 4*rowGrain
	switch {
	case p.src.Rows == 0 || p.n == 0:
	case p.byRows:
		perRow := p.n * p.k
		grain := (parallelWork/max(perRow, 1)/rowGrain + 1) * rowGrain
		par.Do(p.src.Rows, grain, p)
	default:
		work := parallelWork
		if p.src.Rows == 1 {
			work = parallelRow
		}
		par.Do(panels, work/max(perPanel, 1)+1, p)
	}
}

// Run computes the rows or the panels lo to hi-1 of the product.
func (p *product) Run(lo, hi int) {
	i0, i1, j0, j1 := lo, hi, 0, p.n
	if !p.byRows {
		i0, i1, j0, j1 = 0, p.src.Rows, lo*kernel.PanelWidth, min(hi*kernel.PanelWidth, p.n)
	}
	if p.k > 0 {
		p.part(i0, i1, j0, j1)
	} else if !p.add {
		clearRows(p.dst.SliceRows(i0, i1).Slice(j0, j1))
	}
	if p.bias == nil {
		return
	}
	for i := i0; i < i1; i++ {
		row := p.dst.Row(i)[j0:j1]
		kernel.Add(row, row, p.bias[j0:j1])
	}
}

// clearRows makes the elements of m the sums of nothing.
func clearRows(m Mat) {
	for i := range m.Rows {
		clear(m.Row(i))
	}
}

// part computes rows i0 to i1-1 and columns j0 to j1-1 of dst; j0 is the first
// column of a panel.
func (p *product) part(i0, i1, j0, j1 int) {
	c := p.dst.Data[i0*p.dst.Stride+j0:]
	a := p.src.Data[i0*p.src.Stride:]
	m, n := i1-i0, j1-j0
	w := p.w
	j0, j1 = j0+p.first, j1+p.first
	switch {
	case w.integers():
		p.partIntegers(c, i0, i1, j0, j1)
	case !w.packed:
		p.partUnpacked(c, a, m, j0, j1)
	case w.Compacted():
		s := takeBuffer(kernel.GemmScratchLen(p.k))
		w.store.compact.Gemm(c, p.dst.Stride, a, p.src.Stride, j0, m, n, s.data, p.add)
		buffers.Put(s)
	case w.dtype == Float32:
		kernel.Gemm(c, p.dst.Stride, a, p.src.Stride, w.store.f32[kernel.PanelLen(j0, p.k):], m, n, p.k, p.add)
	case w.dtype == BFloat16:
		s := takeBuffer(kernel.GemmScratchLen(p.k))
		kernel.GemmBF16(c, p.dst.Stride, a, p.src.Stride, w.store.u16[kernel.BF16PanelLen(j0, p.k):], m, n, p.k, s.data, p.add)
		buffers.Put(s)
	}
}

// partIntegers is part for weights that are integers times scales.
func (p *product) partIntegers(c []float32, i0, i1, j0, j1 int) {
	x, m := p.split[kernel.SplitLen(i0, p.k):], i1-i0
	s := panelBuffers.Get().(*bytesBuffer)
	scratch := s.take(p.scratchLen(m))
	for j := j0; j < j1; j += packedAtOnce {
		n := min(packedAtOnce, j1-j)
		panels, rest := p.w.integerPanels(j, n, scratch)
		if p.w.dtype == Int8 {
			kernel.GemmQ8(c[j-j0:], p.dst.Stride, x, panels, m, n, p.k, p.add)
		} else {
			kernel.GemmQ4(c[j-j0:], p.dst.Stride, x, panels, m, n, p.k, rest, p.add)
		}
	}
	panelBuffers.Put(s)
}

// scratchLen returns the number of bytes that partIntegers needs.
func (p *product) scratchLen(m int) (n int) {
	if p.w.dtype == Int4 && m > 1 {
		n = kernel.GemmQ4ScratchLen(p.k)
	}
	switch {
	case p.w.packed:
	case p.w.dtype == Int8:
		n += kernel.Q8PanelLen(packedAtOnce, p.k)
	default:
		n += kernel.Q4PanelLen(packedAtOnce, p.k)
	}
	return n
}

// integerPanels returns the panels of n rows from the given one on, which are packed in
// scratch if they are not yet, and what is left of scratch.
func (t *Tensor) integerPanels(from, n int, scratch []byte) (panels, rest []byte) {
	s, k := &t.store, t.Dim(-1)
	blocks := quantBlocks(k)
	switch {
	case t.packed && t.dtype == Int8:
		return s.panels[kernel.Q8PanelLen(from, k):], scratch
	case t.packed:
		return s.panels[kernel.Q4PanelLen(from, k):], scratch
	case t.dtype == Int8:
		panels = scratch[:kernel.Q8PanelLen(n, k)]
		kernel.PackQ8Panels(panels, s.q8[from*k:(from+n)*k], s.u16[from*blocks:], n, k)
	default:
		panels = scratch[:kernel.Q4PanelLen(n, k)]
		kernel.PackQ4Panels(panels, s.q4[from*kernel.Q4RowLen(k):], s.u16[from*blocks:], n, k)
	}
	return panels, scratch[len(panels):]
}

// bytesBuffer is temporary memory of products with weights that are integers.
type bytesBuffer struct{ data []byte }

func (b *bytesBuffer) take(n int) []byte {
	if cap(b.data) < n {
		b.data = make([]byte, n)
	}
	return b.data[:n]
}

// Rows that all cores read, and panels of one core.
var (
	splitBuffers = sync.Pool{New: func() any { return new(bytesBuffer) }}
	panelBuffers = sync.Pool{New: func() any { return new(bytesBuffer) }}
)

// packedAtOnce is how many rows of an unpacked weight matrix are packed at a time:
// few enough that their panels are still in the cache when they are multiplied.
const packedAtOnce = 4 * kernel.PanelWidth

// partUnpacked is part for a weight matrix in row-major order.
func (p *product) partUnpacked(c, a []float32, m, j0, j1 int) {
	s := takeBuffer(kernel.PanelLen(packedAtOnce, p.k) + packedAtOnce*p.k)
	panels, rows := s.data[:kernel.PanelLen(packedAtOnce, p.k)], s.data[kernel.PanelLen(packedAtOnce, p.k):]
	for j := j0; j < j1; j += packedAtOnce {
		n := min(packedAtOnce, j1-j)
		src := rows[:n*p.k]
		if p.w.dtype == Float32 {
			src = p.w.memory().f32[j*p.k : (j+n)*p.k]
		} else {
			for i := range n {
				p.w.Row(src[i*p.k:(i+1)*p.k], j+i)
			}
		}
		dst := panels[:kernel.PanelLen(n, p.k)]
		kernel.PackPanels(dst, src, n, p.k, p.k, 1)
		kernel.Gemm(c[j-j0:], p.dst.Stride, a, p.src.Stride, dst, m, n, p.k, p.add)
	}
	buffers.Put(s)
}

// buffer is temporary memory for the part of a product that one core computes.
type buffer struct{ data []float32 }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer(n int) *buffer {
	b := buffers.Get().(*buffer)
	if len(b.data) < n {
		b.data = pages.Temporary[float32](n)
	}
	return b
}

// MatMul computes dst = src · w: with w of shape (n, k), src m×n and dst m×k,
//
//	dst[i][p] = Σ_j src[i][j] · w[j][p]
//
// the gradient of a linear layer's input. dst must not overlap src. It panics with
// a *[ShapeError] if the shapes do not fit.
func MatMul(dst, src Mat, w *Tensor) { matMul("tensor.MatMul", dst, src, w, false) }

// MatMulAdd is MatMul with the product added to dst.
func MatMulAdd(dst, src Mat, w *Tensor) { matMul("tensor.MatMulAdd", dst, src, w, true) }

func matMul(op string, dst, src Mat, w *Tensor, add bool) {
	n, k := w.rowsCols()
	checkMat(op, src, src.Rows, n)
	checkDst(op, dst, src.Rows, k)
	g := &general{c: dst, a: src, n: k, k: n, b: w.Float32s(), rowStride: 1, colStride: k, add: add}
	g.run()
}

// MatMulTN adds the product dyᵀ · x to dst: with dy m×n, x m×k and dst n×k,
//
//	dst[j][p] += Σ_i dy[i][j] · x[i][p]
//
// the gradient of a linear layer's weight. dst must not overlap the others. It
// panics with a *[ShapeError] if the shapes do not fit.
func MatMulTN(dst, dy, x Mat) {
	checkMat("tensor.MatMulTN", x, dy.Rows, x.Cols)
	checkDst("tensor.MatMulTN", dst, dy.Cols, x.Cols)
	t := takeBuffer(min(dy.Rows, sumRows) * dy.Cols)
	for i := 0; i < dy.Rows; i += sumRows {
		end := min(i+sumRows, dy.Rows)
		d, x, n := dy.SliceRows(i, end), x.SliceRows(i, end), end-i
		a := MatOf(t.data[:n*d.Cols], d.Cols, n)
		kernel.Transpose(a.Data, n, d.Data, d.Stride, n, d.Cols)
		g := &general{c: dst, a: a, n: x.Cols, k: n, b: x.Data, rowStride: 1, colStride: x.Stride, add: true}
		g.run()
	}
	buffers.Put(t)
}

// sumRows is how many rows of dy and x are multiplied at a time: few enough that their
// transpose and panels stay in the cache.
const sumRows = 512

// general is the product c (+)= a · bᵀ with an n×k matrix b in any order, packed on
// the way.
type general struct {
	c, a                 Mat
	b                    []float32
	n, k                 int
	rowStride, colStride int
	add                  bool
}

func (g *general) run() {
	panels := (g.n + kernel.PanelWidth - 1) / kernel.PanelWidth
	if g.k == 0 && !g.add {
		clearRows(g.c)
	}
	if g.a.Rows == 0 || panels == 0 || g.k == 0 {
		return
	}
	par.Do(panels, parallelWork/max(g.a.Rows*g.k*kernel.PanelWidth, 1)+1, g)
}

// Run computes the columns of panels lo to hi-1.
func (g *general) Run(lo, hi int) {
	s := takeBuffer(kernel.PanelLen(packedAtOnce, g.k))
	for j := lo * kernel.PanelWidth; j < min(hi*kernel.PanelWidth, g.n); j += packedAtOnce {
		n := min(packedAtOnce, min(hi*kernel.PanelWidth, g.n)-j)
		panels := s.data[:kernel.PanelLen(n, g.k)]
		kernel.PackPanels(panels, g.b[j*g.rowStride:], n, g.k, g.rowStride, g.colStride)
		kernel.Gemm(g.c.Data[j:], g.c.Stride, g.a.Data, g.a.Stride, panels, g.a.Rows, n, g.k, g.add)
	}
	buffers.Put(s)
}
