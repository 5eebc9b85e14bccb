// Command trig generates sine and cosine for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

type (
	isa = simd.ISA
	vec = simd.Vec
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *isa) {
		v.Map("sin", 1, consts, "computes dst = sin x.", func(in []vec) vec { return sine(v, in[0], 0) })
		v.Map("cos", 1, consts, "computes dst = cos x.", func(in []vec) vec { return sine(v, in[0], 1) })
	})
	Generate()
}

const (
	rounder  = 3 << 22 // added to a number of moderate size, leaves its integer part in the low bits
	perRight = 0.6366197723675814
)

// right is π/2 as a sum: the second and the third are what rounding the first to
// float32, and then their sum, leaves.
var right = []float32{1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15}

// The polynomials closest to (sin r - r)/r³ and (cos r - 1 + r²/2)/r⁴, in r² and
// relative to the functions, for |r| ≤ π/4. The errors are below 4e-9 and 2e-10.
var (
	sinPoly = []float32{-0.0001951398007804528, 0.008332150988280773, -0.16666653752326965}
	cosPoly = []float32{2.44316688622348e-05, -0.0013887303648516536, 0.04166664555668831}
)

var consts = append(append(append([]float32{rounder, perRight, -0.5, 1}, right...), sinPoly...), cosPoly...)

// sine returns the sine of x plus so many right angles. With x = n·π/2 + r, it is the
// sine or the cosine of r or the negative, which the last two bits of n tell. What
// rounding takes from r, and from 1 - r²/2, is added at the end.
func sine(v *isa, x vec, quarters uint32) vec {
	t := v.FMA(x, v.Const(perRight), v.Const(rounder))
	n := v.New()
	VSUBPS(v.Const(rounder), t, n)
	near, r, low := copied(v, x), v.New(), v.New()
	VFNMADD231PS(v.Const(right[0]), n, near) // exact
	VMOVUPS(near, r)
	VFNMADD231PS(v.Const(right[1]), n, r)
	VSUBPS(r, near, low)
	VFNMADD231PS(v.Const(right[1]), n, low)
	VFNMADD231PS(v.Const(right[2]), n, low)
	rr := v.New()
	VMULPS(r, r, rr)

	s := v.Horner(rr, sinPoly...)
	VMULPS(rr, s, s)
	VFMADD213PS(low, r, s) // r·s + low
	VADDPS(r, s, s)

	c := v.Horner(rr, cosPoly...)
	VMULPS(rr, c, c)
	VMULPS(rr, c, c)
	VFNMADD231PS(low, r, c)
	main, rest := copied(v, v.Const(1)), v.New()
	VFMADD231PS(v.Const(-0.5), rr, main)
	VSUBPS(main, copied(v, v.Const(1)), rest)
	VFMADD231PS(v.Const(-0.5), rr, rest)
	VADDPS(rest, c, c)
	VADDPS(main, c, c)

	if quarters != 0 {
		VPADDD(v.Bits(quarters), t, t)
	}
	odd, sign := v.New(), v.New()
	VPSLLD(U8(31), t, odd)
	VPSRAD(U8(31), odd, odd) // all bits, if n is odd
	VPSRLD(U8(1), t, sign)
	VPSLLD(U8(31), sign, sign)
	return v.Xor(sign, v.Xor(s, v.And(odd, v.Xor(s, c))))
}

// copied returns a register with the value of x.
func copied(v *isa, x Op) vec {
	r := v.New()
	VMOVUPS(x, r)
	return r
}
