// Command math generates the element-wise kernels for amd64.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

type (
	isa = simd.ISA
	vec = simd.Vec
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *isa) {
		arithmetic(v)
		transcendental(v)
		reductions(v)
		adamW(v)
	})
	Generate()
}

func arithmetic(v *isa) {
	op := func(f func(b Op, a, dst vec)) func(in []vec) vec {
		return func(in []vec) vec {
			r := v.New()
			f(in[1], in[0], r)
			return r
		}
	}
	v.Map("add", 2, nil, "computes dst = x + y.", op(func(b Op, a, d vec) { VADDPS(b, a, d) }))
	v.Map("sub", 2, nil, "computes dst = x - y.", op(func(b Op, a, d vec) { VSUBPS(b, a, d) }))
	v.Map("mul", 2, nil, "computes dst = x·y.", op(func(b Op, a, d vec) { VMULPS(b, a, d) }))
	v.Map("mulAdd", 3, nil, "computes dst = x·y + z.", func(in []vec) vec { return v.FMA(in[0], in[1], in[2]) })
	v.MapScalar("addScaled", 2, nil, "computes dst = x + s·y.", func(in []vec, s vec) vec { return v.FMA(s, in[1], in[0]) })
	v.MapScalar("addConst", 1, nil, "computes dst = x + s.", func(in []vec, s vec) vec {
		r := v.New()
		VADDPS(s, in[0], r)
		return r
	})
	v.MapScalar("scale", 1, nil, "computes dst = s·x.", func(in []vec, s vec) vec {
		r := v.New()
		VMULPS(s, in[0], r)
		return r
	})
	v.MapScalar("scaleMul", 2, nil, "computes dst = (s·x)·y.", func(in []vec, s vec) vec {
		r := v.New()
		VMULPS(s, in[0], r)
		VMULPS(in[1], r, r)
		return r
	})
	v.Map("relu", 1, nil, "computes dst = max(x, 0).", func(in []vec) vec {
		r := v.Zero()
		VMAXPS(in[0], r, r) // x if x is NaN
		return r
	})
}

// limit bounds the arguments of exponentials. e^limit is infinite and e^-limit is 0
// in float32, and the exponential is good so far.
const limit = 150

func transcendental(v *isa) {
	exp := append(simd.ExpConsts(), limit, -limit)
	unary := func(name, doc string, consts []float32, f func(x vec) vec) {
		v.Map(name, 1, append(consts, exp...), doc, func(in []vec) vec { return f(in[0]) })
	}
	gated := func(name, doc string, consts []float32, f func(x vec) vec) {
		v.Map(name, 2, append(consts, exp...), doc, func(in []vec) vec {
			r := f(in[0])
			VMULPS(in[1], r, r)
			return r
		})
	}
	unary("exp", "computes dst = e^x.", nil, func(x vec) vec { return v.Exp(v.Clamp(x, -limit, limit)) })
	v.MapScalar("expSub", 1, exp, "computes dst = e^(x-s).", func(in []vec, s vec) vec {
		d := v.New()
		VSUBPS(s, in[0], d)
		return v.Exp(v.Clamp(d, -limit, limit))
	})
	unary("sigmoid", "computes dst = 1/(1+e^-x).", []float32{1}, func(x vec) vec { return sigmoid(v, x, nil) })
	unary("silu", "computes dst = x/(1+e^-x).", []float32{1}, func(x vec) vec { return silu(v, x) })
	unary("softplus", "computes dst = log(1+e^x).", softplusConsts, func(x vec) vec { return softplus(v, x) })
	unary("tanh", "computes dst = tanh x.", tanhConsts, func(x vec) vec { return tanh(v, x) })
	unary("gelu", "computes dst = x·Φ(x).", geluConsts, func(x vec) vec { return gelu(v, x) })
	unary("geluTanh", "computes dst = x·σ(2√(2/π)(x+0.044715x³)).", geluTanhConsts, func(x vec) vec { return geluTanh(v, x) })
	gated("sigmoidMul", "computes dst = σ(x)·y.", []float32{1}, func(x vec) vec { return sigmoid(v, x, nil) })
	gated("siluMul", "computes dst = x·σ(x)·y.", []float32{1}, func(x vec) vec { return silu(v, x) })
	gated("siluGrad", "computes dst = (x·σ(x))'·y.", []float32{1}, func(x vec) vec { return siluGrad(v, x) })
	gated("geluGrad", "computes dst = (x·Φ(x))'·y.", append(geluConsts, density), func(x vec) vec { return geluGrad(v, x) })
	gated("geluTanhGrad", "computes dst = geluTanh'(x)·y.", append(geluTanhConsts, 3*geluTanhCubic), func(x vec) vec { return geluTanhGrad(v, x) })
	gated("geluMul", "computes dst = x·Φ(x)·y.", geluConsts, func(x vec) vec { return gelu(v, x) })
	gated("geluTanhMul", "computes dst = geluTanh(x)·y.", geluTanhConsts, func(x vec) vec { return geluTanh(v, x) })
}

