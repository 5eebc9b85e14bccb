package main

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// mathKernels emits the element-wise kernels and the reductions. Functions and
// coefficients are those of the kernels for amd64.
func mathKernels(file *arm64.File) {
	arithmetic(file)
	transcendental(file)
	reductions(file)
	adamW(file)
}

func arithmetic(file *arm64.File) {
	for _, e := range []elementwise{
		{name: "add", doc: "computes dst = x + y.", inputs: 2, body: func(f *asm, in []vec, _ vec) vec { return f.Add(in[0], in[1]) }},
		{name: "sub", doc: "computes dst = x - y.", inputs: 2, body: func(f *asm, in []vec, _ vec) vec { return f.Sub(in[0], in[1]) }},
		{name: "mul", doc: "computes dst = x·y.", inputs: 2, body: func(f *asm, in []vec, _ vec) vec { return f.Mul(in[0], in[1]) }},
		{name: "mulAdd", doc: "computes dst = x·y + z.", inputs: 3, body: func(f *asm, in []vec, _ vec) vec {
			f.MulAdd(in[0], in[1], in[2])
			return in[2]
		}},
		{name: "addScaled", doc: "computes dst = x + s·y.", inputs: 2, scalar: true, body: func(f *asm, in []vec, s vec) vec {
			f.MulAdd(in[1], s, in[0])
			return in[0]
		}},
		{name: "addConst", doc: "computes dst = x + s.", inputs: 1, scalar: true, body: func(f *asm, in []vec, s vec) vec { return f.Add(in[0], s) }},
		{name: "scale", doc: "computes dst = s·x.", inputs: 1, scalar: true, body: func(f *asm, in []vec, s vec) vec { return f.Mul(in[0], s) }},
		{name: "scaleMul", doc: "computes dst = (s·x)·y.", inputs: 2, scalar: true, body: func(f *asm, in []vec, s vec) vec { return f.Mul(f.Mul(in[0], s), in[1]) }},
		{name: "relu", doc: "computes dst = max(x, 0).", inputs: 1, preload: []float32{0}, body: func(f *asm, in []vec, _ vec) vec { return f.Max(in[0], f.Const(0)) }},
	} {
		e.emit(file)
	}
}

func transcendental(file *arm64.File) {
	unary := func(name, doc string, consts []float32, body func(f *asm, x vec) vec) {
		consts = append(consts, append(expConsts, limit, -limit)...)
		elementwise{name: name, doc: doc, inputs: 1, preload: consts, body: func(f *asm, in []vec, _ vec) vec { return body(f, in[0]) }}.emit(file)
	}
	gated := func(name, doc string, consts []float32, body func(f *asm, x vec) vec) {
		consts = append(consts, append(expConsts, limit, -limit)...)
		elementwise{name: name, doc: doc, inputs: 2, preload: consts, body: func(f *asm, in []vec, _ vec) vec {
			return f.Mul(body(f, in[0]), in[1])
		}}.emit(file)
	}
	unary("exp", "computes dst = e^x.", nil, func(f *asm, x vec) vec { return exp(f, clamp(f, x, -limit, limit)) })
	elementwise{name: "expSub", doc: "computes dst = e^(x-s).", inputs: 1, scalar: true, preload: append(expConsts, limit, -limit), body: func(f *asm, in []vec, s vec) vec {
		return exp(f, clamp(f, f.Sub(in[0], s), -limit, limit))
	}}.emit(file)
	unary("sigmoid", "computes dst = 1/(1+e^-x).", nil, func(f *asm, x vec) vec { return sigmoid(f, x, f.Const(1)) })
	unary("silu", "computes dst = x/(1+e^-x).", nil, silu)
	unary("softplus", "computes dst = log(1+e^x).", softplusConsts, softplus)
	unary("tanh", "computes dst = tanh x.", tanhConsts, tanh)
	unary("gelu", "computes dst = x·Φ(x).", geluConsts, gelu)
	unary("geluTanh", "computes dst = x·σ(2√(2/π)(x+0.044715x³)).", geluTanhConsts, geluTanh)
	gated("sigmoidMul", "computes dst = σ(x)·y.", nil, func(f *asm, x vec) vec { return sigmoid(f, x, f.Const(1)) })
	gated("siluMul", "computes dst = x·σ(x)·y.", nil, silu)
	gated("siluGrad", "computes dst = (x·σ(x))'·y.", nil, siluGrad)
	gated("geluGrad", "computes dst = (x·Φ(x))'·y.", geluConsts, geluGrad)
	gated("geluTanhGrad", "computes dst = geluTanh'(x)·y.", geluTanhConsts, geluTanhGrad)
	gated("geluMul", "computes dst = x·Φ(x)·y.", geluConsts, gelu)
	gated("geluTanhMul", "computes dst = geluTanh(x)·y.", geluTanhConsts, geluTanh)
}

