package ssm

import (
	"fmt"
	"iter"
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A GatedRMSNorm normalises vectors x of n elements in groups of n/Groups neighbours
// and gates them by vectors z:
//
//	y = w · rms(x · SiLU(z))            the norm after the gate
//	y = w · rms(x) · SiLU(z)            the norm before it, if NormBeforeGate is set
//
// where rms divides each group by √(mean square + Eps). It is RMSNormGated of
// state-spaces/mamba (layernorm_gated.py), the norm within Mamba-2.
//
// Weight w has shape (n) and is called "weight".
type GatedRMSNorm struct {
	Weight         *tensor.Tensor
	Eps            float32
	Groups         int
	NormBeforeGate bool
}

// NewGatedRMSNorm returns a norm of vectors of dim elements with a weight of ones. It
// is an error if they cannot be divided into so many groups.
func NewGatedRMSNorm(dim, groups int, eps float32, normBeforeGate bool) (*GatedRMSNorm, error) {
	if dim < 1 || groups < 1 || dim%groups != 0 {
		return nil, fmt.Errorf("ssm: a norm of %d elements in %d groups", dim, groups)
	}
	n := &GatedRMSNorm{Weight: tensor.New(dim), Eps: eps, Groups: groups, NormBeforeGate: normBeforeGate}
	nn.Fill(n.Weight, 1)
	return n, nil
}

// Dim returns the width of the vectors.
func (n *GatedRMSNorm) Dim() int { return n.Weight.Len() }

// Params yields the weight.
func (n *GatedRMSNorm) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", n.Weight))
}

// Apply normalises every vector of src, gated by the one of gate at the same place.
// The zero Seq stands for no gate. dst may be src or gate. It panics with a
// *tensor.ShapeError if shapes do not fit.
func (n *GatedRMSNorm) Apply(dst, src, gate tensor.Seq) {
	const op = "ssm.GatedRMSNorm.Apply"
	tensor.CheckMix(op, dst, src, n.Dim())
	gated := gate.Batch != 0 || gate.Len != 0 || gate.Dim != 0
	if gated {
		tensor.CheckMix(op, dst, gate, n.Dim())
	}
	par.Do(src.Batch*src.Len, convGrain/n.Dim()+1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b, t := i/src.Len, i%src.Len
			if gated {
				n.row(dst.At(b, t), src.At(b, t), gate.At(b, t))
			} else {
				n.norm(dst.At(b, t), src.At(b, t))
			}
		}
	}))
}

// row computes one vector.
func (n *GatedRMSNorm) row(dst, x, z []float32) {
	size := len(x) / n.Groups
	if !n.NormBeforeGate {
		kernel.SiLUMul(dst, z, x)
		n.norm(dst, dst)
		return
	}
	for i := 0; i < len(x); i += size {
		n.group(dst[i:i+size], x[i:i+size], z[i:i+size], i/size)
	}
}

// group computes one group of a vector, with the norm before the gate.
func (n *GatedRMSNorm) group(dst, x, z []float32, group int) {
	w := n.Weight.Data()[group*len(x) : (group+1)*len(x)]
	meanSquare := float64(kernel.SumSquares(x)) / float64(len(x))
	scale := float32(1 / math.Sqrt(meanSquare+float64(n.Eps)))
	kernel.SiLUMul(dst, z, x)
	kernel.ScaleMul(dst, scale, dst, w)
}

// norm computes one vector without a gate.
func (n *GatedRMSNorm) norm(dst, x []float32) {
	size := len(x) / n.Groups
	w := n.Weight.Data()
	for i := 0; i < len(x); i += size {
		kernel.RMSNorm(dst[i:i+size], x[i:i+size], w[i:i+size], n.Eps)
	}
}
