//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func taylorRows(dst []float32, ldd int, src []float32, lds, rows, f int) {
	if cpu.NEON {
		taylorRowsNEON(&dst[0], ldd, &src[0], lds, rows, f)
	} else {
		taylorRowsGeneric(dst, ldd, src, lds, rows, f)
	}
}

func taylorColumns(dst []float32, ldd int, panel []float32, f int) {
	if cpu.NEON {
		taylorColumnsNEON(&dst[0], ldd, &panel[0], f)
	} else {
		taylorColumnsGeneric(dst, ldd, panel, f)
	}
}

func taylorWeights(s []float32, lds int, sum []float32, rows, n, first int) {
	if cpu.NEON {
		taylorWeightsNEON(&s[0], lds, &sum[0], rows, n, first)
	} else {
		taylorWeightsGeneric(s, lds, sum, rows, n, first)
	}
}

func rowDots(y, a []float32, lda int, x []float32, m int, add bool) {
	if cpu.NEON && len(x) > 0 {
		rowDotsNEON(&y[0], &a[0], lda, &x[0], m, len(x), add)
	} else {
		rowDotsGeneric(y, a, lda, x, m, add)
	}
}

func scaleRows(dst []float32, ldd int, src []float32, lds int, factors []float32, n int) {
	if cpu.NEON {
		scaleRowsNEON(&dst[0], ldd, &src[0], lds, &factors[0], len(factors), n)
	} else {
		scaleRowsGeneric(dst, ldd, src, lds, factors, n)
	}
}

func taylorWeightsGrad(s []float32, lds int, ds []float32, ldd, m, n int) {
	if cpu.NEON {
		taylorWeightsGradNEON(&s[0], lds, &ds[0], ldd, m, n)
	} else {
		taylorWeightsGradGeneric(s, lds, ds, ldd, m, n)
	}
}
