package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/nn"
	"gonum.org/v1/gonum/mat"
)

// toHyena takes over values and output and opens the gates. The filters of the channels of a
// head are fitted to the weights that the head gives to distances: what is left of the
// attention if scores do not depend on contents.
func toHyena(m *hyena.Hyena, p *profile) error {
	w, d := weightsOf(m), m.Config().DModel
	const values = 2 // the last of three parts; the others are gates
	w.fill("in_proj.weight", 0, values*d, 0)
	w.fill("in_proj.bias", 0, values*d, 1)
	w.set("in_proj.weight", values*d, p.value, 1)
	w.fill("in_proj.bias", values*d, (values+1)*d, 0)
	w.pass("short_filter.weight", 0, (values+1)*d, 1)
	w.fill("short_filter.bias", 0, (values+1)*d, 0)
	w.set("out_proj.weight", 0, p.out, 1)
	w.fill("out_proj.bias", 0, d, 0)
	w.fill("filter_fn.bias", 0, d, 0)
	return fitFilter(m.Filter(), p.heads)
}

// fitFilter sets the last layer of an implicit filter so that the taps of the channels of
// each head are the weights of its distances, in the least squares. Far taps, which the
// weights say nothing of, are to be 0; a few of them are enough, since filters are smooth.
func fitFilter(f *nn.ImplicitFilter, heads []headProfile) error {
	var at []int
	known := len(heads[0].weights)
	for t := 0; t < f.Config().LMax; t++ {
		if t < 2*known || t%16 == 0 {
			at = append(at, t)
		}
	}
	phi := filterFeatures(f, at)
	channels, width := f.Out.Weight.Dim(0), f.Out.Weight.Dim(1)
	for c := range channels {
		target := heads[c*len(heads)/channels].weights
		a, y := mat.NewDense(len(at), width, nil), mat.NewVecDense(len(at), nil)
		for i, t := range at {
			window := math.Exp(-float64(f.T.Data()[t])*math.Abs(float64(f.Deltas.Data()[c]))) + f.Config().Shift
			for k, v := range phi.RawRowView(i) {
				a.Set(i, k, window*v)
			}
			if t < known {
				y.SetVec(i, target[t])
			}
		}
		x, err := ridge(a, y)
		if err != nil {
			return fmt.Errorf("the filter of channel %d: %w", c, err)
		}
		for k := range width {
			f.Out.Weight.Data()[c*width+k] = float32(x.AtVec(k))
		}
	}
	return nil
}

// ridge returns the x that makes |a·x - y|² + λ·|x|² least, with a small λ.
func ridge(a *mat.Dense, y *mat.VecDense) (*mat.VecDense, error) {
	_, n := a.Dims()
	var square mat.SymDense
	square.SymOuterK(1, a.T())
	lambda := 1e-6 * mat.Trace(&square) / float64(n)
	for i := range n {
		square.SetSym(i, i, square.At(i, i)+lambda)
	}
	var right, x mat.VecDense
	right.MulVec(a.T(), y)
	var chol mat.Cholesky
	if !chol.Factorize(&square) {
		return nil, fmt.Errorf("its features are no numbers")
	}
	return &x, chol.SolveVecTo(&x, &right)
}

// filterFeatures returns what the last layer of an implicit filter gets at some positions.
func filterFeatures(f *nn.ImplicitFilter, at []int) *mat.Dense {
	emb := f.Config().EmbDim
	x := mat.NewDense(len(at), emb, nil)
	for i, t := range at {
		for k, v := range f.Z.Data()[t*emb : (t+1)*emb] {
			x.Set(i, k, float64(v))
		}
	}
	for _, l := range f.Hidden {
		var y mat.Dense
		y.Mul(x, dense(l.Weight).T())
		y.Apply(func(_, k int, v float64) float64 {
			return math.Sin(float64(f.Freq.Data()[k]) * (v + float64(l.Bias.Data()[k])))
		}, &y)
		x = &y
	}
	return x
}
