//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func modalBegin(n, width int, y, u, src []float32, lds int, d []float32) {
	if cpu.NEON && width == ModalBlock {
		modalBeginNEON(n, &y[0], &u[0], &src[0], lds, &d[0])
	} else {
		modalBeginGeneric(n, width, y, u, src, lds, d)
	}
}

func modalEnd(n, width int, dst []float32, ldd int, y []float32) {
	if cpu.NEON && width == ModalBlock {
		modalEndNEON(n, &dst[0], ldd, &y[0])
	} else {
		modalEndGeneric(n, width, dst, ldd, y)
	}
}

func modalPairs(n, pairs int, y, u, poles, h []float32) {
	if cpu.NEON {
		modalPairsNEON(n, pairs, &y[0], &u[0], &poles[0], &h[0])
	} else {
		modalPairsGeneric(n, pairs, y, u, poles, h)
	}
}

func modalReals(n, reals int, y, u, poles, h []float32) {
	if cpu.NEON {
		modalRealsNEON(n, reals, &y[0], &u[0], &poles[0], &h[0])
	} else {
		modalRealsGeneric(n, reals, y, u, poles, h)
	}
}
