package monarch

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of Apply on
// src, the gradient dsrc with respect to src, and adds those with respect to the factors to
// grads. For order two these are
//
//	dW2[l][s][r] = Σ dy[s·L + l]·z[r·L + l]      dz[r·L + l] = Σ_s W2[l][s][r]·dy[s·L + l]
//	dW1[k][q][p] = Σ dz[k·Q + q]·x[k·P + p]      dx[k·P + p] = Σ_q W1[k][q][p]·dz[k·Q + q]
//
// summed over the rows. z is computed again. Of complex elements, gradients are those with
// respect to the real part plus i times those with respect to the imaginary part. Factors
// have gradients if they are tensors that m was made of. dsrc may be ddst. It panics
// with a *tensor.ShapeError if the shapes do not fit.
func (m *Matrix) Backward(dsrc, ddst, src tensor.Mat, grads seqmix.Grads) {
	const op = "monarch.Matrix.Backward"
	checkMat(op, src, src.Rows, m.in)
	checkMat(op, dsrc, src.Rows, m.in)
	checkMat(op, ddst, src.Rows, m.out)
	m.withGrads(grads, func(dw [][]float32) { m.backward(dsrc, ddst, src, dw) })
}

// BackwardColumns is Backward of ApplyColumns: the vectors are the columns of dsrc, ddst and
// src. dsrc may be one of the others. It panics with a *tensor.ShapeError if the shapes do
// not fit.
func (m *Matrix) BackwardColumns(dsrc, ddst, src tensor.Mat, grads seqmix.Grads) {
	const op = "monarch.Matrix.BackwardColumns"
	checkMat(op, src, m.in, src.Cols)
	checkMat(op, dsrc, m.in, src.Cols)
	checkMat(op, ddst, m.out, src.Cols)
	m.withGrads(grads, func(dw [][]float32) { m.backwardColumns(dsrc, ddst, src, dw) })
}

// withGrads calls f with what the gradients of the weights of each stage are to be added to,
// and adds what is not there to grads.
func (m *Matrix) withGrads(grads seqmix.Grads, f func(dw [][]float32)) {
	s := tensor.GetScratch()
	dw := make([][]float32, len(m.stages))
	for i, stage := range m.stages {
		if stage.source == nil {
			dw[i] = grads.Of(stage.weights)
		} else if grads.Of(stage.source) != nil {
			dw[i] = s.Take(stage.weights.Len())
			clear(dw[i])
		}
	}
	f(dw)
	for i, stage := range m.stages {
		if stage.source != nil && dw[i] != nil {
			dz := grads.Of(stage.source)
			for j, v := range folded(dw[i], stage.in/2, 2, 2) {
				dz[2*j] += float32(real(v))
				dz[2*j+1] += float32(imag(v))
			}
		}
	}
	tensor.PutScratch(s)
}

// gradRows is the number of vectors whose gradients are computed together.
const gradRows = 256

// backward is Backward that adds the gradients of the weights of each stage to dw, unless
// that is nil.
func (m *Matrix) backward(dsrc, ddst, src tensor.Mat, dw [][]float32) {
	s := tensor.GetScratch()
	p := newMatrixPass(m, dw)
	for i := 0; i < src.Rows; i += gradRows {
		s.Reset()
		end := min(i+gradRows, src.Rows)
		p.run(dsrc.SliceRows(i, end), ddst.SliceRows(i, end), src.SliceRows(i, end), s)
	}
	tensor.PutScratch(s)
}

// backwardColumns is backward of ApplyColumns. dsrc may be ddst or src.
func (m *Matrix) backwardColumns(dsrc, ddst, src tensor.Mat, dw [][]float32) {
	s := tensor.GetScratch()
	x, d := tensor.MatOf(s.Take(src.Cols*m.in), src.Cols, m.in), tensor.MatOf(s.Take(src.Cols*m.out), src.Cols, m.out)
	transpose(x, src)
	transpose(d, ddst)
	dx := tensor.MatOf(s.Take(src.Cols*m.in), src.Cols, m.in)
	m.backward(dx, d, x, dw)
	transpose(dsrc, dx)
	tensor.PutScratch(s)
}

func transpose(dst, src tensor.Mat) {
	kernel.Transpose(dst.Data, dst.Stride, src.Data, src.Stride, src.Rows, src.Cols)
}

// A matrixPass computes gradients. Between stages, vectors lie in the order in which the
// blocks write or read them, so that a block is some columns of a matrix.
type matrixPass struct {
	*Matrix
	dw    [][]float32
	links [][]int // of stage i: which output of the stage before, or element of src, is input j
}

