//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func dplrSteps(n, states, rank int, y, u, rows, h, sigma []float32) {
	if cpu.NEON {
		dplrStepsNEON(n, states, rank, &y[0], &u[0], &rows[0], &h[0], &sigma[0])
	} else {
		dplrStepsGeneric(n, states, rank, y, u, rows, h, sigma)
	}
}
