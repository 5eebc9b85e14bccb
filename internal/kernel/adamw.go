package kernel

import "math"

// AdamW holds the numbers of a step of the optimizer AdamW.
type AdamW struct {
	Beta1, New1 float32 // β₁, 1-β₁
	Beta2, New2 float32 // β₂, 1-β₂
	Keep        float32 // what is left of a parameter
	Rate        float32 // of m
	Root        float32 // of √v
	Eps         float32
}

// Step computes, element by element,
//
//	m = Beta1·m + New1·g
//	v = Beta2·v + New2·g²
//	p = Keep·p - Rate·m / (Root·√v + Eps)
//
// The slices have the same length and must not overlap, else it panics.
func (a *AdamW) Step(p, m, v, g []float32) {
	for check("AdamW", len(p), len(m), len(v), len(g)); len(p) > 0; p, m, v, g = rest(p), rest(m), rest(v), rest(g) {
		adamW(a, head(p), head(m), head(v), head(g))
	}
}

func adamWGeneric(a *AdamW, p, m, v, g []float32) {
	for i, x := range g {
		m[i] = a.Beta1*m[i] + a.New1*x
		v[i] = a.Beta2*v[i] + a.New2*(x*x)
		p[i] = a.Keep*p[i] - a.Rate*m[i]/(a.Root*float32(math.Sqrt(float64(v[i])))+a.Eps)
	}
}
