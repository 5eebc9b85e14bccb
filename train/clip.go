package train

import (
	"iter"
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Norm returns the Euclidean norm of all gradients of the parameters together. The order
// of the sum is that of the parameters.
func Norm(grads seqmix.Grads, params iter.Seq2[string, *tensor.Tensor]) float64 {
	sum := 0.0
	seen := map[*tensor.Tensor]bool{}
	for _, p := range params {
		if g := grads.Of(p); g != nil && !seen[p] {
			seen[p] = true
			sum += float64(tensor.SumSquares(g))
		}
	}
	return math.Sqrt(sum)
}

// Clip multiplies all gradients by min(1, most/(norm + 1e-6)), so that their norm is most
// at the most (arXiv:1211.5063, torch.nn.utils.clip_grad_norm_). norm is that of [Norm].
func Clip(grads seqmix.Grads, norm, most float64) {
	factor := most / (norm + 1e-6)
	if !(factor < 1) {
		return
	}
	for _, g := range grads {
		tensor.Scale(g.Data(), float32(factor), g.Data())
	}
}
