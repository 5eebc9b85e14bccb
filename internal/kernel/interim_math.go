package kernel

// Interim: see interim_portable.go. These belong to the groups vector, math and norm.

import "math"

func each1(dst, x []float32, f func(float64) float64) {
	for i, v := range x {
		dst[i] = float32(f(float64(v)))
	}
}

func Dot(a, b []float32) float32 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return float32(s)
}

func Axpy(alpha float32, x, y []float32) {
	for i := range x {
		y[i] += alpha * x[i]
	}
}

func Sub(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

func Mul(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func MulAdd(dst, a, b []float32) {
	for i := range dst {
		dst[i] += a[i] * b[i]
	}
}

func Scale(dst []float32, alpha float32, x []float32) {
	for i := range dst {
		dst[i] = alpha * x[i]
	}
}

func AddScaled(dst, a []float32, alpha float32, b []float32) {
	for i := range dst {
		dst[i] = a[i] + alpha*b[i]
	}
}

func AddConst(dst, x []float32, c float32) {
	for i := range dst {
		dst[i] = x[i] + c
	}
}

func Sum(x []float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return float32(s)
}

func SumSquares(x []float32) float32 { return Dot(x, x) }

func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func silu(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return x * sigmoid(x)
}

func softplus(x float64) float64 {
	if x > 20 {
		return x
	}
	return math.Log1p(math.Exp(x))
}

func gelu(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return 0.5 * x * math.Erfc(-x/math.Sqrt2)
}

func geluTanh(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return x * sigmoid(2*0.7978845608028654*(x+0.044715*x*x*x))
}

func relu(x float64) float64 { return max(x, 0) }

func Exp(dst, x []float32)      { each1(dst, x, math.Exp) }
func Log(dst, x []float32)      { each1(dst, x, math.Log) }
func Sin(dst, x []float32)      { each1(dst, x, math.Sin) }
func Cos(dst, x []float32)      { each1(dst, x, math.Cos) }
func Erf(dst, x []float32)      { each1(dst, x, math.Erf) }
func Sigmoid(dst, x []float32)  { each1(dst, x, sigmoid) }
func SiLU(dst, x []float32)     { each1(dst, x, silu) }
func Softplus(dst, x []float32) { each1(dst, x, softplus) }
func Tanh(dst, x []float32)     { each1(dst, x, math.Tanh) }
func GELU(dst, x []float32)     { each1(dst, x, gelu) }
func GELUTanh(dst, x []float32) { each1(dst, x, geluTanh) }
func ReLU(dst, x []float32)     { each1(dst, x, relu) }

func gatedBy(dst, gate, up []float32, f func(float64) float64) {
	for i := range dst {
		dst[i] = float32(f(float64(gate[i]))) * up[i]
	}
}

func SiLUMul(dst, gate, up []float32)     { gatedBy(dst, gate, up, silu) }
func GELUMul(dst, gate, up []float32)     { gatedBy(dst, gate, up, gelu) }
func GELUTanhMul(dst, gate, up []float32) { gatedBy(dst, gate, up, geluTanh) }
func SigmoidMul(dst, gate, up []float32)  { gatedBy(dst, gate, up, sigmoid) }
func ReLUMul(dst, gate, up []float32)     { gatedBy(dst, gate, up, relu) }

func slope(dst, x, dy []float32, f func(float64) float64) {
	for i := range dst {
		dst[i] = float32(f(float64(x[i]))) * dy[i]
	}
}

func SigmoidGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 { s := sigmoid(v); return s * (1 - s) })
}
func SiLUGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 { s := sigmoid(v); return s * (1 + v*(1-s)) })
}
func SoftplusGrad(dst, x, dy []float32) {
	slope(dst, x, dy, func(v float64) float64 {
		if v > 20 {
			return 1
		}
		return sigmoid(v)
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

func RMSNorm(dst, x, weight []float32, eps float32) {
	s := float32(1 / math.Sqrt(float64(SumSquares(x))/float64(len(x))+float64(eps)))
	for i, v := range x {
		dst[i] = v * s
		if weight != nil {
			dst[i] *= weight[i]
		}
	}
}

func RMSNormOutside(dst, x, weight []float32, eps float32) {
	s := float32(1 / (math.Sqrt(float64(SumSquares(x))/float64(len(x))) + float64(eps)))
	for i, v := range x {
		dst[i] = v * s
		if weight != nil {
			dst[i] *= weight[i]
		}
	}
}

func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	var m, q float64
	for _, v := range x {
		m += float64(v)
	}
	m /= float64(len(x))
	for _, v := range x {
		q += (float64(v) - m) * (float64(v) - m)
	}
	s := 1 / math.Sqrt(q/float64(len(x))+float64(eps))
	for i, v := range x {
		y := float32((float64(v) - m) * s)
		if weight != nil {
			y *= weight[i]
		}
		if bias != nil {
			y += bias[i]
		}
		dst[i] = y
	}
}

func ExpSubSum(dst, x []float32, max float32) float32 {
	var s float64
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v - max)))
		s += float64(dst[i])
	}
	return float32(s)
}

func Softmax(dst, x []float32) {
	s := ExpSubSum(dst, x, Max(x))
	Scale(dst, 1/s, dst)
}

func LogSumExp(x []float32) float32 {
	m := Max(x)
	var s float64
	for _, v := range x {
		s += math.Exp(float64(v - m))
	}
	return m + float32(math.Log(s))
}
