//go:build purego || !(amd64 || arm64)

package kernel

func taylorRows(dst []float32, ldd int, src []float32, lds, rows, f int) {
	taylorRowsGeneric(dst, ldd, src, lds, rows, f)
}

func taylorColumns(dst []float32, ldd int, panel []float32, f int) {
	taylorColumnsGeneric(dst, ldd, panel, f)
}

func taylorWeights(s []float32, lds int, sum []float32, rows, n, first int) {
	taylorWeightsGeneric(s, lds, sum, rows, n, first)
}

func rowDots(y, a []float32, lda int, x []float32, m int, add bool) {
	rowDotsGeneric(y, a, lda, x, m, add)
}

func scaleRows(dst []float32, ldd int, src []float32, lds int, factors []float32, n int) {
	scaleRowsGeneric(dst, ldd, src, lds, factors, n)
}

func taylorWeightsGrad(s []float32, lds int, ds []float32, ldd, m, n int) {
	taylorWeightsGradGeneric(s, lds, ds, ldd, m, n)
}
