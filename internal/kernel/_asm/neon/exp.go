package main

// The constants of the exponential. rounder added to a number of moderate size leaves
// it rounded to an integer, in the low bits of the sum.
const (
	rounder = 3 << 22
	log2E   = 1.4426950408889634
	ln2High = 0.693359375
	ln2Low  = -2.12194440e-4

	// limit bounds the arguments of exponentials. e^limit is infinite and e^-limit is
	// 0 in float32, and the exponential is good so far.
	limit = 150
)

var expPoly = []float32{0.008262657560408115, 0.04189855605363846, 0.16668173670768738, 0.49999144673347473, 0.999999463558197, 1}

// expConsts are those that exp multiplies by or subtracts: worth a register. 1 is for
// its bits.
var expConsts = []float32{log2E, rounder, ln2High, ln2Low, 1}

// exp returns e^x for x between -160 and 160, or NaN, and uses x up. It does what the
// kernel for AVX2 does: x = n·ln 2 + r with an integer n; a polynomial gives e^r, and
// the result is scaled by 2^n.
func exp(f *asm, x vec) vec {
	p, t := expReduced(f, x)
	// In two steps, since 2^n itself may not be a normal number.
	n := f.SubInt(t, f.Const(rounder))
	half := f.ShiftRight(n, 1)
	for _, e := range []vec{half, f.SubInt(n, half)} {
		p = f.Mul(p, f.AddInt(f.ShiftLeft(e, 23), f.Const(1)))
	}
	return p
}

// expReduced returns e^r and n + rounder.
func expReduced(f *asm, x vec) (p, t vec) {
	t = f.Fresh(rounder)
	f.MulAdd(x, f.Const(log2E), t)
	n := f.Sub(t, f.Const(rounder))
	f.MulSub(n, f.Const(ln2High), x)
	f.MulSub(n, f.Const(ln2Low), x)
	return horner(f, x, expPoly...), t
}

// horner returns the polynomial with the given coefficients, highest power first.
func horner(f *asm, x vec, coefficients ...float32) vec {
	p := f.Fresh(coefficients[0])
	for _, c := range coefficients[1:] {
		sum := f.Fresh(c)
		f.MulAdd(p, x, sum)
		p = sum
	}
	return p
}

// clamp returns x within lo and hi in a register of its own; NaN stays NaN.
func clamp(f *asm, x vec, lo, hi float32) vec {
	return f.Min(f.Max(x, f.Const(lo)), f.Const(hi))
}
