package based

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
)

// A DifferentiableMap is a [FeatureMap] that can be trained through. All maps of this
// package are; a [LinearAttention] with another map is not trainable.
type DifferentiableMap interface {
	FeatureMap

	// Backward writes to dx the gradient of a loss with respect to x from dphi, that
	// with respect to what Map makes of x at this position, and adds those with respect
	// to parameters of the map to grads. It must not keep the slices. The same grads are
	// used by one goroutine at a time.
	Backward(dx, dphi, x []float32, position int, grads seqmix.Grads)
}

// Backward copies dphi.
func (Identity) Backward(dx, dphi, _ []float32, _ int, _ seqmix.Grads) { copy(dx, dphi) }

// Backward computes dx = dphi·min(e^x, 1).
func (ELU) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	dx = dx[:len(x)]
	for i, v := range x {
		dx[i] = min(v, 0)
	}
	kernel.Exp(dx, dx)
	kernel.Mul(dx, dx, dphi[:len(x)])
}

// Backward computes dx = dphi where x is above 1e-12, and 0 elsewhere.
func (ReLU) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	for i, v := range x {
		dx[i] = 0
		if v > 1e-12 {
			dx[i] = dphi[i]
		}
	}
}

// Backward computes dx = 2·x·dphi.
func (Square) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	kernel.ScaleMul(dx[:len(x)], 2, x, dphi[:len(x)])
}

// Backward computes dx = e^x·dphi[i] for x > 0 and -e^-x·dphi[n+i] for x < 0.
func (Exp) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	n := len(x)
	for i, v := range x {
		dx[i] = max(v, -v)
	}
	kernel.Exp(dx[:n], dx[:n])
	for i, v := range x {
		switch {
		case v > 0:
			dx[i] *= dphi[i]
		case v < 0:
			dx[i] *= -dphi[n+i]
		default:
			dx[i] = 0
		}
	}
}

// Backward computes dx = y·(dphi - y·dphi) for the softmax y of x, and takes off the
// same for that of -x.
func (Softmax) Backward(dx, dphi, x []float32, position int, grads seqmix.Grads) {
	n := len(x)
	negative, y := make([]float32, n), make([]float32, n)
	kernel.Scale(negative, -1, x)
	HalfSoftmax{}.Backward(y, dphi[n:], negative, position, grads)
	HalfSoftmax{}.Backward(dx, dphi, x, position, grads)
	kernel.Sub(dx[:n], dx[:n], y)
}

// Backward computes dx = y·(dphi - y·dphi) with the softmax y of x.
func (HalfSoftmax) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	dx, dphi = dx[:len(x)], dphi[:len(x)]
	kernel.Softmax(dx, x)
	mean := kernel.Dot(dx, dphi)
	for i, y := range dx {
		dx[i] = y * (dphi[i] - mean)
	}
}

// Backward computes dx = sin(a)·dphi[i] + cos(a)·dphi[n+i] for x > 0, and 0 elsewhere.
func (c CosFormer) Backward(dx, dphi, x []float32, position int, _ seqmix.Grads) {
	n := len(x)
	sin, cos := math.Sincos(math.Pi / 2 * float64(position+1) / float64(c.Length))
	for i, v := range x {
		dx[i] = 0
		if v > 0 {
			dx[i] = float32(sin)*dphi[i] + float32(cos)*dphi[n+i]
		}
	}
}

// Backward computes, with l = Proj1·x,
//
//	dx     = √2·(Proj1ᵀ·(l·dphi) + x·(Proj2ᵀ·dphi))
//	dProj1 = √2·(l·dphi)·xᵀ
//	dProj2 = dphi·(x²)ᵀ/√2
func (p Polynomial) Backward(dx, dphi, x []float32, _ int, grads seqmix.Grads) {
	a, b, n := p.Proj1.Data(), p.Proj2.Data(), len(x)
	da, db := grads.Of(p.Proj1), grads.Of(p.Proj2)
	clear(dx[:n])
	for i, d := range dphi[:p.Proj1.Dim(0)] {
		row, squares := a[i*n:(i+1)*n], b[i*n:(i+1)*n]
		dl := math.Sqrt2 * kernel.Dot(row, x) * d
		kernel.Axpy(dl, row, dx[:n])
		for j, w := range squares {
			dx[j] += math.Sqrt2 * d * w * x[j]
		}
		if da != nil {
			kernel.Axpy(dl, x, da[i*n:(i+1)*n])
		}
		if db != nil {
			for j, v := range x {
				db[i*n+j] += math.Sqrt2 / 2 * d * v * v
			}
		}
	}
}

// Backward computes dx from the gradients of the features that Map makes: with x scaled
// as there,
//
//	dx_i = f^(-1/4)·(dphi[x_i] + √2·x_i·dphi[x_i²/√2] + Σ_{j≠i} x_j·dphi[x_i·x_j])
func (Taylor) Backward(dx, dphi, x []float32, _ int, _ seqmix.Grads) {
	n, scale := len(x), taylorScale(len(x))
	scaled := make([]float32, n)
	kernel.Scale(scaled, scale, x)
	linear, squares, pairs := dphi[1:1+n], dphi[1+n:1+2*n], dphi[1+2*n:]
	for i, v := range scaled {
		dx[i] = linear[i] + math.Sqrt2*v*squares[i]
		for j, d := range pairs[:i] {
			dx[i] += scaled[j] * d
			dx[j] += v * d
		}
		pairs = pairs[i:]
	}
	kernel.Scale(dx[:n], scale, dx[:n])
}
