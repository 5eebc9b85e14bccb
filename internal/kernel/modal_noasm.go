//go:build purego || !(amd64 || arm64)

package kernel

func modalBegin(n, width int, y, u, src []float32, lds int, d []float32) {
	modalBeginGeneric(n, width, y, u, src, lds, d)
}

func modalEnd(n, width int, dst []float32, ldd int, y []float32) {
	modalEndGeneric(n, width, dst, ldd, y)
}

func modalPairs(n, pairs int, y, u, poles, h []float32) { modalPairsGeneric(n, pairs, y, u, poles, h) }

func modalReals(n, reals int, y, u, poles, h []float32) { modalRealsGeneric(n, reals, y, u, poles, h) }