func neg(v *isa, x vec) vec { return v.Xor(v.Bits(0x80000000), x) }

// sigmoid returns numerator/(1+e^-x), or 1/(1+e^-x) if numerator is nil.
func sigmoid(v *isa, x, numerator vec) vec {
	e := v.Exp(neg(v, v.Clamp(x, -limit, limit)))
	VADDPS(v.Const(1), e, e)
	if numerator == nil {
		numerator = v.Reg(1)
	}
	r := v.New()
	VDIVPS(e, numerator, r)
	return r
}

// silu bounds the numerator too: -∞/∞ is not a number, where -limit/∞ is the limit.
func silu(v *isa, x vec) vec {
	r := v.Reg(-limit)
	VMAXPS(x, r, r)
	return sigmoid(v, x, r)
}

// siluGrad is σ + xσ(1-σ). x is bounded, so that there is no ∞·0.
func siluGrad(v *isa, x vec) vec {
	b := v.Clamp(x, -limit, limit)
	s := sigmoid(v, b, nil)
	r := v.Reg(1)
	VSUBPS(s, r, r)
	VMULPS(b, r, r)
	VFMADD213PS(s, s, r)
	return r
}

var log1pPoly = []float32{-0.07634320855140686, 0.12765401601791382, -0.13162016868591309, 0.14201372861862183, -0.1662314385175705, 0.20001235604286194, -0.2500082552433014, 0.3333333134651184, -0.5}

const ln2 = 0.6931471805599453

var softplusConsts = append([]float32{1, 0.5, ln2, 0.41421356, 0}, log1pPoly...)

// softplus is max(x, 0) + log(1+u) with u = e^-|x|, at most 1. If u is above √2 - 1,
// log(1+u) = ln 2 + log(1+f) with f = (u-1)/2; else f = u. Both are exact enough,
// since no sum is rounded before the logarithm.
func softplus(v *isa, x vec) vec {
	u := v.Exp(v.Clamp(neg(v, v.Abs(x)), -limit, limit))
	f := v.New()
	VSUBPS(v.Const(1), u, f)
	VMULPS(v.Const(0.5), f, f)
	zero := v.Reg(0)
	base := v.Select(u, simd.Greater, v.Const(0.41421356), v.Reg(ln2), zero)
	f = v.Select(u, simd.Greater, v.Const(0.41421356), f, u)
	// log(1+f) = f + f²·P(f)
	p := v.Horner(f, log1pPoly...)
	ff := v.New()
	VMULPS(f, f, ff)
	VFMADD213PS(f, ff, p)
	VADDPS(base, p, p)
	m := v.Reg(0)
	VMAXPS(x, m, m)
	VADDPS(m, p, p)
	return p
}

var tanhPoly = []float32{-0.005666968412697315, 0.02060616761445999, -0.05373000353574753, 0.13331331312656403, -0.33333277702331543}

var tanhConsts = append([]float32{1, -2, 2, 0.625, 40}, tanhPoly...)

// tanh is x + x³·P(x²) for small x and 1 - 2/(1+e^2|x|), with the sign of x, else.
func tanh(v *isa, x vec) vec {
	a := v.Abs(x)
	bounded := v.Reg(40)
	VMINPS(a, bounded, bounded)
	VADDPS(bounded, bounded, bounded)
	e := v.Exp(bounded)
	VADDPS(v.Const(1), e, e)
	large := v.Reg(-2)
	VDIVPS(e, large, large)
	VADDPS(v.Const(1), large, large)
	large = v.Or(v.And(v.Bits(0x80000000), x), large)
	xx := v.New()
	VMULPS(x, x, xx)
	p := v.Horner(xx, tanhPoly...)
	VMULPS(xx, p, p)
	VFMADD213PS(x, x, p)
	return v.Select(a, simd.Less, v.Const(0.625), p, large)
}

var phiPoly = []float32{0.025175346061587334, -0.15011323988437653, 0.29047518968582153, -0.1992204636335373, 0.1971391886472702, 0.034939493983983994, 0.1032184287905693, 0.09859319776296616, 0.09979283809661865}

var geluConsts = append([]float32{1, 0.25, -0.5, 0, 14.5}, phiPoly...)

// gelu is x·Φ(x). The tail Φ(-|x|) = e^(-x²/2)·s·P(s) with s = 1/(1+|x|/4) is
// accurate in relative terms, so that gelu is for x < 0.
func gelu(v *isa, x vec) vec {
	_, tail := phi(v, x)
	// x<0: x·tail, else x - x·tail. In x·tail x is bounded, or it were -∞·0.
	b := v.Clamp(x, -14.5, 14.5)
	VMULPS(b, tail, tail)
	up := v.New()
	VSUBPS(tail, x, up)
	return v.Select(x, simd.Less, v.Const(0), tail, up)
}

const density = 0.3989422804014327 // 1/√(2π)

