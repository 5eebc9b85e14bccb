package nn

import (
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An RMSNorm scales every vector x of n elements to a root mean square of one, and
// by a weight w (arXiv:1910.07467):
//
//	y = w · x / √(mean(x²) + Eps)
//
// or, if Outside is set,
//
//	y = w · x / (√mean(x²) + Eps)
//
// as StripedHyena has it. The two differ where x is small.
//
// Weight, of shape (n), is called "weight". It may be nil, for a norm without one,
// as FalconMamba uses it.
type RMSNorm struct {
	Weight  *tensor.Tensor
	Eps     float32
	Outside bool
	dim     int
}

// NewRMSNorm returns an RMSNorm of vectors of dim elements with a weight of ones.
// It panics with a *tensor.ShapeError if dim is negative.
func NewRMSNorm(dim int, eps float32) *RMSNorm {
	n := &RMSNorm{Weight: tensor.New(dim), Eps: eps, dim: dim}
	Fill(n.Weight, 1)
	return n
}

// Dim returns the width: that of the weight or, without one, that given to NewRMSNorm.
func (n *RMSNorm) Dim() int {
	if n.Weight != nil {
		return n.Weight.Len()
	}
	return n.dim
}

// Mix normalises every vector.
func (n *RMSNorm) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.RMSNorm.Mix", dst, src, n.Dim())
	overRows(n, dst, src)
}

func (n *RMSNorm) rows(dst, src tensor.Mat) {
	if w := paramlist.Data(n.Weight); w != nil {
		inside, outside := n.eps()
		kernel.RMSNormRows(dst.Data, src.Data, w, inside, outside)
		return
	}
	for i := range src.Rows {
		if n.Outside {
			kernel.RMSNormOutside(dst.Row(i), src.Row(i), nil, n.Eps)
		} else {
			kernel.RMSNorm(dst.Row(i), src.Row(i), nil, n.Eps)
		}
	}
}

// eps returns what is added in the root and beside it.
func (n *RMSNorm) eps() (inside, outside float32) {
	if n.Outside {
		return 0, n.Eps
	}
	return n.Eps, 0
}

// Params yields the weight, if there is one.
func (n *RMSNorm) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", n.Weight))
}

// NewStream returns a stream, which carries no state.
func (n *RMSNorm) NewStream(batch int) (seqmix.Stream, error) {
	return seqmix.NewStatelessStream(n, batch, "nn.RMSNorm"), nil
}

// Record is Mix that keeps what Backward needs.
func (n *RMSNorm) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.RMSNorm.Record", dst, src, n.Dim())
	return recordNorm(n, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Mix on src, the gradient dsrc with respect to src, and adds that with respect to
// the weight to grads. dsrc may be ddst.
func (n *RMSNorm) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	n.backward("nn.RMSNorm.Backward", dsrc, ddst, src, tensor.Seq{}, grads)
}

// backward is Backward that adds add to dsrc, unless it is nothing.
func (n *RMSNorm) backward(op string, dsrc, ddst, src, add tensor.Seq, grads seqmix.Grads) {
	checkBackward(op, dsrc, ddst, src, n.Dim())
	normBackward(n, dsrc, ddst, src, add, n.Weight, nil, grads)
}

func (n *RMSNorm) gradRows(dx, dy, x, weight, dweight, _ []float32) {
	inside, outside := n.eps()
	kernel.RMSNormGradRows(dx, dy, x, weight, dweight, inside, outside)
}
