package kernel

import "math"

// The derivatives of the functions in math.go: dst = dy·f'(x). dst may be dy or x.

func slope(dst, x, dy []float32, f func(float64) float64) {
	for i := range dst {
		dst[i] = float32(f(float64(x[i]))) * dy[i]
	}
}

func SigmoidGrad(dst, x, dy []float32) {
	check("SigmoidGrad", len(dst), len(x), len(dy))
	var buffer [256]float32
	for len(x) > 0 {
		n := min(len(x), len(buffer))
		Sigmoid(buffer[:n], x[:n])
		for i, y := range buffer[:n] {
			dst[i] = y * (1 - y) * dy[i]
		}
		dst, x, dy = dst[n:], x[n:], dy[n:]
	}
}
func SiLUGrad(dst, x, dy []float32) {
	for check("SiLUGrad", len(dst), len(x), len(dy)); len(dst) > 0; dst, x, dy = rest(dst), rest(x), rest(dy) {
		siluGrad(head(dst), head(x), head(dy))
	}
}

// siluSlope64 bounds v, so that there is no ∞·0.
func siluSlope64(v float64) float64 {
	s := sigmoid64(v)
	return s * (1 + max(-1000, min(1000, v))*(1-s))
}

// SoftplusGrad is SigmoidMul: above 20, where the softplus is x itself, the sigmoid is
// 1 in float32.
func SoftplusGrad(dst, x, dy []float32) { SigmoidMul(dst, x, dy) }

func TanhGrad(dst, x, dy []float32) {
	check("TanhGrad", len(dst), len(x), len(dy))
	var buffer [256]float32
	for len(x) > 0 {
		n := min(len(x), len(buffer))
		Tanh(buffer[:n], x[:n])
		for i, y := range buffer[:n] {
			dst[i] = (1 - y) * (1 + y) * dy[i]
		}
		dst, x, dy = dst[n:], x[n:], dy[n:]
	}
}
func GELUGrad(dst, x, dy []float32) {
	for check("GELUGrad", len(dst), len(x), len(dy)); len(dst) > 0; dst, x, dy = rest(dst), rest(x), rest(dy) {
		geluGrad(head(dst), head(x), head(dy))
	}
}

func geluSlope64(v float64) float64 {
	v = max(-limit64, min(limit64, v))
	return 0.5*math.Erfc(-v/math.Sqrt2) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)
}

func GELUTanhGrad(dst, x, dy []float32) {
	for check("GELUTanhGrad", len(dst), len(x), len(dy)); len(dst) > 0; dst, x, dy = rest(dst), rest(x), rest(dy) {
		geluTanhGrad(head(dst), head(x), head(dy))
	}
}

func geluTanhSlope64(v float64) float64 {
	const c, a = 0.7978845608028654, 0.044715
	v = max(-limit64, min(limit64, v))
	t := math.Tanh(c * (v + a*v*v*v))
	return 0.5*(1+t) + 0.5*v*(1-t*t)*c*(1+3*a*v*v)
}

func ReLUGrad(dst, x, dy []float32) {
	check("ReLUGrad", len(dst), len(x), len(dy))
	for i, v := range x {
		if v > 0 {
			dst[i] = dy[i]
		} else {
			dst[i] = 0 * dy[i]
		}
	}
}