// geluGrad is Φ(x) + x·e^(-x²/2)/√(2π).
func geluGrad(v *isa, x vec) vec {
	e, tail := phi(v, x)
	b := v.Clamp(x, -14.5, 14.5)
	VMULPS(v.Const(density), b, b)
	up := v.Reg(1)
	VSUBPS(tail, up, up)
	r := v.Select(x, simd.Less, v.Const(0), tail, up)
	VFMADD231PS(e, b, r)
	return r
}

// phi returns e^(-x²/2) and Φ(-|x|).
func phi(v *isa, x vec) (e, tail vec) {
	a := v.Reg(14.5)
	VMINPS(v.Abs(x), a, a) // |x| if it is NaN
	s := v.Reg(1)
	d := v.FMA(a, v.Const(0.25), v.Const(1))
	VDIVPS(d, s, s)
	aa := v.New()
	VMULPS(a, a, aa)
	VMULPS(v.Const(-0.5), aa, aa)
	e, tail = v.Exp(aa), v.New()
	VMULPS(s, e, tail)
	VMULPS(v.Horner(s, phiPoly...), tail, tail)
	return e, tail
}

const (
	geluTanhScale = 1.5957691216057308 // 2·√(2/π)
	geluTanhCubic = 0.044715 * geluTanhScale
)

var geluTanhConsts = []float32{1, geluTanhScale, geluTanhCubic, 20, -20}

// geluTanh is x·σ(2√(2/π)(x + 0.044715x³)), another writing of the approximation
// with the hyperbolic tangent.
func geluTanh(v *isa, x vec) vec {
	b := v.Clamp(x, -20, 20)
	xx := v.New()
	VMULPS(b, b, xx)
	p := v.FMA(xx, v.Const(geluTanhCubic), v.Const(geluTanhScale))
	VMULPS(b, p, p)
	numerator := v.Reg(-20)
	VMAXPS(x, numerator, numerator)
	return sigmoid(v, p, numerator)
}

// geluTanhGrad is σ + x·σ(1-σ)·p' with σ = σ(p), p as in geluTanh.
func geluTanhGrad(v *isa, x vec) vec {
	b := v.Clamp(x, -20, 20)
	xx := v.New()
	VMULPS(b, b, xx)
	p := v.FMA(xx, v.Const(geluTanhCubic), v.Const(geluTanhScale))
	VMULPS(b, p, p)
	slope := v.FMA(xx, v.Const(3*geluTanhCubic), v.Const(geluTanhScale))
	VMULPS(b, slope, slope)
	s := sigmoid(v, p, nil)
	r := v.Reg(1)
	VSUBPS(s, r, r)
	VMULPS(slope, r, r)
	VFMADD213PS(s, s, r)
	return r
}

// adamW emits a step of the optimizer. constants are β₁, 1-β₁, β₂, 1-β₂, and what keeps
// p, scales m, scales the root of v, and is added to it.
func adamW(v *isa) {
	TEXT("adamW"+v.Suffix, NOSPLIT, "func(n int, p, m, v, grad, constants *float32)")
	Pragma("noescape")
	Doc("adamW" + v.Suffix + " is adamWGeneric.")
	n := Load(Param("n"), GP64())
	var at []reg.Register
	for _, name := range []string{"p", "m", "v", "grad"} {
		at = append(at, Load(Param(name), GP64()))
	}
	constants := Load(Param("constants"), GP64())
	var c [8]vec
	for i := range c {
		c[i] = v.New()
		VBROADCASTSS(Mem{Base: constants, Disp: 4 * i}, c[i])
	}
	v.Loop(n, at, func(tail reg.Register) {
		g := v.Load(at[3], tail)
		m := v.Load(at[1], tail)
		VMULPS(c[0], m, m)
		VFMADD231PS(c[1], g, m)
		v.Store(m, at[1], tail)
		s := v.Load(at[2], tail)
		VMULPS(c[2], s, s)
		VMULPS(g, g, g)
		VFMADD231PS(c[3], g, s)
		v.Store(s, at[2], tail)
		VSQRTPS(s, s)
		VFMADD213PS(c[7], c[6], s)
		VMULPS(c[5], m, m)
		VDIVPS(s, m, m)
		p := v.Load(at[0], tail)
		VFMSUB213PS(m, c[4], p)
		v.Store(p, at[0], tail)
	})
	VZEROUPPER()
	RET()
}

func reductions(v *isa) {
	v.Sum("dot", 2, "adds up x·y in out.", func(in []vec, acc vec) { VFMADD231PS(in[0], in[1], acc) })
	v.Sum("sum", 1, "adds up x in out.", func(in []vec, acc vec) { VADDPS(in[0], acc, acc) })
	v.Reduce("max", 1, "collects the maxima of x in out.", func() vec { return v.Reg(negInf) }, func(in []vec, acc vec) {
		VMAXPS(acc, in[0], acc)
	})
}

var negInf = float32(math.Inf(-1))
