package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

// cpx is a vector of complex numbers.
type cpx struct{ re, im simd.Vec }

func (g *gen) load(row Mem) cpx {
	z := cpx{g.New(), g.New()}
	VMOVUPS(row.Offset(g.at), z.re)
	VMOVUPS(row.Offset(g.at+partBytes), z.im)
	return z
}

func (g *gen) store(z cpx, row Mem) {
	VMOVUPS(z.re, row.Offset(g.at))
	VMOVUPS(z.im, row.Offset(g.at+partBytes))
}

func (g *gen) loadAll(rows *rowSet, n int) []cpx {
	z := make([]cpx, n)
	for q := range z {
		z[q] = g.load(rows.row(q))
	}
	return z
}

// park lets z wait in a row if there are not registers enough for it. unpark gets it
// back.
func (g *gen) park(z cpx, row Mem) cpx {
	if g.Wide() {
		return z
	}
	g.store(z, row)
	return cpx{}
}

func (g *gen) unpark(z cpx, row Mem) cpx {
	if g.Wide() {
		return z
	}
	return g.load(row)
}

// unparkAll gets the odd half back from rows 4 to 7.
func (g *gen) unparkAll(d [4]cpx, rows *rowSet) [4]cpx {
	for q := range d {
		d[q] = g.unpark(d[q], rows.row(q+4))
	}
	return d
}

// halves returns the sums of rows q and q+4, and parks their differences in rows 4
// to 7.
func (g *gen) halves(rows *rowSet) (e, d [4]cpx) {
	for q := range e {
		x, y := g.load(rows.row(q)), g.load(rows.row(q+4))
		e[q], d[q] = g.cadd(x, y), g.csub(x, y)
		d[q] = g.park(d[q], rows.row(q+4))
	}
	return e, d
}

func (g *gen) add(a, b simd.Vec) simd.Vec {
	r := g.New()
	VADDPS(b, a, r)
	return r
}

func (g *gen) sub(a, b simd.Vec) simd.Vec {
	r := g.New()
	VSUBPS(b, a, r)
	return r
}

func (g *gen) cadd(a, b cpx) cpx { return cpx{g.add(a.re, b.re), g.add(a.im, b.im)} }
func (g *gen) csub(a, b cpx) cpx { return cpx{g.sub(a.re, b.re), g.sub(a.im, b.im)} }

// caddI returns a + i·b, and csubI a - i·b.
func (g *gen) caddI(a, b cpx) cpx { return cpx{g.sub(a.re, b.im), g.add(a.im, b.re)} }
func (g *gen) csubI(a, b cpx) cpx { return cpx{g.add(a.re, b.im), g.sub(a.im, b.re)} }

// around returns a + b/√2 and a - b/√2.
func (g *gen) around(a, b cpx) (plus, minus cpx) {
	c := g.Const(math.Sqrt2 / 2)
	plus = cpx{g.New(), g.New()}
	VMOVAPS(a.re, plus.re)
	VMOVAPS(a.im, plus.im)
	VFMADD231PS(c, b.re, plus.re)
	VFMADD231PS(c, b.im, plus.im)
	VFNMADD231PS(c, b.re, a.re)
	VFNMADD231PS(c, b.im, a.im)
	return plus, a
}

// times returns z times the factor at m, or its conjugate.
func (g *gen) times(z cpx, m Mem, conj bool) cpx {
	f := cpx{g.New(), g.New()}
	VBROADCASTSS(m, f.re)
	VBROADCASTSS(m.Offset(4), f.im)
	return g.product2(z, f, conj)
}

// product2 returns z·f, or z·conj(f).
func (g *gen) product2(z, f cpx, conj bool) cpx {
	p := cpx{g.New(), g.New()}
	VMULPS(f.im, z.im, p.re)
	VMULPS(f.im, z.re, p.im)
	if conj {
		VFMADD231PS(f.re, z.re, p.re)
		VFMSUB231PS(f.re, z.im, p.im)
	} else {
		VFMSUB231PS(f.re, z.re, p.re)
		VFMADD231PS(f.re, z.im, p.im)
	}
	return p
}

// down transforms two or four numbers, as fftDown does.
func (g *gen) down(z []cpx) []cpx {
	if len(z) == 2 {
		return []cpx{g.cadd(z[0], z[1]), g.csub(z[0], z[1])}
	}
	r := g.down4([4]cpx(z))
	return r[:]
}

// up undoes down.
func (g *gen) up(z []cpx) []cpx {
	if len(z) == 2 {
		return g.down(z)
	}
	r := g.up4([4]cpx(z))
	return r[:]
}

func (g *gen) down4(z [4]cpx) [4]cpx {
	e0, d0 := g.cadd(z[0], z[2]), g.csub(z[0], z[2])
	e1, d1 := g.cadd(z[1], z[3]), g.csub(z[1], z[3])
	return [4]cpx{g.cadd(e0, e1), g.csub(e0, e1), g.csubI(d0, d1), g.caddI(d0, d1)}
}

func (g *gen) up4(z [4]cpx) [4]cpx {
	e0, e1 := g.cadd(z[0], z[1]), g.csub(z[0], z[1])
	d0, d1 := g.cadd(z[2], z[3]), g.csub(z[2], z[3])
	return [4]cpx{g.cadd(e0, d0), g.caddI(e1, d1), g.csub(e0, d0), g.csubI(e1, d1)}
}

// down8Odd is the odd half of a transform of eight, whose differences are d: down4 of
// d[q]·exp(-2πiq/8). With u = d1-d3 and v = d1+d3 the products for q = 1 and 3 add up
// to (u - iv)/√2, and i times their difference to (u + iv)/√2.
func (g *gen) down8Odd(d [4]cpx) [4]cpx {
	u, v := g.csub(d[1], d[3]), g.cadd(d[1], d[3])
	even, odd := g.csubI(d[0], d[2]), g.caddI(d[0], d[2])
	r0, r1 := g.around(even, g.csubI(u, v))
	r3, r2 := g.around(odd, g.caddI(u, v))
	return [4]cpx{r0, r1, r2, r3}
}

// combine ends a transform back of eight: for q < 4 it gives out e[q] + p and e[q] - p
// as q and q+4, where p is o[q]·exp(2πiq/8). The even half is parked in rows 0 to 3.
func (g *gen) combine(e, o [4]cpx, rows *rowSet, out func(q int, z cpx)) {
	get := func(q int) cpx { return g.unpark(e[q], rows.row(q)) }
	e0 := get(0)
	out(0, g.cadd(e0, o[0]))
	out(4, g.csub(e0, o[0]))
	plus, minus := g.around(get(1), cpx{g.sub(o[1].re, o[1].im), g.add(o[1].re, o[1].im)})
	out(1, plus)
	out(5, minus)
	e2 := get(2)
	out(2, g.caddI(e2, o[2]))
	out(6, g.csubI(e2, o[2]))
	minus, plus = g.around(get(3), cpx{g.add(o[3].re, o[3].im), g.sub(o[3].im, o[3].re)})
	out(3, plus)
	out(7, minus)
}
