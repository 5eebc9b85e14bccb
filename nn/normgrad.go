package nn

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A normaliser is a norm without its weight and bias.
type normaliser interface {
	// normalise writes the normalised x to unit. It returns the scale that x, or x
	// without its mean, was multiplied by, and the slope of the gradient along unit,
	// see normBackward: 1 if scale is 1/√(mean(x²)+eps).
	normalise(unit, x []float32) (scale, slope float32)

	// centred reports whether normalise takes off the mean.
	centred() bool
}

// normBlock is the number of positions whose contributions to the gradients of the
// parameters are summed up before they are added to the rest. It is fixed, so that
// sums do not depend on the number of cores.
const normBlock = 64

// normBackward computes the gradients of y = weight·unit(src) + bias. With u for
// the unit vector at a position and g = weight·ddst,
//
//	dsrc = scale · (g - mean(g) - u·slope·mean(g·u))
//
// where mean(g) is for centred norms only, dweight = Σ ddst·u and dbias = Σ ddst.
func normBackward(n normaliser, dsrc, ddst, src tensor.Seq, weight, bias *tensor.Tensor, grads seqmix.Grads) {
	if dsrc.Contiguous() && ddst.Contiguous() && src.Contiguous() {
		dsrc, ddst, src = oneSequence(dsrc), oneSequence(ddst), oneSequence(src)
	}
	positions := src.Batch * src.Len
	if positions == 0 {
		return
	}
	s := tensor.GetScratch()
	blocks := (positions + normBlock - 1) / normBlock
	g := &normGrad{norm: n, dsrc: dsrc, ddst: ddst, src: src, weight: paramlist.Data(weight), temporary: s.TakeSeq(blocks, 2, src.Dim)}
	dweight, dbias := gradOf(grads, weight), gradOf(grads, bias)
	if dweight != nil {
		g.dweight = s.TakeSeq(1, blocks, src.Dim)
		clear(g.dweight.Data)
	}
	if dbias != nil {
		g.dbias = s.TakeSeq(1, blocks, src.Dim)
		clear(g.dbias.Data)
	}
	par.Do(blocks, 1, g)
	addRows(dweight, g.dweight)
	addRows(dbias, g.dbias)
	tensor.PutScratch(s)
}

// gradOf returns the gradient of an optional parameter, or nil.
func gradOf(grads seqmix.Grads, p *tensor.Tensor) []float32 {
	if p == nil {
		return nil
	}
	return grads.Of(p)
}

// addRows adds all positions of s to sum.
func addRows(sum []float32, s tensor.Seq) {
	for i := range s.Len {
		kernel.Add(sum, sum, s.At(0, i))
	}
}

type normGrad struct {
	norm            normaliser
	dsrc, ddst, src tensor.Seq
	weight          []float32
	temporary       tensor.Seq // two vectors for each block
	dweight, dbias  tensor.Seq // a vector for each block, or nothing if frozen
}

// Run computes blocks lo to hi-1.
func (n *normGrad) Run(lo, hi int) {
	for block := lo; block < hi; block++ {
		end := min((block+1)*normBlock, n.src.Batch*n.src.Len)
		for p := block * normBlock; p < end; p++ {
			n.position(block, p/n.src.Len, p%n.src.Len)
		}
	}
}

func (n *normGrad) position(block, b, i int) {
	dx, dy, x := n.dsrc.At(b, i), n.ddst.At(b, i), n.src.At(b, i)
	unit, g := n.temporary.At(block, 0), n.temporary.At(block, 1)
	scale, slope := n.norm.normalise(unit, x)
	if n.dweight.Len > 0 {
		kernel.MulAdd(n.dweight.At(0, block), dy, unit)
	}
	if n.dbias.Len > 0 {
		sum := n.dbias.At(0, block)
		kernel.Add(sum, sum, dy)
	}
	if n.weight != nil {
		kernel.Mul(g, dy, n.weight)
	} else {
		copy(g, dy)
	}
	count := float32(len(x))
	if n.norm.centred() {
		kernel.AddConst(g, g, -kernel.Sum(g)/count)
	}
	// unit has no mean if the norm is centred, so that mean(g·unit) is the same
	// with and without the mean of g.
	kernel.AddScaled(dx, g, -slope*kernel.Dot(g, unit)/count, unit)
	kernel.Scale(dx, scale, dx)
}

// checkBackward panics with a *tensor.ShapeError unless all are dim wide and of the
// shape of src.
func checkBackward(op string, dsrc, ddst, src tensor.Seq, dim int) {
	tensor.CheckSeq(op, src, -1, -1, dim)
	tensor.CheckMix(op, dsrc, ddst, dim)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, dim)
}
