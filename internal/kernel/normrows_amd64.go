//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// shortRow is the width up to which rows are computed several at a time. All that belongs
// to four of them is in the first-level cache.
const shortRow = 512

// together returns how many of the rows of n elements are computed four at a time on
// AVX-512, or two on AVX2, and how many elements these have.
func together(length, n int) (rows, elements int) {
	if n > shortRow {
		return 0, 0
	}
	switch {
	case cpu.AVX512:
		rows = length / n &^ 3
	case cpu.AVX2:
		rows = length / n &^ 1
	}
	return rows, rows * n
}

// The dispatchers below get at least one row of at least one element.

func layerNormRows(dst, x, weight, bias []float32, eps float32) {
	n := len(weight)
	w, b, inverse := &weight[0], &bias[0], 1/float32(n)
	if rows, m := together(len(x), n); rows > 0 {
		if cpu.AVX512 {
			layerNormShort4AVX512(rows, n, &dst[0], &x[0], w, b, inverse, eps)
		} else {
			layerNormShort2AVX2(rows, n, &dst[0], &x[0], w, b, inverse, eps)
		}
		dst, x = dst[m:], x[m:]
	}
	switch {
	case len(x) == 0:
	case cpu.AVX512:
		layerNormAVX512(len(x)/n, n, &dst[0], &x[0], w, b, inverse, eps)
	case cpu.AVX2:
		layerNormAVX2(len(x)/n, n, &dst[0], &x[0], w, b, inverse, eps)
	default:
		layerNormRowsGeneric(dst, x, weight, bias, eps)
	}
}

func rmsNormRows(dst, x, weight []float32, inside, outside float32) {
	n := len(weight)
	w, inverse := &weight[0], 1/float32(n)
	if rows, m := together(len(x), n); rows > 0 {
		if cpu.AVX512 {
			rmsNormShort4AVX512(rows, n, &dst[0], &x[0], w, inverse, inside, outside)
		} else {
			rmsNormShort2AVX2(rows, n, &dst[0], &x[0], w, inverse, inside, outside)
		}
		dst, x = dst[m:], x[m:]
	}
	switch {
	case len(x) == 0:
	case cpu.AVX512:
		rmsNormAVX512(len(x)/n, n, &dst[0], &x[0], w, inverse, inside, outside)
	case cpu.AVX2:
		rmsNormAVX2(len(x)/n, n, &dst[0], &x[0], w, inverse, inside, outside)
	default:
		rmsNormRowsGeneric(dst, x, weight, inside, outside)
	}
}

func layerNormGradRows(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	n := len(weight)
	w, dw, db, inverse := &weight[0], &dweight[0], &dbias[0], 1/float32(n)
	if rows, m := together(len(x), n); rows > 0 {
		if cpu.AVX512 {
			layerNormGradShort4AVX512(rows, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
		} else {
			layerNormGradShort2AVX2(rows, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
		}
		dx, dy, x = dx[m:], dy[m:], x[m:]
	}
	switch {
	case len(x) == 0:
	case cpu.AVX512 && n <= shortRow:
		layerNormGradShort1AVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
	case cpu.AVX512:
		layerNormGradAVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
	case cpu.AVX2 && n <= shortRow:
		layerNormGradShort1AVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
	case cpu.AVX2:
		layerNormGradAVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, db, inverse, eps)
	default:
		layerNormGradRowsGeneric(dx, dy, x, weight, dweight, dbias, eps)
	}
}

func rmsNormGradRows(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	n := len(weight)
	w, dw, inverse := &weight[0], &dweight[0], 1/float32(n)
	if rows, m := together(len(x), n); rows > 0 {
		if cpu.AVX512 {
			rmsNormGradShort4AVX512(rows, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
		} else {
			rmsNormGradShort2AVX2(rows, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
		}
		dx, dy, x = dx[m:], dy[m:], x[m:]
	}
	switch {
	case len(x) == 0:
	case cpu.AVX512 && n <= shortRow:
		rmsNormGradShort1AVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
	case cpu.AVX512:
		rmsNormGradAVX512(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
	case cpu.AVX2 && n <= shortRow:
		rmsNormGradShort1AVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
	case cpu.AVX2:
		rmsNormGradAVX2(len(x)/n, n, &dx[0], &dy[0], &x[0], w, dw, inverse, inside, outside)
	default:
		rmsNormGradRowsGeneric(dx, dy, x, weight, dweight, inside, outside)
	}
}
