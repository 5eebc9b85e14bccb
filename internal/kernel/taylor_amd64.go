//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func taylorRows(dst []float32, ldd int, src []float32, lds, rows, f int) {
	switch {
	case cpu.AVX512:
		taylorRowsAVX512(&dst[0], ldd, &src[0], lds, rows, f)
	case cpu.AVX2:
		taylorRowsAVX2(&dst[0], ldd, &src[0], lds, rows, f)
	default:
		taylorRowsGeneric(dst, ldd, src, lds, rows, f)
	}
}

func taylorColumns(dst []float32, ldd int, panel []float32, f int) {
	switch {
	case cpu.AVX512:
		taylorColumnsAVX512(&dst[0], ldd, &panel[0], f)
	case cpu.AVX2:
		taylorColumnsAVX2(&dst[0], ldd, &panel[0], f)
	default:
		taylorColumnsGeneric(dst, ldd, panel, f)
	}
}

func taylorWeights(s []float32, lds int, sum []float32, rows, n, first int) {
	switch {
	case cpu.AVX512:
		taylorWeightsAVX512(&s[0], lds, &sum[0], rows, n, first)
	case cpu.AVX2:
		taylorWeightsAVX2(&s[0], lds, &sum[0], rows, n, first)
	default:
		taylorWeightsGeneric(s, lds, sum, rows, n, first)
	}
}

func rowDots(y, a []float32, lda int, x []float32, m int, add bool) {
	if len(x) == 0 || !cpu.AVX512 && !cpu.AVX2 {
		rowDotsGeneric(y, a, lda, x, m, add)
		return
	}
	if cpu.AVX512 {
		rowDotsAVX512(&y[0], &a[0], lda, &x[0], m, len(x), add)
	} else {
		rowDotsAVX2(&y[0], &a[0], lda, &x[0], m, len(x), add)
	}
}

func scaleRows(dst []float32, ldd int, src []float32, lds int, factors []float32, n int) {
	switch {
	case cpu.AVX512:
		scaleRowsAVX512(&dst[0], ldd, &src[0], lds, &factors[0], len(factors), n)
	case cpu.AVX2:
		scaleRowsAVX2(&dst[0], ldd, &src[0], lds, &factors[0], len(factors), n)
	default:
		scaleRowsGeneric(dst, ldd, src, lds, factors, n)
	}
}

func taylorWeightsGrad(s []float32, lds int, ds []float32, ldd, m, n int) {
	switch {
	case cpu.AVX512:
		taylorWeightsGradAVX512(&s[0], lds, &ds[0], ldd, m, n)
	case cpu.AVX2:
		taylorWeightsGradAVX2(&s[0], lds, &ds[0], ldd, m, n)
	default:
		taylorWeightsGradGeneric(s, lds, ds, ldd, m, n)
	}
}
