//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one row of at least one element.

// neonRows reports whether the assembly takes rows of n elements: only whole pairs of
// vectors, which models have.
func neonRows(n int) bool { return cpu.NEON && n%8 == 0 }

func layerNormRows(dst, x, weight, bias []float32, eps float32) {
	if n := len(weight); neonRows(n) {
		layerNormNEON(len(x)/n, n, &dst[0], &x[0], &weight[0], &bias[0], 1/float32(n), eps)
	} else {
		layerNormRowsGeneric(dst, x, weight, bias, eps)
	}
}

func rmsNormRows(dst, x, weight []float32, inside, outside float32) {
	if n := len(weight); neonRows(n) {
		rmsNormNEON(len(x)/n, n, &dst[0], &x[0], &weight[0], 1/float32(n), inside, outside)
	} else {
		rmsNormRowsGeneric(dst, x, weight, inside, outside)
	}
}

func layerNormGradRows(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	if n := len(weight); neonRows(n) {
		layerNormGradNEON(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], &dbias[0], 1/float32(n), eps)
	} else {
		layerNormGradRowsGeneric(dx, dy, x, weight, dweight, dbias, eps)
	}
}

func rmsNormGradRows(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	if n := len(weight); neonRows(n) {
		rmsNormGradNEON(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], 1/float32(n), inside, outside)
	} else {
		rmsNormGradRowsGeneric(dx, dy, x, weight, dweight, inside, outside)
	}
}
