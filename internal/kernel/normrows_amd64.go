//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one row of at least one element.

func layerNormRows(dst, x, weight, bias []float32, eps float32) {
	n := len(weight)
	switch {
	case cpu.AVX512:
		layerNormAVX512(len(x)/n, n, &dst[0], &x[0], &weight[0], &bias[0], 1/float32(n), eps)
	case cpu.AVX2:
		layerNormAVX2(len(x)/n, n, &dst[0], &x[0], &weight[0], &bias[0], 1/float32(n), eps)
	default:
		layerNormRowsGeneric(dst, x, weight, bias, eps)
	}
}

func rmsNormRows(dst, x, weight []float32, inside, outside float32) {
	n := len(weight)
	switch {
	case cpu.AVX512:
		rmsNormAVX512(len(x)/n, n, &dst[0], &x[0], &weight[0], 1/float32(n), inside, outside)
	case cpu.AVX2:
		rmsNormAVX2(len(x)/n, n, &dst[0], &x[0], &weight[0], 1/float32(n), inside, outside)
	default:
		rmsNormRowsGeneric(dst, x, weight, inside, outside)
	}
}

func layerNormGradRows(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	n := len(weight)
	switch {
	case cpu.AVX512:
		layerNormGradAVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], &dbias[0], 1/float32(n), eps)
	case cpu.AVX2:
		layerNormGradAVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], &dbias[0], 1/float32(n), eps)
	default:
		layerNormGradRowsGeneric(dx, dy, x, weight, dweight, dbias, eps)
	}
}

func rmsNormGradRows(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	n := len(weight)
	switch {
	case cpu.AVX512:
		rmsNormGradAVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], 1/float32(n), inside, outside)
	case cpu.AVX2:
		rmsNormGradAVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], &weight[0], &dweight[0], 1/float32(n), inside, outside)
	default:
		rmsNormGradRowsGeneric(dx, dy, x, weight, dweight, inside, outside)
	}
}
