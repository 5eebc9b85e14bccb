package nn

import (
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A LayerNorm shifts every vector x to a mean of zero and scales it to a variance
// of one, then scales and shifts each channel (arXiv:1607.06450):
//
//	y = w · (x - mean(x)) / √(mean((x - mean(x))²) + Eps) + b
//
// Weight w and Bias b, of shape (n), are called "weight" and "bias". Either may be
// nil.
type LayerNorm struct {
	Weight *tensor.Tensor
	Bias   *tensor.Tensor
	Eps    float32
	dim    int
}

// NewLayerNorm returns a LayerNorm of vectors of dim elements with a weight of ones
// and a bias of zeros. It panics with a *tensor.ShapeError if dim is negative.
func NewLayerNorm(dim int, eps float32) *LayerNorm {
	n := &LayerNorm{Weight: tensor.New(dim), Bias: tensor.New(dim), Eps: eps, dim: dim}
	Fill(n.Weight, 1)
	return n
}

// Dim returns the width: that of the weight or, without one, that given to NewLayerNorm.
func (n *LayerNorm) Dim() int {
	if n.Weight != nil {
		return n.Weight.Len()
	}
	return n.dim
}

// Mix normalises every vector.
func (n *LayerNorm) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.LayerNorm.Mix", dst, src, n.Dim())
	overRows(n, dst, src)
}

func (n *LayerNorm) rows(dst, src tensor.Mat) {
	w, b := paramlist.Data(n.Weight), paramlist.Data(n.Bias)
	if w != nil && b != nil {
		kernel.LayerNormRows(dst.Data, src.Data, w, b, n.Eps)
		return
	}
	for i := range src.Rows {
		kernel.LayerNorm(dst.Row(i), src.Row(i), w, b, n.Eps)
	}
}

// Params yields the weight and the bias.
func (n *LayerNorm) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", n.Weight), paramlist.Of("bias", n.Bias))
}

// NewStream returns a stream, which carries no state.
func (n *LayerNorm) NewStream(batch int) (seqmix.Stream, error) {
	return seqmix.NewStatelessStream(n, batch, "nn.LayerNorm"), nil
}

// Record is Mix that keeps what Backward needs.
func (n *LayerNorm) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.LayerNorm.Record", dst, src, n.Dim())
	return recordNorm(n, dst, src)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Mix on src, the gradient dsrc with respect to src, and adds those with respect to
// the parameters to grads. dsrc may be ddst.
func (n *LayerNorm) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	n.backward("nn.LayerNorm.Backward", dsrc, ddst, src, tensor.Seq{}, grads)
}

// backward is Backward that adds add to dsrc, unless it is nothing.
func (n *LayerNorm) backward(op string, dsrc, ddst, src, add tensor.Seq, grads seqmix.Grads) {
	checkBackward(op, dsrc, ddst, src, n.Dim())
	normBackward(n, dsrc, ddst, src, add, n.Weight, n.Bias, grads)
}

func (n *LayerNorm) gradRows(dx, dy, x, weight, dweight, dbias []float32) {
	kernel.LayerNormGradRows(dx, dy, x, weight, dweight, dbias, n.Eps)
}
