package kernel

import "math"

// In this file dst may be x; it must not overlap an input otherwise.

// RMSNorm computes dst = x/√(mean(x²) + eps) · weight. A nil weight is left out.
func RMSNorm(dst, x, weight []float32, eps float32) {
	meanSquare := float64(SumSquares(x)) / float64(len(x))
	scaleBy(dst, x, weight, 1/math.Sqrt(meanSquare+float64(eps)))
}

// RMSNormOutside computes dst = x/(√mean(x²) + eps) · weight, with eps outside the
// root. A nil weight is left out.
func RMSNormOutside(dst, x, weight []float32, eps float32) {
	meanSquare := float64(SumSquares(x)) / float64(len(x))
	scaleBy(dst, x, weight, 1/(math.Sqrt(meanSquare)+float64(eps)))
}

func scaleBy(dst, x, weight []float32, s float64) {
	if weight == nil {
		Scale(dst, float32(s), x)
	} else {
		ScaleMul(dst, float32(s), x, weight)
	}
}

// LayerNorm computes dst = (x - mean)/√(variance + eps) · weight + bias, with the
// variance Σ(x-mean)²/n. A nil weight or bias is left out.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	n := float64(len(x))
	AddConst(dst, x, -float32(float64(Sum(x))/n))
	variance := float64(SumSquares(dst)) / n
	scaleBy(dst, dst, weight, 1/math.Sqrt(variance+float64(eps)))
	if bias != nil {
		Add(dst, dst, bias)
	}
}

// Softmax computes dst = e^x / Σ e^x, with the maximum subtracted first. If all of x
// is -Inf, or one is +Inf or NaN, the result is NaN.
func Softmax(dst, x []float32) {
	sum := ExpSubSum(dst, x, Max(x))
	Scale(dst, 1/sum, dst)
}

// LogSumExp returns log Σ e^x, with the maximum subtracted first: -Inf if x is empty
// or all of it is -Inf.
func LogSumExp(x []float32) float32 {
	m := Max(x)
	if math.IsInf(float64(m), 0) {
		return m
	}
	var sum float64
	var buf [256]float32
	for ; len(x) > 0; x = x[min(len(x), len(buf)):] {
		n := min(len(x), len(buf))
		sum += float64(ExpSubSum(buf[:n], x[:n], m))
	}
	return float32(float64(m) + math.Log(sum))
}