// unlinked is the place of what is not there.
const unlinked = math.MaxInt

func newMatrixPass(m *Matrix, dw [][]float32) *matrixPass {
	p := &matrixPass{Matrix: m, dw: dw, links: [][]int{m.stages[0].from}}
	for i := 1; i < len(m.stages); i++ {
		before := m.stages[i-1]
		outputs := make(map[int]int, len(before.to))
		for k, element := range before.to {
			outputs[element] = k
		}
		link := make([]int, len(m.stages[i].from))
		for j, element := range m.stages[i].from {
			link[j] = unlinked
			if k, ok := outputs[element]; ok {
				link[j] = k
			}
		}
		p.links = append(p.links, link)
	}
	return p
}

// run computes the gradients of some vectors.
func (p *matrixPass) run(dsrc, ddst, src tensor.Mat, s *tensor.Scratch) {
	take := func(cols int) tensor.Mat { return tensor.MatOf(s.Take(src.Rows*cols), src.Rows, cols) }
	inputs := make([]tensor.Mat, len(p.stages))
	for i, before := 0, src; i < len(inputs); i++ {
		stage := &p.stages[i]
		inputs[i] = take(len(p.links[i]))
		gatherColumns(inputs[i], before, p.links[i])
		if i+1 < len(inputs) {
			before = take(len(stage.to))
			stage.forward(before, inputs[i])
		}
	}
	last := len(p.stages) - 1
	d := take(len(p.stages[last].to))
	gatherColumns(d, ddst, p.stages[last].to)
	for i := last; i >= 0; i-- {
		dx := take(len(p.links[i]))
		p.stages[i].backward(dx, d, inputs[i], p.dw[i])
		before := dsrc
		if i > 0 {
			before = take(len(p.stages[i-1].to))
		}
		scatterColumns(before, dx, p.links[i])
		d = before
	}
}

// columnGrain is the number of elements from which it is worth splitting: some microseconds
// on one core.
const columnGrain = 1 << 12

// gatherColumns makes column j of dst column at[j] of src, or zeros if there is none.
func gatherColumns(dst, src tensor.Mat, at []int) {
	par.Do(dst.Rows, columnGrain/max(len(at), 1)+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to, from := dst.Row(i), src.Row(i)
			for j, k := range at {
				if k < len(from) {
					to[j] = from[k]
				} else {
					to[j] = 0
				}
			}
		}
	}))
}

// scatterColumns makes column at[j] of dst column j of src, if there is one, and clears
// the others.
func scatterColumns(dst, src tensor.Mat, at []int) {
	par.Do(dst.Rows, columnGrain/max(len(at), 1)+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to, from := dst.Row(i), src.Row(i)
			clear(to)
			for j, k := range at {
				if k < len(to) {
					to[k] = from[j]
				}
			}
		}
	}))
}

// block returns the weights of block b.
func (s *stage) block(b int) *tensor.Tensor {
	return tensor.FromFloat32s(s.weights.Data()[b*s.out*s.in:(b+1)*s.out*s.in], s.out, s.in)
}

// eachBlock calls f for every block, on all cores.
func (s *stage) eachBlock(vectors int, f func(b int)) {
	par.Do(s.blocks, blockWork/(vectors*s.in*s.out)+1, par.Func(func(lo, hi int) {
		for b := lo; b < hi; b++ {
			f(b)
		}
	}))
}

// forward multiplies the inputs of the blocks.
func (s *stage) forward(y, x tensor.Mat) {
	s.eachBlock(x.Rows, func(b int) {
		tensor.MatMulT(y.Slice(b*s.out, (b+1)*s.out), x.Slice(b*s.in, (b+1)*s.in), s.block(b))
	})
}

// backward takes the gradient dy of the outputs of the blocks to that of the inputs, and
// adds that of the weights to dw.
func (s *stage) backward(dx, dy, x tensor.Mat, dw []float32) {
	s.eachBlock(2*x.Rows, func(b int) {
		d := dy.Slice(b*s.out, (b+1)*s.out)
		if dw != nil {
			tensor.MatMulTN(tensor.MatOf(dw[b*s.out*s.in:(b+1)*s.out*s.in], s.out, s.in), d, x.Slice(b*s.in, (b+1)*s.in))
		}
		tensor.MatMul(dx.Slice(b*s.in, (b+1)*s.in), d, s.block(b))
	})
}
