package monarch

import (
	"iter"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A BlockDiag is a linear layer with a block-diagonal matrix (BlockdiagLinear of
// HazyResearch/fly and HazyResearch/m2, which is what M2-BERT calls a Monarch MLP):
// with i = ⌈In/Blocks⌉ and o = ⌈Out/Blocks⌉,
//
//	y[b·o + j] = Σ_n weight[b][j][n] · x[b·i + n] + bias[b·o + j]
//
// where x is padded with zeros and y is cut off. With [LinearConfig.Shuffle], x is first
// read as a matrix of (Blocks, i) and transposed, as in ShuffleNet, so that a block sees
// elements of all parts.
//
// Its parameters are weight (Blocks, o, i) and, if there is one, bias (Out).
//
// A BlockDiag whose output is as wide as its input is a seqmix.Mixer; others are used
// by Apply.
type BlockDiag struct {
	layer
	weight *tensor.Tensor
}

// NewBlockDiag returns a layer of zeros.
func NewBlockDiag(cfg LinearConfig) (*BlockDiag, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := cfg.Blocks
	in, out := (cfg.In+n-1)/n, (cfg.Out+n-1)/n
	from := contiguous(in)
	if cfg.Shuffle {
		from = func(b, j int) int { return (b*in+j)%n*in + (b*in+j)/n }
	}
	w := tensor.New(n, out, in)
	return &BlockDiag{newLayer(cfg, newStage(w, n, out, in, from, contiguous(out))), w}, nil
}

// Init draws the parameters as upstream does: the weight evenly from ±1/√⌈In/Blocks⌉,
// the bias from ±1/√Out.
func (l *BlockDiag) Init(r *rand.Rand) {
	nn.Uniform(l.weight, r, 1/math.Sqrt(float64(l.weight.Dim(2))))
	l.initBias(r)
}

// Apply computes dst = M·src + b at every position. src is In wide, dst Out. dst may be
// src if these are the same, and must not overlap it otherwise. It panics with a
// *tensor.ShapeError if they do not fit.
func (l *BlockDiag) Apply(dst, src tensor.Seq) { l.applySeq("monarch.BlockDiag.Apply", dst, src) }

// Mix computes dst = M·src + b at every position. It panics with a *tensor.ShapeError
// unless In, Out and the width of src and dst are the same.
func (l *BlockDiag) Mix(dst, src tensor.Seq) { l.mix("monarch.BlockDiag.Mix", dst, src) }

// Params yields the weight and the bias.
func (l *BlockDiag) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", l.weight), paramlist.Of("bias", l.bias))
}

// NewStream returns a stream, which carries no state. It is an error if the output is
// not as wide as the input.
func (l *BlockDiag) NewStream(batch int) (seqmix.Stream, error) {
	return l.newStream(l, batch, "monarch.BlockDiag")
}
