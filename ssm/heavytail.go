package ssm

// HeavyTail computes
//
//	dst[i] = 1 + x[i]         x[i] ≥ 0
//	dst[i] = 1/(1 - x[i])     x[i] < 0
//
// which is positive and, where softplus goes to zero like an exponential, does so like
// a hyperbola. It is heavy_tail_activation of state-spaces/mamba (modules/mamba3.py).
// dst may be x.
func HeavyTail(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(heavyTail(float64(v)))
	}
}

func heavyTail(x float64) float64 {
	if x < 0 {
		return 1 / (1 - x)
	}
	return 1 + x // NaN too
}

// HeavyTailGrad computes dst = dy·f'(x) for f = HeavyTail; the derivative at 0 is 1. dst
// may be x or dy.
func HeavyTailGrad(dst, x, dy []float32) {
	for i, v := range x {
		dst[i] = float32(float64(dy[i]) * HeavyTailRate.slope(float64(v)))
	}
}
