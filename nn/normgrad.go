package nn

import (
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A normaliser is a norm that computes the gradients of rows, which lie one after the
// other.
type normaliser interface {
	// gradRows computes dx from dy and adds the gradients of the weight and of the bias
	// to dweight and dbias, as a norm with this weight has them.
	gradRows(dx, dy, x, weight, dweight, dbias []float32)
}

// normBlock is the number of positions whose contributions to the gradients of the
// parameters are summed up before they are added to the rest. It is fixed, so that
// sums do not depend on the number of cores.
const normBlock = 64

// normBackward computes the gradients of a norm, and adds add to that of its input, unless
// it is nothing. A weight that is nil counts as ones.
func normBackward(n normaliser, dsrc, ddst, src, add tensor.Seq, weight, bias *tensor.Tensor, grads seqmix.Grads) {
	if dsrc.Contiguous() && ddst.Contiguous() && src.Contiguous() && (add.Data == nil || add.Contiguous()) {
		dsrc, ddst, src = oneSequence(dsrc), oneSequence(ddst), oneSequence(src)
		if add.Data != nil {
			add = oneSequence(add)
		}
	}
	positions := src.Batch * src.Len
	if positions == 0 {
		return
	}
	s := tensor.GetScratch()
	blocks := (positions + normBlock - 1) / normBlock
	g := normGrads.Get().(*normGrad)
	*g = normGrad{norm: n, dsrc: dsrc, ddst: ddst, src: src, add: add, weight: paramlist.Data(weight), sums: s.TakeSeq(2, blocks, src.Dim)}
	if g.weight == nil {
		g.weight = s.Take(src.Dim)
		for i := range g.weight {
			g.weight[i] = 1
		}
	}
	par.Do(blocks, elementGrain/(normBlock*max(src.Dim, 1))+1, g)
	addRows(gradOf(grads, weight), g.sums.Sequence(0))
	addRows(gradOf(grads, bias), g.sums.Sequence(1))
	*g = normGrad{}
	normGrads.Put(g)
	tensor.PutScratch(s)
}

// gradOf returns the gradient of an optional parameter, or nil.
func gradOf(grads seqmix.Grads, p *tensor.Tensor) []float32 {
	if p == nil {
		return nil
	}
	return grads.Of(p)
}

// addRows adds all positions of a sequence to sum, unless that is nil.
func addRows(sum []float32, s tensor.Seq) {
	if sum != nil {
		kernel.ColumnSums(sum, s.Data, s.Dim, s.Len, s.Dim)
	}
}

type normGrad struct {
	norm            normaliser
	dsrc, ddst, src tensor.Seq
	add             tensor.Seq // to dsrc, unless it is nothing
	weight          []float32
	sums            tensor.Seq // gradients of the weight, and of the bias, of each block
}

var normGrads = sync.Pool{New: func() any { return new(normGrad) }}

// Run computes blocks lo to hi-1.
func (n *normGrad) Run(lo, hi int) {
	var s *tensor.Scratch
	var beside []float32
	most := normBlock
	if n.add.Data != nil {
		most = max(addedRows, addedElements/max(n.src.Dim, 1)&^(addedRows-1))
		s = tensor.GetScratch()
		defer tensor.PutScratch(s)
		beside = s.Take(min(most, normBlock) * n.src.Dim)
	}
	for block := lo; block < hi; block++ {
		dweight, dbias := n.sums.At(0, block), n.sums.At(1, block)
		clear(dweight)
		clear(dbias)
		end := min((block+1)*normBlock, n.src.Batch*n.src.Len)
		for p := block * normBlock; p < end; {
			b, i := p/n.src.Len, p%n.src.Len
			count := min(end-p, n.src.Len-i, most)
			dx, dy, x := positions(n.dsrc, b, i, count), positions(n.ddst, b, i, count), positions(n.src, b, i, count)
			if beside == nil {
				n.norm.gradRows(dx.Data, dy.Data, x.Data, n.weight, dweight, dbias)
			} else {
				g := beside[:len(dx.Data)]
				n.norm.gradRows(g, dy.Data, x.Data, n.weight, dweight, dbias)
				kernel.Add(dx.Data, positions(n.add, b, i, count).Data, g)
			}
			p += count
		}
	}
}

// Gradients that something is added to are computed in pieces that stay in the first-level
// cache, of so many elements and a multiple of so many rows.
const (
	addedElements = 1 << 12
	addedRows     = 4
)

// checkBackward panics with a *tensor.ShapeError unless all are dim wide and of the
// shape of src.
func checkBackward(op string, dsrc, ddst, src tensor.Seq, dim int) {
	tensor.CheckSeq(op, src, -1, -1, dim)
	tensor.CheckMix(op, dsrc, ddst, dim)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, dim)
}
