//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func sin(dst, x []float32) {
	if cpu.NEON && moderate(x) {
		sinNEON(len(x), &dst[0], &x[0])
	} else {
		sinGeneric(dst, x)
	}
}

func cos(dst, x []float32) {
	if cpu.NEON && moderate(x) {
		cosNEON(len(x), &dst[0], &x[0])
	} else {
		cosGeneric(dst, x)
	}
}
