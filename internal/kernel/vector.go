package kernel

import "math"

// In this file dst may be exactly an input; it must not overlap one otherwise. All
// slices have the same length, else the functions panic.

// Add computes dst = a + b.
func Add(dst, a, b []float32) {
	for check("Add", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		add(head(dst), head(a), head(b))
	}
}

// Sub computes dst = a - b.
func Sub(dst, a, b []float32) {
	for check("Sub", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		sub(head(dst), head(a), head(b))
	}
}

// Mul computes dst = a·b, element by element.
func Mul(dst, a, b []float32) {
	for check("Mul", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		mul(head(dst), head(a), head(b))
	}
}

// MulAdd adds a·b to dst, element by element.
func MulAdd(dst, a, b []float32) {
	for check("MulAdd", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		mulAdd(head(dst), head(a), head(b), head(dst))
	}
}

// MulAddTo computes dst = a·b + c, element by element.
func MulAddTo(dst, a, b, c []float32) {
	for check("MulAddTo", len(dst), len(a), len(b), len(c)); len(dst) > 0; dst, a, b, c = rest(dst), rest(a), rest(b), rest(c) {
		mulAdd(head(dst), head(a), head(b), head(c))
	}
}

// AddScaled computes dst = a + alpha·b.
func AddScaled(dst, a []float32, alpha float32, b []float32) {
	for check("AddScaled", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		addScaled(head(dst), head(a), head(b), alpha)
	}
}

// Axpy adds alpha·x to y.
func Axpy(alpha float32, x, y []float32) { AddScaled(y, y, alpha, x) }

// AddConst computes dst = x + c.
func AddConst(dst, x []float32, c float32) {
	for check("AddConst", len(dst), len(x)); len(dst) > 0; dst, x = rest(dst), rest(x) {
		addConst(head(dst), head(x), c)
	}
}

// Scale computes dst = alpha·x.
func Scale(dst []float32, alpha float32, x []float32) {
	for check("Scale", len(dst), len(x)); len(dst) > 0; dst, x = rest(dst), rest(x) {
		scale(head(dst), head(x), alpha)
	}
}

// ScaleMul computes dst = (alpha·a)·b, element by element.
func ScaleMul(dst []float32, alpha float32, a, b []float32) {
	for check("ScaleMul", len(dst), len(a), len(b)); len(dst) > 0; dst, a, b = rest(dst), rest(a), rest(b) {
		scaleMul(head(dst), head(a), head(b), alpha)
	}
}

// Dot returns Σ a·b. As in all sums here, some dozens of partial sums are kept and
// added at the end, in an order that depends on the length and the tier only; so the
// error grows with a small fraction of the length.
func Dot(a, b []float32) float32 {
	check("Dot", len(a), len(b))
	var total float64
	for ; len(a) > 0; a, b = rest(a), rest(b) {
		total += dot(head(a), head(b))
	}
	return float32(total)
}

// Sum returns Σ x.
func Sum(x []float32) float32 {
	var total float64
	for ; len(x) > 0; x = rest(x) {
		total += sum(head(x))
	}
	return float32(total)
}

// SumSquares returns Σ x².
func SumSquares(x []float32) float32 { return Dot(x, x) }

// Max returns the largest element, or -Inf for none. Where x holds NaNs, the result may
// be a NaN or the largest of some of the others.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	for ; len(x) > 0; x = rest(x) {
		m = max(m, maximum(head(x)))
	}
	return m
}

// addUp returns the sum of partial sums. It takes four side by side, so that an addition
// does not wait for the one before it: for short vectors, those of norms, this is most of
// the work.
func addUp(x []float32) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4; x = x[4:] {
		a += float64(x[0])
		b += float64(x[1])
		c += float64(x[2])
		d += float64(x[3])
	}
	for _, v := range x {
		a += float64(v)
	}
	return (a + b) + (c + d)
}
