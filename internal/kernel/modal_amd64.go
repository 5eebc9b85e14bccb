//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func modalBegin(n, width int, y, u, src []float32, lds int, d []float32) {
	switch {
	case width < ModalBlock:
		modalBeginGeneric(n, width, y, u, src, lds, d)
	case cpu.AVX512:
		modalBeginAVX512(n, &y[0], &u[0], &src[0], lds, &d[0])
	case cpu.AVX2:
		modalBeginAVX2(n, &y[0], &u[0], &src[0], lds, &d[0])
	default:
		modalBeginGeneric(n, width, y, u, src, lds, d)
	}
}

func modalEnd(n, width int, dst []float32, ldd int, y []float32) {
	switch {
	case width < ModalBlock:
		modalEndGeneric(n, width, dst, ldd, y)
	case cpu.AVX512:
		modalEndAVX512(n, &dst[0], ldd, &y[0])
	case cpu.AVX2:
		modalEndAVX2(n, &dst[0], ldd, &y[0])
	default:
		modalEndGeneric(n, width, dst, ldd, y)
	}
}

func modalPairs(n, pairs int, y, u, poles, h []float32) {
	switch {
	case cpu.AVX512:
		modalPairsAVX512(n, pairs, &y[0], &u[0], &poles[0], &h[0])
	case cpu.AVX2:
		modalPairsAVX2(n, pairs, &y[0], &u[0], &poles[0], &h[0])
	default:
		modalPairsGeneric(n, pairs, y, u, poles, h)
	}
}

func modalReals(n, reals int, y, u, poles, h []float32) {
	switch {
	case cpu.AVX512:
		modalRealsAVX512(n, reals, &y[0], &u[0], &poles[0], &h[0])
	case cpu.AVX2:
		modalRealsAVX2(n, reals, &y[0], &u[0], &poles[0], &h[0])
	default:
		modalRealsGeneric(n, reals, y, u, poles, h)
	}
}
