//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one element.

func add(dst, x, y []float32) {
	if cpu.NEON {
		addNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		addGeneric(dst, x, y)
	}
}

func sub(dst, x, y []float32) {
	if cpu.NEON {
		subNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		subGeneric(dst, x, y)
	}
}

func mul(dst, x, y []float32) {
	if cpu.NEON {
		mulNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		mulGeneric(dst, x, y)
	}
}

func addScaled(dst, x, y []float32, s float32) {
	if cpu.NEON {
		addScaledNEON(len(x), &dst[0], &x[0], &y[0], s)
	} else {
		addScaledGeneric(dst, x, y, s)
	}
}

func addConst(dst, x []float32, s float32) {
	if cpu.NEON {
		addConstNEON(len(x), &dst[0], &x[0], s)
	} else {
		addConstGeneric(dst, x, s)
	}
}

func scale(dst, x []float32, s float32) {
	if cpu.NEON {
		scaleNEON(len(x), &dst[0], &x[0], s)
	} else {
		scaleGeneric(dst, x, s)
	}
}

func scaleMul(dst, x, y []float32, s float32) {
	if cpu.NEON {
		scaleMulNEON(len(x), &dst[0], &x[0], &y[0], s)
	} else {
		scaleMulGeneric(dst, x, y, s)
	}
}

func mulAdd(dst, x, y, z []float32) {
	if cpu.NEON {
		mulAddNEON(len(x), &dst[0], &x[0], &y[0], &z[0])
	} else {
		mulAddGeneric(dst, x, y, z)
	}
}

// partials is how many partial sums a reduction keeps.
const partials = 32

// whole returns how many of n elements the reductions in assembly take; the rest is
// left to Go.
func whole(n int) int {
	if cpu.NEON {
		return n &^ (partials - 1)
	}
	return 0
}

func dot(x, y []float32) float64 {
	n := whole(len(x))
	if n == 0 {
		return dotGeneric(x, y)
	}
	var out [partials]float32
	dotNEON(n, &x[0], &y[0], &out[0])
	return addUp(out[:]) + dotGeneric(x[n:], y[n:])
}

func sum(x []float32) float64 {
	n := whole(len(x))
	if n == 0 {
		return sumGeneric(x)
	}
	var out [partials]float32
	sumNEON(n, &x[0], &out[0])
	return addUp(out[:]) + sumGeneric(x[n:])
}

func maximum(x []float32) float32 {
	n := whole(len(x))
	if n == 0 {
		return maximumGeneric(x)
	}
	var out [partials]float32
	maxNEON(n, &x[0], &out[0])
	m := maximumGeneric(out[:])
	if n < len(x) {
		m = max(m, maximumGeneric(x[n:]))
	}
	return m
}
