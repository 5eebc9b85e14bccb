package kernel

import "math"

// The portable kernels compute in float64 and round once.

func mapGeneric(dst, x []float32, f func(float64) float64) {
	for i, v := range x {
		dst[i] = float32(f(float64(v)))
	}
}

func gatedGeneric(dst, gate, up []float32, f func(float64) float64) {
	for i, v := range gate {
		dst[i] = float32(f(float64(v))) * up[i]
	}
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func silu64(x float64) float64 { return max(x, -limit64) / (1 + math.Exp(-max(x, -limit64))) }

// limit64 stands for -∞ in products with a number that goes to 0.
const limit64 = 700

func softplus64(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func gelu64(x float64) float64 {
	return max(x, -limit64) * math.Erfc(-max(x, -limit64)/math.Sqrt2) / 2
}

func geluTanh64(x float64) float64 {
	x = max(x, -limit64)
	return x * sigmoid64(2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))
}

func expGeneric(dst, x []float32)                { mapGeneric(dst, x, math.Exp) }
func sigmoidGeneric(dst, x []float32)            { mapGeneric(dst, x, sigmoid64) }
func siluGeneric(dst, x []float32)               { mapGeneric(dst, x, silu64) }
func softplusGeneric(dst, x []float32)           { mapGeneric(dst, x, softplus64) }
func tanhGeneric(dst, x []float32)               { mapGeneric(dst, x, math.Tanh) }
func geluGeneric(dst, x []float32)               { mapGeneric(dst, x, gelu64) }
func geluTanhGeneric(dst, x []float32)           { mapGeneric(dst, x, geluTanh64) }
func sigmoidMulGeneric(dst, gate, up []float32)  { gatedGeneric(dst, gate, up, sigmoid64) }
func siluGradGeneric(dst, x, dy []float32)       { slope(dst, x, dy, siluSlope64) }
func geluGradGeneric(dst, x, dy []float32)       { slope(dst, x, dy, geluSlope64) }
func geluTanhGradGeneric(dst, x, dy []float32)   { slope(dst, x, dy, geluTanhSlope64) }
func siluMulGeneric(dst, gate, up []float32)     { gatedGeneric(dst, gate, up, silu64) }
func geluMulGeneric(dst, gate, up []float32)     { gatedGeneric(dst, gate, up, gelu64) }
func geluTanhMulGeneric(dst, gate, up []float32) { gatedGeneric(dst, gate, up, geluTanh64) }

func reluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = max(v, 0)
	}
}

func expSubGeneric(dst, x []float32, sub float32) {
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v - sub)))
	}
}
