//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// probeFMA runs the loop and returns the lanes of a vector.
func probeFMA(rounds int) int {
	if !cpu.NEON {
		return 0
	}
	probeFMANEON(rounds)
	return 4
}

// probeRead reads x, a multiple of 32 elements, and returns the bytes read.
func probeRead(x []float32) int {
	if !cpu.NEON {
		return 0
	}
	probeReadNEON(&x[0], len(x)/32)
	return 4 * len(x)
}
