package kernel

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// checkAdamW compares a step with its definition in float64.
func checkAdamW(t *testing.T, n int) {
	t.Helper()
	a := AdamW{Beta1: 0.9, New1: 0.1, Beta2: 0.99, New2: 0.01, Keep: 0.999, Rate: 1e-2, Root: 3, Eps: 1e-6}
	p, m, v, g := guardedCopy(t, random(n, 1)), guardedCopy(t, random(n, 2)), guardedFloats(t, n), guardedCopy(t, random(n, 3))
	for i := range v {
		v[i] = p[i] * p[i]
	}
	oldP, oldM, oldV := slices.Clone(p), slices.Clone(m), slices.Clone(v)
	a.Step(p, m, v, g)
	for i, x := range g {
		mean := float64(a.Beta1)*float64(oldM[i]) + float64(a.New1)*float64(x)
		square := float64(a.Beta2)*float64(oldV[i]) + float64(a.New2)*float64(x)*float64(x)
		want := float64(a.Keep)*float64(oldP[i]) - float64(a.Rate)*mean/(float64(a.Root)*math.Sqrt(square)+float64(a.Eps))
		for _, c := range [][2]float64{{float64(m[i]), mean}, {float64(v[i]), square}, {float64(p[i]), want}} {
			if !(math.Abs(c[0]-c[1]) <= 1e-6*(0.1+math.Abs(c[1]))) {
				t.Fatalf("element %d of %d: m, v, p = %v, %v, %v, want %v, %v, %v", i, n, m[i], v[i], p[i], mean, square, want)
			}
		}
	}
}

func TestAdamW(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := range 70 {
			checkAdamW(t, n)
		}
		checkAdamW(t, 2*piece+5)
	})
}

// A parameter without gradient and moments does not move.
func TestAdamWZero(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		a := AdamW{Beta1: 0.9, New1: 0.1, Beta2: 0.99, New2: 0.01, Keep: 1, Rate: 1e-2, Root: 1, Eps: 1e-8}
		p, zero := random(37, 1), make([]float32, 37)
		want := slices.Clone(p)
		a.Step(p, slices.Clone(zero), slices.Clone(zero), zero)
		if !slices.Equal(p, want) {
			t.Error("a parameter has moved")
		}
	})
}
