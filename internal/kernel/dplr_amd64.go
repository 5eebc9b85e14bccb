//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func dplrSteps(n, states, rank int, y, u, rows, h, sigma []float32) {
	switch {
	case cpu.AVX512:
		dplrStepsAVX512(n, states, rank, &y[0], &u[0], &rows[0], &h[0], &sigma[0])
	case cpu.AVX2:
		dplrStepsAVX2(n, states, rank, &y[0], &u[0], &rows[0], &h[0], &sigma[0])
	default:
		dplrStepsGeneric(n, states, rank, y, u, rows, h, sigma)
	}
}
