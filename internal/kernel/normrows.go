package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./normrows -out ../normrows_amd64.s -stubs ../normrows_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group normrows -out ../normrows_arm64.s -stubs ../normrows_stub_arm64.go"

// The functions of this file take rows as wide as weight, one after the other. Each row is
// computed for itself, so that results do not depend on how many there are. Denominators
// and sums are float32.

// LayerNormRows computes, for each row of x,
//
//	dst = (x - mean)/√(variance + eps) · weight + bias
//
// with the variance Σ(x-mean)²/n. dst may be x. It panics if lengths do not fit.
func LayerNormRows(dst, x, weight, bias []float32, eps float32) {
	n := len(weight)
	eachRows("LayerNormRows", n, len(x), len(dst), func(lo, hi int) {
		layerNormRows(dst[lo:hi], x[lo:hi], weight, bias[:n], eps)
	})
}

// RMSNormRows computes, for each row of x,
//
//	dst = x/(√(mean(x²) + inside) + outside) · weight
//
// dst may be x. It panics if lengths do not fit.
func RMSNormRows(dst, x, weight []float32, inside, outside float32) {
	eachRows("RMSNormRows", len(weight), len(x), len(dst), func(lo, hi int) {
		rmsNormRows(dst[lo:hi], x[lo:hi], weight, inside, outside)
	})
}

// LayerNormGradRows computes dx from the gradient dy with respect to what [LayerNormRows]
// makes of x, and adds the gradients of all rows with respect to weight and bias to
// dweight and dbias. With u = (x-mean)·s, where s is 1/√(variance + eps), and g = weight·dy,
//
//	dx = s·(g - mean(g) - u·mean(g·u))    dweight += dy·u    dbias += dy
//
// dx may be dy or x. It panics if lengths do not fit.
func LayerNormGradRows(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	n := len(weight)
	check("LayerNormGradRows", n, len(dweight), len(dbias))
	check("LayerNormGradRows", len(x), len(dy))
	eachRows("LayerNormGradRows", n, len(x), len(dx), func(lo, hi int) {
		layerNormGradRows(dx[lo:hi], dy[lo:hi], x[lo:hi], weight, dweight, dbias, eps)
	})
}

// RMSNormGradRows is [LayerNormGradRows] for [RMSNormRows]: with r = √(mean(x²) + inside),
// s = 1/(r + outside) and u = x·s,
//
//	dx = s·(g - u·mean(g·u)/(r·s))    dweight += dy·u
func RMSNormGradRows(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	n := len(weight)
	check("RMSNormGradRows", n, len(dweight))
	check("RMSNormGradRows", len(x), len(dy))
	eachRows("RMSNormGradRows", n, len(x), len(dx), func(lo, hi int) {
		rmsNormGradRows(dx[lo:hi], dy[lo:hi], x[lo:hi], weight, dweight, inside, outside)
	})
}

// eachRows calls f for pieces of whole rows, so short that the scheduler can stop it
// between them.
func eachRows(op string, n, length, dst int, f func(lo, hi int)) {
	if length != dst || n == 0 && length > 0 || n > 0 && length%n != 0 {
		panic(fmt.Sprintf("kernel: %s of %d elements to %d, in rows of %d", op, length, dst, n))
	}
	if n == 0 {
		return
	}
	step := max(piece/n, 1) * n
	for lo := 0; lo < length; lo += step {
		f(lo, min(lo+step, length))
	}
}
