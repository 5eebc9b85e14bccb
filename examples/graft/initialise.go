package main

import (
	"fmt"
	"iter"
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"gonum.org/v1/gonum/mat"
)

// initialise makes a mixer that has been started at random as near to a layer of attention
// as its shapes allow without learning.
func initialise(m seqmix.Mixer, p *profile) error {
	switch m := m.(type) {
	case *based.LinearAttention:
		return toBased(m, p)
	case *ssm.Mamba:
		return toMamba(m, p)
	case *ssm.Mamba2:
		return toMamba2(m, p)
	case *hyena.Hyena:
		return toHyena(m, p)
	}
	return fmt.Errorf("nothing carries over from attention to a %T", m)
}

// A weights is the parameters of a mixer, by their names.
type weights map[string]*tensor.Tensor

// A parametrized has parameters: a mixer, or another part of a model.
type parametrized interface {
	Params() iter.Seq2[string, *tensor.Tensor]
}

func weightsOf(m parametrized) weights {
	w := weights{}
	for name, p := range m.Params() {
		w[name] = p
	}
	return w
}

// set writes factor times a matrix to the rows of a parameter from some row on.
func (w weights) set(name string, from int, m mat.Matrix, factor float64) {
	p := w[name]
	rows, columns := m.Dims()
	x, width := p.Data(), p.Len()/p.Dim(0)
	for r := range rows {
		for c := range columns {
			x[(from+r)*width+c] = float32(factor * m.At(r, c))
		}
	}
}

// fill sets rows lo to hi-1 of a parameter, or elements of a vector.
func (w weights) fill(name string, lo, hi int, value float64) {
	p := w[name]
	width := p.Len() / p.Dim(0)
	x := p.Data()[lo*width : hi*width]
	for i := range x {
		x[i] = float32(value)
	}
}

// pass makes channels lo to hi-1 of a short convolution hand on their input, times factor.
func (w weights) pass(name string, lo, hi int, factor float64) {
	p := w[name]
	taps := p.Dim(-1)
	w.fill(name, lo, hi, 0)
	for c := lo; c < hi; c++ {
		p.Data()[(c+1)*taps-1] = float32(factor)
	}
}

// column returns a vector as a matrix of one column.
func column(x []float64) mat.Matrix { return mat.NewVecDense(len(x), x) }

// inverseSiLU returns the positive x for which x/(1+e^-x) is y, which is positive.
func inverseSiLU(y float64) float64 {
	lo, hi := 0.0, y+1
	for range 60 {
		x := (lo + hi) / 2
		if x/(1+math.Exp(-x)) < y {
			lo = x
		} else {
			hi = x
		}
	}
	return lo
}

// inverseSoftplus returns the x for which log(1+e^x) is y, which is positive.
func inverseSoftplus(y float64) float64 { return y + math.Log(-math.Expm1(-y)) }

// forgetting returns the factor by which a state has to decay at each position for the
// inputs in it to be as old, in the mean, as what the head looks at.
func (h *headProfile) forgetting() float64 {
	reach := h.reach()
	return max(reach, 0.05) / (1 + max(reach, 0.05))
}
