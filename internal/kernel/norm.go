package kernel

import "math"

// In this file dst may be x; it must not overlap an input otherwise.

// RMSNorm computes dst = x/√(mean(x²) + eps) · weight. A nil weight is left out.
func RMSNorm(dst, x, weight []float32, eps float32) {
	if weight != nil {
		RMSNormRows(dst, x, weight[:len(x)], eps, 0)
		return
	}
	meanSquare := float64(SumSquares(x)) / float64(len(x))
	Scale(dst, float32(1/math.Sqrt(meanSquare+float64(eps))), x)
}

// RMSNormOutside computes dst = x/(√mean(x²) + eps) · weight, with eps outside the
// root. A nil weight is left out.
func RMSNormOutside(dst, x, weight []float32, eps float32) {
	if weight != nil {
		RMSNormRows(dst, x, weight[:len(x)], 0, eps)
		return
	}
	meanSquare := float64(SumSquares(x)) / float64(len(x))
	Scale(dst, float32(1/(math.Sqrt(meanSquare)+float64(eps))), x)
}

// LayerNorm computes dst = (x - mean)/√(variance + eps) · weight + bias, with the
// variance Σ(x-mean)²/n. A nil weight or bias is left out.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	if weight != nil && bias != nil {
		LayerNormRows(dst, x, weight[:len(x)], bias, eps)
		return
	}
	n := float64(len(x))
	AddConst(dst, x, -float32(float64(Sum(x))/n))
	variance := float64(SumSquares(dst)) / n
	scale := float32(1 / math.Sqrt(variance+float64(eps)))
	if weight != nil {
		ScaleMul(dst, scale, dst, weight)
	} else {
		Scale(dst, scale, dst)
	}
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
