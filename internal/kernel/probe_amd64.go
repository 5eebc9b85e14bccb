//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// probeFMA runs the loop and returns the lanes of a vector.
func probeFMA(rounds int) int {
	switch {
	case cpu.AVX512:
		probeFMAAVX512(rounds)
		return 16
	case cpu.AVX2:
		probeFMAAVX2(rounds)
		return 8
	}
	return 0
}

// probeRead reads x, a multiple of 128 elements, and returns the bytes read.
func probeRead(x []float32) int {
	switch {
	case cpu.AVX512:
		probeReadAVX512(&x[0], len(x)/128)
	case cpu.AVX2:
		probeReadAVX2(&x[0], len(x)/64)
	default:
		return 0
	}
	return 4 * len(x)
}
