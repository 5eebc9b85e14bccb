package kernel

import "math"

// The functions in this file are computed in float64 and rounded: they are used
// where filters and tables are set up, not where tokens run through.

// Log computes dst = log x, the natural logarithm.
func Log(dst, x []float32) {
	check("Log", len(dst), len(x))
	mapGeneric(dst, x, math.Log)
}

// Erf computes dst = erf x = 2/√π ∫₀ˣ e^-t² dt.
func Erf(dst, x []float32) {
	check("Erf", len(dst), len(x))
	mapGeneric(dst, x, math.Erf)
}
