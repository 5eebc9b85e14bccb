package tensor

import "github.com/seqmix/seqmix/internal/kernel"

// Parts is a product src · wᵀ that is computed in parts: so that what follows it can be
// done to some columns at a time, while they are in the cache of the core that computed
// them. The bits of the result are those of [MatMulT].
//
//	p := PartsOf(src, w)
//	p.MatMulT(dst, row, first)
//	…
//	p.Release()
type Parts struct {
	src   Mat
	w     *Tensor
	n, k  int
	split *bytesBuffer // nil unless the weights are integers
}

// PartsOf prepares the product of src, m×k, and a w of shape (n, k), which both must stay
// as they are until Release. It panics with a *[ShapeError] if the shapes do not fit.
func PartsOf(src Mat, w *Tensor) Parts {
	n, k := w.rowsCols()
	checkMat("tensor.PartsOf", src, src.Rows, k)
	p := Parts{src: src, w: w, n: n, k: k}
	if w.integers() && k > 0 {
		p.split = splitBuffers.Get().(*bytesBuffer)
		of := products.Get().(*product)
		*of = product{src: src, k: k}
		of.splitInto(p.split)
		*of = product{}
		products.Put(of)
	}
	return p
}

// PartUnit is what the first output of a part is a multiple of.
const PartUnit = kernel.PanelWidth

// MatMulT computes for the rows of src from the given one on, as many as dst has, the
// outputs from first on, as many as dst has columns. Several goroutines may compute
// parts at the same time. It panics with a *[ShapeError] if there are not so many, and
// if first is not a multiple of [PartUnit].
func (p *Parts) MatMulT(dst Mat, row, first int) {
	const op = "tensor.Parts.MatMulT"
	if first < 0 || first%PartUnit != 0 || first+dst.Cols > p.n {
		panic(&ShapeError{op, []int{first, first + dst.Cols}, []int{0, p.n}})
	}
	if row < 0 || row+dst.Rows > p.src.Rows {
		panic(&ShapeError{op, []int{row, row + dst.Rows}, []int{0, p.src.Rows}})
	}
	of := product{dst: dst, src: p.src.SliceRows(row, row+dst.Rows), w: p.w, first: first, n: dst.Cols, k: p.k}
	if p.split != nil {
		of.split = p.split.data[kernel.SplitLen(row, p.k):]
	}
	multiply(op, of)
}

// Release gives back temporary memory.
func (p *Parts) Release() {
	if p.split != nil {
		splitBuffers.Put(p.split)
	}
	*p = Parts{}
}
