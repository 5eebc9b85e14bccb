package monarch

import (
	"math/cmplx"

	"github.com/seqmix/seqmix"
)

// frozen reports whether the tensors have no gradients.
func (p Basis) frozen(grads seqmix.Grads) bool {
	return grads.Of(p.Lambda) == nil && grads.Of(p.Rho) == nil
}

// folded returns the gradient of complex weights from that of the real ones which
// complexStage.expand makes of them, with so many numbers for each output and each input of
// blocks of in columns.
func folded(dw []float32, in, outs, ins int) []complex128 {
	g := make([]complex128, len(dw)/(outs*ins))
	for at := range g {
		row, col := at/in, at%in
		var re, im float64
		for c := range outs {
			for d := range ins {
				switch v := float64(dw[(outs*row+c)*ins*in+ins*col+d]); {
				case c == d:
					re += v
				case c == 1:
					im += v
				default:
					im -= v
				}
			}
		}
		g[at] = complex(re, im)
	}
	return g
}

// addGrad adds the gradients of Lambda and Rho from those of the factors W1 and W2, which
// are sums of them times roots of unity: see [Basis.stages].
func (p Basis) addGrad(dw1, dw2 []complex128, grads seqmix.Grads) {
	b := p.Lambda.Dim(0)
	lambda, rho := grads.Of(p.Lambda), grads.Of(p.Rho)
	sums1, sums2 := make([]float64, len(dw1)), make([]float64, b*b)
	for i, g := range dw1 {
		j1, l, j0 := i/(b*b), i/b%b, i%b
		evaluateGrad(sums1[(j1*b+j0)*b:][:p.degree(b, j0)], j0, -float64(l)/float64(b), g)
	}
	for i, g := range dw2 {
		at := i/b%b*b + i/(b*b)
		evaluateGrad(sums2[i%b*b:][:b], i%b, -float64(at)/float64(b*b), g)
	}
	addSums(rho, sums1)
	addSums(lambda, sums2)
}

func addSums(g []float32, sums []float64) {
	for i := range g {
		g[i] += float32(sums[i])
	}
}

// evaluateGrad adds the gradients of the coefficients of a polynomial from that of its
// value: see evaluate.
func evaluateGrad(coefficients []float64, lowest int, turn float64, g complex128) {
	for d := lowest; d < len(coefficients); d++ {
		coefficients[d] += real(g * cmplx.Conj(root(float64(d)*turn)))
	}
}

// addInverseGrad adds the gradients of Lambda and Rho from those of the stages of the inverse
// matrix, whose first is the inverse of the second one and whose second gives real parts
// only.
func (p Basis) addInverseGrad(dw [][]float32, grads seqmix.Grads) {
	b := p.Lambda.Dim(0)
	stages := p.stages(b)
	p.addGrad(stages[0].inverseGrad(folded(dw[1], b, 1, 2)), stages[1].inverseGrad(folded(dw[0], b, 2, 2)), grads)
}

// inverseGrad returns the gradient of the blocks W of s from the gradient g of those of the
// inverse V: -Vᴴ·g·Vᴴ.
func (s complexStage) inverseGrad(g []complex128) []complex128 {
	inverse, err := s.inverse()
	if err != nil {
		panic(err) // the forward pass has it
	}
	n := s.in
	grad := make([]complex128, len(g))
	for b := range s.blocks {
		at := b * n * n
		adjoint, half := make([]complex128, n*n), make([]complex128, n*n)
		for i := range n {
			for j := range n {
				adjoint[j*n+i] = cmplx.Conj(inverse.weights[at+i*n+j])
			}
		}
		addProduct(half, adjoint, g[at:at+n*n], n)
		addProduct(grad[at:at+n*n], half, adjoint, n)
	}
	for i, v := range grad {
		grad[i] = -v
	}
	return grad
}

// addProduct adds the product of n×n matrices to dst.
func addProduct(dst, a, b []complex128, n int) {
	for i := range n {
		for k := range n {
			v := a[i*n+k]
			for j := range n {
				dst[i*n+j] += v * b[k*n+j]
			}
		}
	}
}
