package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// trig emits sine and cosine, with the reduction and the polynomials of the kernels for
// amd64.
func trig(file *arm64.File) {
	preload := append([]float32{rounder, perRight, -0.5, 1}, rightAngle...)
	elementwise{name: "sin", doc: "computes dst = sin x.", inputs: 1, preload: preload, body: func(f *asm, in []vec, _ vec) vec {
		return sine(f, in[0], 0)
	}}.emit(file)
	elementwise{name: "cos", doc: "computes dst = cos x.", inputs: 1, preload: preload, body: func(f *asm, in []vec, _ vec) vec {
		return sine(f, in[0], 1)
	}}.emit(file)
}

const perRight = 0.6366197723675814

// rightAngle is π/2 as a sum: the second and the third are what rounding the first to
// float32, and then their sum, leaves.
var rightAngle = []float32{1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15}

// The polynomials closest to (sin r - r)/r³ and (cos r - 1 + r²/2)/r⁴, in r² and
// relative to the functions, for |r| ≤ π/4.
var (
	sinPoly = []float32{-0.0001951398007804528, 0.008332150988280773, -0.16666653752326965}
	cosPoly = []float32{2.44316688622348e-05, -0.0013887303648516536, 0.04166664555668831}
)

// sine returns the sine of x plus so many right angles, and uses x up. With
// x = n·π/2 + r, it is the sine or the cosine of r or the negative, which the last two
// bits of n tell. What rounding takes from r, and from 1 - r²/2, is added at the end.
func sine(f *asm, x vec, quarters uint32) vec {
	t := f.Fresh(rounder)
	f.MulAdd(x, f.Const(perRight), t)
	n := f.Sub(t, f.Const(rounder))
	f.MulSub(n, f.Const(rightAngle[0]), x) // exact
	r := f.Copy(x)
	f.MulSub(n, f.Const(rightAngle[1]), r)
	low := f.Sub(x, r)
	f.MulSub(n, f.Const(rightAngle[1]), low)
	f.MulSub(n, f.Const(rightAngle[2]), low)
	rr := f.Mul(r, r)

	s := f.Copy(low)
	f.MulAdd(f.Mul(horner(f, rr, sinPoly...), rr), r, s)
	s = f.Add(s, r)

	c := f.Mul(f.Mul(horner(f, rr, cosPoly...), rr), rr)
	f.MulSub(r, low, c)
	main := f.Fresh(1)
	f.MulAdd(rr, f.Const(-0.5), main)
	rest := f.Sub(f.Const(1), main)
	f.MulAdd(rr, f.Const(-0.5), rest)
	c = f.Add(f.Add(c, rest), main)

	if quarters != 0 {
		t = f.AddInt(t, f.Bits(quarters))
	}
	odd := f.ShiftRight(f.ShiftLeft(t, 31), 31) // all bits, if n is odd
	sign := f.And(f.ShiftLeft(t, 30), f.Bits(1<<31))
	return f.Xor(f.Select(odd, c, s), sign)
}
