package based

import (
	"iter"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An ImplicitFilter makes the taps of a long convolution from their positions, as
// Zoology's BaseConv does: a network with one hidden layer,
//
//	h[t] = W_2·ReLU(W_1·z[t] + b_1) + b_2
//	z[t] = [t/(L-1), cos(2πt/L/10⁴), -sin(2πt/L/10⁴)]
//
// with L = LMax. Its parameters are mlp.0.weight (16, 3), mlp.0.bias (16), mlp.2.weight
// (d, 16) and mlp.2.bias (d).
type ImplicitFilter struct {
	LMax int
	mlp  nn.MLP
}

const (
	positionFeatures = 3
	filterHidden     = 16
	filterBand       = 1e-4
)

// NewImplicitFilter returns a filter of d channels and up to lMax taps whose parameters
// are zero.
func NewImplicitFilter(d, lMax int) *ImplicitFilter {
	// Not weights: they are small, and compared to see whether the taps are up to date.
	up := &nn.Linear{Weight: tensor.New(filterHidden, positionFeatures), Bias: tensor.New(filterHidden)}
	down := &nn.Linear{Weight: tensor.New(d, filterHidden), Bias: tensor.New(d)}
	return &ImplicitFilter{LMax: lMax, mlp: nn.MLP{Up: up, Down: down, Activation: nn.ReLU}}
}

// Init draws the parameters as PyTorch's Linear begins.
func (f *ImplicitFilter) Init(r *rand.Rand) { f.mlp.Init(r) }

// Params yields the parameters.
func (f *ImplicitFilter) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(
		paramlist.Of("mlp.0.weight", f.mlp.Up.Weight), paramlist.Of("mlp.0.bias", f.mlp.Up.Bias),
		paramlist.Of("mlp.2.weight", f.mlp.Down.Weight), paramlist.Of("mlp.2.bias", f.mlp.Down.Bias),
	)
}

// Positions returns z for the first n taps, one after the other.
func (f *ImplicitFilter) Positions(n int) tensor.Seq {
	z := tensor.NewSeq(1, n, positionFeatures)
	for t := range n {
		sin, cos := math.Sincos(filterBand * 2 * math.Pi * float64(t) / float64(f.LMax))
		row := z.At(0, t)
		row[0], row[1], row[2] = float32(float64(t)/float64(f.LMax-1)), float32(cos), float32(-sin)
	}
	return z
}

// Taps returns the first n taps, one vector for each.
func (f *ImplicitFilter) Taps(n int) tensor.Seq {
	hidden, taps := tensor.NewSeq(1, n, filterHidden), tensor.NewSeq(1, n, f.mlp.Down.Out())
	f.mlp.Up.Apply(hidden, f.Positions(n))
	nn.ReLU.Apply(hidden.Data, hidden.Data)
	f.mlp.Down.Apply(taps, hidden)
	return taps
}

// backward adds the gradients of the parameters from those of the first taps, as many as
// there are.
func (f *ImplicitFilter) backward(dtaps tensor.Seq, grads seqmix.Grads) {
	n := dtaps.Len
	if n == 0 {
		return
	}
	z := f.Positions(n)
	wide := func() tensor.Seq { return tensor.NewSeq(1, n, filterHidden) }
	hidden, h, d := wide(), wide(), wide()
	f.mlp.Up.Apply(hidden, z)
	nn.ReLU.Apply(h.Data, hidden.Data)
	f.mlp.Down.Backward(d, dtaps, h, grads)
	nn.ReLU.Grad(d.Data, d.Data, hidden.Data)
	f.mlp.Up.Backward(tensor.NewSeq(1, n, positionFeatures), d, z, grads)
}