// sigmoid returns numerator/(1+e^-x).
func sigmoid(f *asm, x, numerator vec) vec {
	e := exp(f, f.Neg(clamp(f, x, -limit, limit)))
	return f.Div(numerator, f.Add(e, f.Const(1)))
}

// silu bounds the numerator too: -∞/∞ is not a number, where -limit/∞ is the limit.
func silu(f *asm, x vec) vec { return sigmoid(f, x, f.Max(x, f.Const(-limit))) }

// siluGrad is σ + xσ(1-σ). x is bounded, so that there is no ∞·0.
func siluGrad(f *asm, x vec) vec {
	b := clamp(f, x, -limit, limit)
	s := sigmoid(f, b, f.Const(1))
	r := f.Copy(s)
	f.MulAdd(f.Mul(f.Sub(f.Const(1), s), b), s, r)
	return r
}

const (
	ln2      = 0.6931471805599453
	sqrt2Sub = 0.41421356 // √2 - 1
)

var log1pPoly = []float32{-0.07634320855140686, 0.12765401601791382, -0.13162016868591309, 0.14201372861862183, -0.1662314385175705, 0.20001235604286194, -0.2500082552433014, 0.3333333134651184, -0.5}

var softplusConsts = []float32{0.5, ln2, sqrt2Sub, 0}

// softplus is max(x, 0) + log(1+u) with u = e^-|x|, at most 1. If u is above √2 - 1,
// log(1+u) = ln 2 + log(1+f) with f = (u-1)/2; else f = u. Both are exact enough,
// since no sum is rounded before the logarithm.
func softplus(f *asm, x vec) vec {
	u := exp(f, clamp(f, f.Neg(f.Abs(x)), -limit, limit))
	above := f.Greater(u, f.Const(sqrt2Sub))
	base := f.And(above, f.Const(ln2))
	v := f.Select(above, f.Mul(f.Sub(u, f.Const(1)), f.Const(0.5)), u)
	// log(1+v) = v + v²·P(v)
	f.MulAdd(horner(f, v, log1pPoly...), f.Mul(v, v), v)
	return f.Add(f.Add(v, base), f.Max(x, f.Const(0)))
}

var tanhPoly = []float32{-0.005666968412697315, 0.02060616761445999, -0.05373000353574753, 0.13331331312656403, -0.33333277702331543}

var tanhConsts = []float32{-2, 0.625, 40}

// tanh is x + x³·P(x²) for small x and 1 - 2/(1+e^2|x|), with the sign of x, else.
func tanh(f *asm, x vec) vec {
	a := f.Abs(x)
	bounded := f.Min(a, f.Const(40))
	e := exp(f, f.Add(bounded, bounded))
	large := f.Add(f.Div(f.Const(-2), f.Add(e, f.Const(1))), f.Const(1))
	large = f.Select(f.FreshBits(1<<31), x, large)
	xx := f.Mul(x, x)
	p := f.Mul(horner(f, xx, tanhPoly...), xx)
	small := f.Copy(x)
	f.MulAdd(p, x, small)
	return f.Select(f.Greater(f.Const(0.625), a), small, large)
}

var phiPoly = []float32{0.025175346061587334, -0.15011323988437653, 0.29047518968582153, -0.1992204636335373, 0.1971391886472702, 0.034939493983983994, 0.1032184287905693, 0.09859319776296616, 0.09979283809661865}

var geluConsts = []float32{0.25, -0.5, 0, 14.5, -14.5}

// gelu is x·Φ(x). The tail Φ(-|x|) = e^(-x²/2)·s·P(s) with s = 1/(1+|x|/4) is
// accurate in relative terms, so that gelu is for x < 0.
func gelu(f *asm, x vec) vec {
	_, tail := phi(f, x)
	// x<0: x·tail, else x - x·tail. In x·tail x is bounded, or it were -∞·0.
	tail = f.Mul(tail, clamp(f, x, -14.5, 14.5))
	up := f.Sub(x, tail)
	return f.Select(f.Greater(f.Const(0), x), tail, up)
}

