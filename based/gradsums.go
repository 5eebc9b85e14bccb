package based

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
)

// gradSums are the sums that gradients go from chunk to chunk by: Σ φ·xᵀ in panels of 32
// elements of x, as those of a [State], and Σ φ·y.
type gradSums struct {
	sums, norm []float32

	room             int       // the chunk, rounded up to panels
	columns, dphi    []float32 // features and their gradients: a row for each feature
	rows             []float32 // features: a row for each position
	panels           []float32 // 32 elements of x at a time
	factors, dfactor []float32 // of Taylor: queries or keys and their gradients as columns
}

// reset makes the sums zero.
func (s *gradSums) reset(w *gradWorker) {
	s.sums = resize(s.sums, roundUp(w.d, panel)*w.features)
	s.norm = resize(s.norm, w.features)
	clear(s.sums)
	clear(s.norm)
}

// featureColumns makes the features of a chunk as columns from its factors.
func (w *gradWorker) featureColumns(factors []float32) {
	s := &w.sums
	s.room = roundUp(w.n, panel)
	s.columns = resize(s.columns, w.features*s.room)
	if !w.taylor {
		kernel.Transpose(s.columns, s.room, factors, w.width, w.n, w.width)
		return
	}
	s.panels = packColumns(s.panels, factors, w.f, w.n, w.f)
	for i := 0; i < w.n; i += panel {
		kernel.TaylorColumns(s.columns[i:], s.room, s.panels[i*w.f:], w.f)
	}
}

// addToSums adds φ·xᵀ and φ·y of the positions of a chunk. A nil y stands for ones.
func (w *gradWorker) addToSums(factors, x []float32, stride int, y []float32) {
	s := &w.sums
	w.featureColumns(factors)
	if y == nil {
		y = ones[:w.n]
	}
	kernel.RowDots(s.norm, s.columns, s.room, y, w.features, true)
	s.panels = packRows(s.panels, x, stride, w.n, w.d)
	for j := 0; j < w.d; j += panel {
		kernel.Gemm(s.sums[j*w.features:], panel, s.columns, s.room, s.panels[j*w.n:], w.features, panel, w.n, true)
	}
}

// addFromSums adds to dst, the gradients of factors, what comes through the sums: the
// gradient of φ is Σ·x + norm·y at every position, and a nil y stands for ones. If dx is
// not nil, it becomes the gradient of x, φᵀ·Σ.
func (w *gradWorker) addFromSums(dst, factors, x []float32, stride int, y, dx []float32) {
	s := &w.sums
	if w.taylor || dx != nil {
		w.featureColumns(factors)
	}
	room := roundUp(w.n, panel)
	s.dphi = resize(s.dphi, w.features*room)
	if y == nil {
		y = ones[:w.n]
	}
	for i, v := range s.norm {
		kernel.Scale(s.dphi[i*room:i*room+w.n], v, y)
	}
	for j := 0; j < w.d; j += panel {
		k := min(panel, w.d-j)
		s.panels = packColumns(s.panels, x[j:], stride, w.n, k)
		kernel.Gemm(s.dphi, room, s.sums[j*w.features:], panel, s.panels, w.features, w.n, k, true)
	}
	if dx != nil {
		s.rows = resize(s.rows, w.n*w.features)
		kernel.Transpose(s.rows, w.features, s.columns, room, w.features, w.n)
		for j := 0; j < w.d; j += panel {
			kernel.Gemm(dx[j:], w.d, s.rows, w.features, s.sums[j*w.features:], w.n, min(panel, w.d-j), w.features, false)
		}
	}
	w.addFactors(dst, factors)
}

// addFactors adds to dst what the gradients of features make of those of factors.
func (w *gradWorker) addFactors(dst, factors []float32) {
	s := &w.sums
	room, columns := roundUp(w.n, panel), s.dphi
	if w.taylor {
		s.factors = resize(s.factors, w.f*room)
		s.dfactor = resize(s.dfactor, w.f*room)
		kernel.Transpose(s.factors, room, factors, w.f, w.n, w.f)
		taylorColumnsGrad(s.dfactor, s.dphi, s.factors, room, w.n, w.f)
		columns = s.dfactor
	}
	s.rows = resize(s.rows, w.n*w.width)
	kernel.Transpose(s.rows, w.width, columns, room, w.width, w.n)
	sum := dst[:w.n*w.width]
	kernel.Add(sum, sum, s.rows)
}

// taylorColumnsGrad is [Taylor.Backward] without the scale for n vectors x of f elements,
// which are columns, room apart from row to row.
func taylorColumnsGrad(dx, dphi, x []float32, room, n, f int) {
	row := func(m []float32, i int) []float32 { return m[i*room : i*room+n] }
	for i := range f {
		kernel.ScaleMul(row(dx, i), math.Sqrt2, row(x, i), row(dphi, 1+f+i))
		kernel.Add(row(dx, i), row(dx, i), row(dphi, 1+i))
	}
	at := 1 + 2*f
	for i := range f {
		for j := range i {
			kernel.MulAdd(row(dx, i), row(x, j), row(dphi, at))
			kernel.MulAdd(row(dx, j), row(x, i), row(dphi, at))
			at++
		}
	}
}
