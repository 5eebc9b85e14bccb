//go:build purego || !(amd64 || arm64)

package kernel

func dplrSteps(n, states, rank int, y, u, rows, h, sigma []float32) {
	dplrStepsGeneric(n, states, rank, y, u, rows, h, sigma)
}
