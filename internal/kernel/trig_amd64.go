//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func sin(dst, x []float32) {
	switch {
	case cpu.AVX512 && moderate(x):
		sinAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2 && moderate(x):
		sinAVX2(len(x), &dst[0], &x[0])
	default:
		sinGeneric(dst, x)
	}
}

func cos(dst, x []float32) {
	switch {
	case cpu.AVX512 && moderate(x):
		cosAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2 && moderate(x):
		cosAVX2(len(x), &dst[0], &x[0])
	default:
		cosGeneric(dst, x)
	}
}
