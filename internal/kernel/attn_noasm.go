//go:build purego || !(amd64 || arm64)

package kernel

func onlineSoftmax(s []float32, lds int, o []float32, ldo int, max, sum []float32, rows, n, cols int) {
	onlineSoftmaxGeneric(s, lds, o, ldo, max, sum, rows, n, cols)
}

func packKeys(panel, src []float32, lds, first, rows, k int) {
	packKeysGeneric(panel, src, lds, first, rows, k)
}

func rotateHalves(x []float32, dim int, cos, sin []float32) { rotateHalvesGeneric(x, dim, cos, sin) }

func rotatePairs(x []float32, dim int, cos, sin []float32) { rotatePairsGeneric(x, dim, cos, sin) }
