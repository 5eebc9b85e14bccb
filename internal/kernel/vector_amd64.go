//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one element.

func add(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		addAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		addAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		addGeneric(dst, x, y)
	}
}

func sub(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		subAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		subAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		subGeneric(dst, x, y)
	}
}

func mul(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		mulAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		mulAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		mulGeneric(dst, x, y)
	}
}

func addScaled(dst, x, y []float32, s float32) {
	switch {
	case cpu.AVX512:
		addScaledAVX512(len(x), &dst[0], &x[0], &y[0], s)
	case cpu.AVX2:
		addScaledAVX2(len(x), &dst[0], &x[0], &y[0], s)
	default:
		addScaledGeneric(dst, x, y, s)
	}
}

func addConst(dst, x []float32, s float32) {
	switch {
	case cpu.AVX512:
		addConstAVX512(len(x), &dst[0], &x[0], s)
	case cpu.AVX2:
		addConstAVX2(len(x), &dst[0], &x[0], s)
	default:
		addConstGeneric(dst, x, s)
	}
}

func scale(dst, x []float32, s float32) {
	switch {
	case cpu.AVX512:
		scaleAVX512(len(x), &dst[0], &x[0], s)
	case cpu.AVX2:
		scaleAVX2(len(x), &dst[0], &x[0], s)
	default:
		scaleGeneric(dst, x, s)
	}
}

func scaleMul(dst, x, y []float32, s float32) {
	switch {
	case cpu.AVX512:
		scaleMulAVX512(len(x), &dst[0], &x[0], &y[0], s)
	case cpu.AVX2:
		scaleMulAVX2(len(x), &dst[0], &x[0], &y[0], s)
	default:
		scaleMulGeneric(dst, x, y, s)
	}
}

func mulAdd(dst, x, y, z []float32) {
	switch {
	case cpu.AVX512:
		mulAddAVX512(len(x), &dst[0], &x[0], &y[0], &z[0])
	case cpu.AVX2:
		mulAddAVX2(len(x), &dst[0], &x[0], &y[0], &z[0])
	default:
		mulAddGeneric(dst, x, y, z)
	}
}

// partials is how many partial results a reduction keeps at the most.
const partials = 64

// wideSums is how many of them there are at the most when they have been added up in
// float64.
const wideSums = 8

// addUpWide returns the sum of partial sums.
func addUpWide(s *[wideSums]float64) float64 {
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// whole returns how many of n elements the reductions in assembly take; the rest is
// left to Go.
func whole(n int) int {
	if cpu.AVX512 {
		return n &^ 63
	}
	return n &^ 31
}

func dot(x, y []float32) float64 {
	var out [wideSums]float64
	n := whole(len(x))
	switch {
	case n == 0:
	case cpu.AVX512:
		dotAVX512(n, &x[0], &y[0], &out[0])
	case cpu.AVX2:
		dotAVX2(n, &x[0], &y[0], &out[0])
	default:
		n = 0
	}
	return addUpWide(&out) + dotGeneric(x[n:], y[n:])
}

func sum(x []float32) float64 {
	var out [wideSums]float64
	n := whole(len(x))
	switch {
	case n == 0:
	case cpu.AVX512:
		sumAVX512(n, &x[0], &out[0])
	case cpu.AVX2:
		sumAVX2(n, &x[0], &out[0])
	default:
		n = 0
	}
	return addUpWide(&out) + sumGeneric(x[n:])
}

func maximum(x []float32) float32 {
	n := whole(len(x))
	if n == 0 {
		return maximumGeneric(x)
	}
	var out [partials]float32
	found := out[:]
	switch {
	case cpu.AVX512:
		maxAVX512(n, &x[0], &out[0])
	case cpu.AVX2:
		maxAVX2(n, &x[0], &out[0])
		found = out[:32]
	default:
		return maximumGeneric(x)
	}
	m := maximumGeneric(found)
	if n < len(x) {
		m = max(m, maximumGeneric(x[n:]))
	}
	return m
}
