package ssm

import (
	"math"

	"github.com/seqmix/seqmix/tensor"
)

// complexes returns pairs of real and imaginary parts as complex numbers.
func complexes(v []float32) []complex128 {
	z := make([]complex128, len(v)/2)
	for i := range z {
		z[i] = complex(float64(v[2*i]), float64(v[2*i+1]))
	}
	return z
}

// setComplexes is the inverse of complexes.
func setComplexes(v []float32, z []complex128) {
	for i, c := range z {
		v[2*i], v[2*i+1] = float32(real(c)), float32(imag(c))
	}
}

// fillComplexes writes z to t, again and again.
func fillComplexes(t *tensor.Tensor, z []complex128) {
	v := t.Data()
	for i := 0; i < len(v); i += 2 * len(z) {
		setComplexes(v[i:], z)
	}
}

// expm1 returns exp(z)-1, precisely for small z too.
func expm1(z complex128) complex128 {
	sin, cos := math.Sincos(imag(z))
	half := math.Sin(imag(z) / 2)
	return complex(math.Expm1(real(z))*cos-2*half*half, math.Exp(real(z))*sin)
}
