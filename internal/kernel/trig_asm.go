//go:build !purego && (amd64 || arm64)

package kernel

// trigLimit bounds the arguments of the assembly, which takes multiples of π/2 off them
// in float32.
const trigLimit = 1 << 15

// moderate reports whether all elements are within the limit, as far as the sum of their
// squares tells.
func moderate(x []float32) bool { return SumSquares(x) < trigLimit*trigLimit }
