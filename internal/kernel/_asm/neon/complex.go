package main

import "math"

// A cpx is a vector of complex numbers.
type cpx struct{ re, im vec }

// partBytes are those of the 16 real or imaginary parts of a row of a transform.
const partBytes = 64

func readComplex(f *asm, row mem) cpx {
	return cpx{f.Read(row), f.Read(row.Plus(partBytes))}
}

func writeComplex(f *asm, z cpx, row mem) {
	f.Write(z.re, row)
	f.Write(z.im, row.Plus(partBytes))
}

func cadd(f *asm, a, b cpx) cpx { return cpx{f.Add(a.re, b.re), f.Add(a.im, b.im)} }
func csub(f *asm, a, b cpx) cpx { return cpx{f.Sub(a.re, b.re), f.Sub(a.im, b.im)} }

// caddI returns a + i·b, and csubI a - i·b.
func caddI(f *asm, a, b cpx) cpx { return cpx{f.Sub(a.re, b.im), f.Add(a.im, b.re)} }
func csubI(f *asm, a, b cpx) cpx { return cpx{f.Add(a.re, b.im), f.Sub(a.im, b.re)} }

// around returns a + b/√2 and a - b/√2.
func around(f *asm, a, b cpx) (plus, minus cpx) {
	c := f.Const(math.Sqrt2 / 2)
	plus = cpx{f.Copy(a.re), f.Copy(a.im)}
	f.MulAdd(b.re, c, plus.re)
	f.MulAdd(b.im, c, plus.im)
	f.MulSub(b.re, c, a.re)
	f.MulSub(b.im, c, a.im)
	return plus, a
}

// times returns z times the one factor at m, or its conjugate.
func times(f *asm, z cpx, m mem, conj bool) cpx {
	const re, im = 0, 1 // lanes
	w := f.Read2(m)
	p := cpx{f.MulLane(z.re, w, re), f.MulLane(z.im, w, re)}
	if conj {
		f.MulAddLane(z.im, w, im, p.re)
		f.MulSubLane(z.re, w, im, p.im)
	} else {
		f.MulSubLane(z.im, w, im, p.re)
		f.MulAddLane(z.re, w, im, p.im)
	}
	return p
}

// cmul returns z·w, or z·conj(w).
func cmul(f *asm, z, w cpx, conj bool) cpx {
	p := cpx{f.Mul(z.re, w.re), f.Mul(z.im, w.re)}
	if conj {
		f.MulAdd(z.im, w.im, p.re)
		f.MulSub(z.re, w.im, p.im)
	} else {
		f.MulSub(z.im, w.im, p.re)
		f.MulAdd(z.re, w.im, p.im)
	}
	return p
}

// fftDown transforms two, four or eight numbers as the portable version does.
func fftDown(f *asm, z []cpx) []cpx {
	switch len(z) {
	case 2:
		return []cpx{cadd(f, z[0], z[1]), csub(f, z[0], z[1])}
	case 4:
		e0, d0 := cadd(f, z[0], z[2]), csub(f, z[0], z[2])
		e1, d1 := cadd(f, z[1], z[3]), csub(f, z[1], z[3])
		return []cpx{cadd(f, e0, e1), csub(f, e0, e1), csubI(f, d0, d1), caddI(f, d0, d1)}
	}
	var e, d []cpx
	for q := range 4 {
		e, d = append(e, cadd(f, z[q], z[q+4])), append(d, csub(f, z[q], z[q+4]))
	}
	return append(fftDown(f, e), fftDownOdd(f, d)...)
}

// fftDownOdd is the odd half of a transform of eight, whose differences are d: fftDown
// of d[q]·exp(-2πiq/8). With u = d1-d3 and v = d1+d3 the products for q = 1 and 3 add
// up to (u - iv)/√2, and i times their difference to (u + iv)/√2.
func fftDownOdd(f *asm, d []cpx) []cpx {
	u, v := csub(f, d[1], d[3]), cadd(f, d[1], d[3])
	even, odd := csubI(f, d[0], d[2]), caddI(f, d[0], d[2])
	r0, r1 := around(f, even, csubI(f, u, v))
	r3, r2 := around(f, odd, caddI(f, u, v))
	return []cpx{r0, r1, r2, r3}
}

// fftUp undoes fftDown, times the length, and gives out the results one by one.
func fftUp(f *asm, z []cpx, out func(q int, z cpx)) {
	switch len(z) {
	case 2:
		out(0, cadd(f, z[0], z[1]))
		out(1, csub(f, z[0], z[1]))
	case 4:
		for q, r := range fftUp4(f, z) {
			out(q, r)
		}
	case 8:
		fftCombine(f, fftUp4(f, z[:4]), fftUp4(f, z[4:]), out)
	}
}

func fftUp4(f *asm, z []cpx) []cpx {
	e0, e1 := cadd(f, z[0], z[1]), csub(f, z[0], z[1])
	d0, d1 := cadd(f, z[2], z[3]), csub(f, z[2], z[3])
	return []cpx{cadd(f, e0, d0), caddI(f, e1, d1), csub(f, e0, d0), csubI(f, e1, d1)}
}

// fftCombine gives out e[q] + p and e[q] - p as q and q+4, for q < 4, where p is
// o[q]·exp(2πiq/8).
func fftCombine(f *asm, e, o []cpx, out func(q int, z cpx)) {
	out(0, cadd(f, e[0], o[0]))
	out(4, csub(f, e[0], o[0]))
	plus, minus := around(f, e[1], cpx{f.Sub(o[1].re, o[1].im), f.Add(o[1].re, o[1].im)})
	out(1, plus)
	out(5, minus)
	out(2, caddI(f, e[2], o[2]))
	out(6, csubI(f, e[2], o[2]))
	minus, plus = around(f, e[3], cpx{f.Add(o[3].re, o[3].im), f.Sub(o[3].im, o[3].re)})
	out(3, plus)
	out(7, minus)
}
