package ssm

import (
	"fmt"
	"math"
	"math/cmplx"
)

// A Discretization says how a diagonal system in continuous time, h' = A·h + B·u,
// becomes a recurrence with the step Δ. With z = Δ·A it is h = λ·h + b·u where
//
//	zoh       λ = exp(z)               b = B·(exp(z)-1)/A
//	bilinear  λ = (1+z/2)/(1-z/2)      b = B·Δ/(1-z/2)
//	dss       λ = exp(z)               b = B·(exp(z)-1)·x*/(|x|²+1e-7), x = A·(exp(z·L)-1)
//
// The zero value is zoh.
type Discretization string

// The discretisations. DSS (arXiv:2203.14343) normalises by the sum over a length L.
const (
	ZOH      Discretization = "zoh"
	Bilinear Discretization = "bilinear"
	DSS      Discretization = "dss"
)

func (d Discretization) validate() error {
	switch d {
	case ZOH, Bilinear, DSS:
		return nil
	}
	return fmt.Errorf("ssm: unknown discretization %q (choose one of %q, %q, %q)", d, ZOH, Bilinear, DSS)
}

// step returns λ-1 and b/B.
func (d Discretization) step(a complex128, dt float64, length int) (distance, input complex128) {
	z := complex(dt, 0) * a
	switch d {
	case Bilinear:
		f := 1 / (1 - z/2)
		return z * f, complex(dt, 0) * f
	case DSS:
		e := expm1(z)
		x := a * expm1(z*complex(float64(length), 0))
		size := cmplx.Abs(x)
		return e, e * cmplx.Conj(x) / complex(size*size+1e-7, 0)
	}
	e := expm1(z)
	if z == 0 {
		return e, complex(dt, 0)
	}
	return e, complex(dt, 0) * e / z
}

// A Transform is a function from a parameter to the positive number it stands for.
type Transform string

// The transforms, as real_transform and dt_transform of state-spaces/s4 name them.
const (
	TransformNone     Transform = "none"
	TransformExp      Transform = "exp"
	TransformReLU     Transform = "relu" // max(x, 0) + 1e-4
	TransformSigmoid  Transform = "sigmoid"
	TransformSoftplus Transform = "softplus"
)

func (t Transform) validate() error {
	switch t {
	case TransformNone, TransformExp, TransformReLU, TransformSigmoid, TransformSoftplus:
		return nil
	}
	return fmt.Errorf("ssm: unknown transform %q (choose one of %q)", t,
		[]Transform{TransformNone, TransformExp, TransformReLU, TransformSigmoid, TransformSoftplus})
}

func (t Transform) apply(x float64) float64 {
	switch t {
	case TransformExp:
		return math.Exp(x)
	case TransformReLU:
		return max(x, 0) + 1e-4
	case TransformSigmoid:
		return 1 / (1 + math.Exp(-x))
	case TransformSoftplus:
		return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
	}
	return x
}

// inverse returns the parameter that stands for x, which is taken to be at least 1e-4,
// and for a sigmoid at most that much below one.
func (t Transform) inverse(x float64) float64 {
	x = max(x, 1e-4)
	switch t {
	case TransformExp:
		return math.Log(x)
	case TransformReLU:
		return x - 1e-4
	case TransformSigmoid:
		x = min(x, 1-1e-4)
		return math.Log(x / (1 - x))
	case TransformSoftplus:
		return x + math.Log(-math.Expm1(-x))
	}
	return x
}
