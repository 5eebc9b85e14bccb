package kernel

import "math"

// The derivatives of the functions in math.go: dst = dy·f'(x). dst may be dy or x.

func slope(dst, x, dy []float32, f func(float64) float64) {
	for i := range dst {
		dst[i] = float32(f(float64(x[i]))) * dy[i]
	}
}

func SigmoidGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 { s := sigmoid64(v); return s * (1 - s) })
}
func SiLUGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 { s := sigmoid64(v); return s * (1 + v*(1-s)) })
}
func SoftplusGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 {
		if v > 20 {
			return 1
		}
		return sigmoid64(v)
	})
}
func TanhGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 { t := math.Tanh(v); return 1 - t*t })
}
func GELUGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 {
		return 0.5*math.Erfc(-v/math.Sqrt2) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)
	})
}
func GELUTanhGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 {
		const c, a = 0.7978845608028654, 0.044715
		t := math.Tanh(c * (v + a*v*v*v))
		return 0.5*(1+t) + 0.5*v*(1-t*t)*c*(1+3*a*v*v)
	})
}
func ReLUGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 {
		if v > 0 {
			return 1
		}
		return 0
	})
}