// geluGrad is Φ(x) + x·e^(-x²/2)/√(2π).
func geluGrad(f *asm, x vec) vec {
	e, tail := phi(f, x)
	r := f.Select(f.Greater(f.Const(0), x), tail, f.Sub(f.Const(1), tail))
	f.MulAdd(f.Mul(clamp(f, x, -14.5, 14.5), f.Const(0.3989422804014327)), e, r)
	return r
}

// phi returns e^(-x²/2) and Φ(-|x|).
func phi(f *asm, x vec) (e, tail vec) {
	a := f.Min(f.Abs(x), f.Const(14.5))
	d := f.Fresh(1)
	f.MulAdd(a, f.Const(0.25), d)
	s := f.Div(f.Const(1), d)
	e = exp(f, f.Mul(f.Mul(a, a), f.Const(-0.5)))
	return e, f.Mul(f.Mul(e, s), horner(f, s, phiPoly...))
}

const (
	geluTanhScale = 1.5957691216057308 // 2·√(2/π)
	geluTanhCubic = 0.044715 * geluTanhScale
)

var geluTanhConsts = []float32{geluTanhCubic, 20, -20}

// geluTanh is x·σ(2√(2/π)(x + 0.044715x³)), another writing of the approximation
// with the hyperbolic tangent.
func geluTanh(f *asm, x vec) vec {
	b := clamp(f, x, -20, 20)
	p := f.Fresh(geluTanhScale)
	f.MulAdd(f.Mul(b, b), f.Const(geluTanhCubic), p)
	return sigmoid(f, f.Mul(p, b), f.Max(x, f.Const(-20)))
}

// geluTanhGrad is σ + x·σ(1-σ)·p' with σ = σ(p), p as in geluTanh.
func geluTanhGrad(f *asm, x vec) vec {
	b := clamp(f, x, -20, 20)
	xx := f.Mul(b, b)
	p, slope := f.Fresh(geluTanhScale), f.Fresh(geluTanhScale)
	f.MulAdd(xx, f.Const(geluTanhCubic), p)
	f.MulAdd(xx, f.Const(3*geluTanhCubic), slope)
	slope = f.Mul(slope, b)
	s := sigmoid(f, f.Mul(p, b), f.Const(1))
	r := f.Copy(s)
	f.MulAdd(f.Mul(f.Sub(f.Const(1), s), slope), s, r)
	return r
}

// adamW emits a step of the optimizer for whole vectors: see adamWGeneric.
func adamW(file *arm64.File) {
	f := file.Func("adamWNEON", "func(n int, p, m, v, grad, constants *float32)", "is adamWGeneric. n is a multiple of 4 and not 0.")
	n := f.Load("n")
	p, m, v, g := f.Load("p"), f.Load("m"), f.Load("v"), f.Load("grad")
	constants := f.Load("constants")
	var c [8]vec
	for i := range c {
		c[i] = f.FillV(f.Read1(mem{Base: constants, Off: 4 * i}))
	}
	f.LSR(2, n)
	f.Loop("loop", n, func() {
		x := f.Read(mem{Base: g})
		mean := f.Mul(f.Read(mem{Base: m}), c[0])
		f.MulAdd(x, c[1], mean)
		f.Write(mean, mem{Base: m})
		square := f.Mul(f.Read(mem{Base: v}), c[2])
		f.MulAdd(f.Mul(x, x), c[3], square)
		f.Write(square, mem{Base: v})
		below := f.Copy(c[7])
		f.MulAdd(f.Sqrt(square), c[6], below)
		f.Write(f.Sub(f.Mul(f.Read(mem{Base: p}), c[4]), f.Div(f.Mul(mean, c[5]), below)), mem{Base: p})
		advance(f, vector, p, m, v, g)
	})
	f.RET()
}

func reductions(file *arm64.File) {
	for _, r := range []reduction{
		{name: "dot", doc: "adds up x·y in out.", inputs: 2, start: (*asm).Zero, body: func(f *asm, in []vec, acc vec) { f.MulAdd(in[0], in[1], acc) }},
		{name: "sum", doc: "adds up x in out.", inputs: 1, start: (*asm).Zero, body: func(f *asm, in []vec, acc vec) { f.AddTo(acc, in[0], acc) }},
		{name: "max", doc: "collects the maxima of x in out.", inputs: 1, start: func(f *asm) vec { return f.Fresh(float32(math.Inf(-1))) }, body: func(f *asm, in []vec, acc vec) {
			f.MaxTo(acc, in[0], acc)
		}},
	} {
		r.emit(file)
	}
}
