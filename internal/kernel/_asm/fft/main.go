// Command fft generates the passes of the long convolution for amd64.
//
// A row of a transform is a vector of 16 real parts and one of 16 imaginary parts,
// or two of 8 each. Passes of radix 8 are divided into an even and an odd half, so
// that AVX2 has registers enough: what is not needed at once waits in rows of the
// buffer that have been read already.
package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

const (
	partBytes = 64 // of the real or the imaginary parts of a row
	rowBytes  = 2 * partBytes

	spectrumAhead = 4096 // bytes that the spectrum is fetched ahead of its use
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		g := &gen{ISA: v}
		g.first()
		for _, radix := range []int{2, 4, 8} {
			g.forward(radix)
			g.inverse(radix)
		}
		g.product("fftProduct", false)
		g.product("fftProductConj", true)
		g.last()
	})
	Generate()
}

// gen emits the functions for one instruction set.
type gen struct {
	*simd.ISA
	at int // which bytes of 16 channels are computed: from 0, or from 32 on
}

// each runs f for all parts of the 16 channels.
func (g *gen) each(f func()) {
	for g.at = 0; g.at < partBytes; g.at += g.Bytes {
		f()
	}
}

func (g *gen) begin(name, signature, doc string) {
	TEXT(name+g.Suffix, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + g.Suffix + " is " + doc)
	g.Preload()
}

// first emits fftFirst.
func (g *gen) first() {
	g.begin("fftFirst", "func(buf *float32, rows *[8][]float32, ld *[8]int, factors *float32, s, count int)", "fftFirstGeneric.")
	g.Preload(weightConsts()...)
	rows := newRows("buf", "s", rowBytes, 8)
	factors, j, x := args.Load("factors"), args.Load("count"), newSamples()
	Label("loop")
	rows.sync()
	x.prefetch()
	g.each(func() {
		var e, d [4]cpx
		for q := range e {
			e[q], d[q] = g.weighted(x.at(q, g.at), x.at(q+4, g.at), q)
			d[q] = g.park(d[q], rows.row(q+4))
		}
		for q, z := range g.down4(e) {
			g.store(g.times(z, Mem{Base: factors, Disp: 8 * q}, false), rows.row(q))
		}
		for q, z := range g.down8Odd(g.unparkAll(d, rows)) {
			g.store(g.times(z, Mem{Base: factors, Disp: 8 * (q + 4)}, false), rows.row(q+4))
		}
	})
	x.next()
	ADDQ(U8(64), factors)
	rows.next()
	DECQ(j)
	JNZ(LabelRef("loop"))
	finish()
}

// weighted returns the sum and the difference of samples q and q+4 after weighting.
func (g *gen) weighted(lower, upper Mem, q int) (sum, difference cpx) {
	x, y := g.New(), g.New()
	VMOVUPS(lower, x)
	VMOVUPS(upper, y)
	part := func(cosOrSin func(q int) float32) (sum, difference simd.Vec) {
		t, u := g.New(), g.New()
		VMULPS(g.Const(cosOrSin(q)), x, t)
		VMOVAPS(t, u)
		VFMADD231PS(g.Const(cosOrSin(q+4)), y, t)
		VFNMADD231PS(g.Const(cosOrSin(q+4)), y, u)
		return t, u
	}
	if q > 0 {
		sum.re, difference.re = part(weightCos)
		sum.im, difference.im = part(weightSin)
		return sum, difference
	}
	sum.im = g.New()
	VMULPS(g.Const(weightCos(4)), y, sum.im) // and its sine is the same
	sum.re, difference.re = g.add(x, sum.im), g.sub(x, sum.im)
	difference.im = g.sub(g.Zero(), sum.im)
	return sum, difference
}

// weightCos and weightSin are the weights of sample j+q·s relative to that of j.
func weightCos(q int) float32 { return float32(math.Cos(math.Pi * float64(q) / 16)) }
func weightSin(q int) float32 { return float32(math.Cos(math.Pi * float64(8-q) / 16)) }

func weightConsts() []float32 {
	var c []float32
	for q := 1; q < 8; q++ {
		c = append(c, weightCos(q))
	}
	return c
}

// forward emits fftForward for one radix.
func (g *gen) forward(radix int) {
	g.pass(fmt.Sprintf("fftForward%d", radix), "fftForwardGeneric", radix, func(rows *rowSet, factor func(q int) Mem) {
		times := func(z cpx, q int) cpx {
			if q == 0 {
				return z
			}
			return g.times(z, factor(q), false)
		}
		if radix < 8 {
			for q, z := range g.down(g.loadAll(rows, radix)) {
				g.store(times(z, q), rows.row(q))
			}
			return
		}
		e, d := g.halves(rows)
		for q, z := range g.down4(e) {
			g.store(times(z, q), rows.row(q))
		}
		for q, z := range g.down8Odd(g.unparkAll(d, rows)) {
			g.store(times(z, q+4), rows.row(q+4))
		}
	})
}

// inverse emits fftInverse for one radix.
func (g *gen) inverse(radix int) {
	g.pass(fmt.Sprintf("fftInverse%d", radix), "fftInverseGeneric", radix, func(rows *rowSet, factor func(q int) Mem) {
		in := func(q int) cpx {
			z := g.load(rows.row(q))
			if q == 0 {
				return z
			}
			return g.times(z, factor(q), true)
		}
		if radix < 8 {
			z := make([]cpx, radix)
			for q := range z {
				z[q] = in(q)
			}
			for q, z := range g.up(z) {
				g.store(z, rows.row(q))
			}
			return
		}
		e := g.up4([4]cpx{in(0), in(1), in(2), in(3)})
		for q := range e {
			e[q] = g.park(e[q], rows.row(q))
		}
		o := g.up4([4]cpx{in(4), in(5), in(6), in(7)})
		g.combine(e, o, rows, func(q int, z cpx) { g.store(z, rows.row(q)) })
	})
}

// pass emits the loops over blocks and rows of fftForward or fftInverse.
func (g *gen) pass(name, generic string, radix int, body func(rows *rowSet, factor func(q int) Mem)) {
	g.begin(name, "func(buf, factors *float32, s, count, blocks int)", fmt.Sprintf("%s for radix %d.", generic, radix))
	if radix == 8 {
		g.Preload(math.Sqrt2 / 2)
	}
	rows := newRows("buf", "s", rowBytes, radix)
	blocks, skip := args.Load("blocks"), GP64()
	MOVQ(rows.stride, skip)
	IMUL3Q(U8(radix-1), skip, skip)
	Label("block")
	factors, j := args.Load("factors"), args.Load("count")
	Label("loop")
	rows.sync()
	g.each(func() {
		body(rows, func(q int) Mem { return Mem{Base: factors, Disp: 8 * (q - 1)} })
	})
	ADDQ(U8(8*(radix-1)), factors)
	rows.next()
	DECQ(j)
	JNZ(LabelRef("loop"))
	ADDQ(skip, rows.base)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	finish()
}

// product emits fftProduct.
func (g *gen) product(name string, conj bool) {
	g.begin(name, "func(buf, spectrum *float32, blocks int)", fmt.Sprintf("fftProductGeneric, with conj %v.", conj))
	g.Preload(math.Sqrt2 / 2)
	rows := &rowSet{base: args.Load("buf"), fixed: rowBytes}
	spectrum := &rowSet{base: args.Load("spectrum"), fixed: rowBytes}
	blocks := args.Load("blocks")
	Label("loop")
	for at := 0; at < 8*rowBytes; at += 64 {
		PREFETCHT0(Mem{Base: spectrum.base, Disp: spectrumAhead + at})
	}
	g.each(func() {
		times := func(z [4]cpx, first int) [4]cpx {
			for q := range z {
				z[q] = g.product2(z[q], g.load(spectrum.row(first+q)), conj)
			}
			return z
		}
		e, d := g.halves(rows)
		e = g.up4(times(g.down4(e), 0))
		for q := range e {
			e[q] = g.park(e[q], rows.row(q))
		}
		o := g.up4(times(g.down8Odd(g.unparkAll(d, rows)), 4))
		g.combine(e, o, rows, func(q int, z cpx) { g.store(z, rows.row(q)) })
	})
	ADDQ(I32(8*rowBytes), rows.base)
	ADDQ(I32(8*rowBytes), spectrum.base)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	finish()
}

// last emits fftLast.
func (g *gen) last() {
	g.begin("fftLast", "func(rows *[8][]float32, ld *[8]int, buf, factors *float32, s, count int)", "fftLastGeneric.")
	g.Preload(weightConsts()...)
	rows := newRows("buf", "s", rowBytes, 8)
	factors, j, x := args.Load("factors"), args.Load("count"), newSamples()
	Label("loop")
	rows.sync()
	x.prefetch()
	g.each(func() {
		in := func(q int) cpx {
			return g.times(g.load(rows.row(q)), Mem{Base: factors, Disp: 8 * q}, true)
		}
		e := g.up4([4]cpx{in(0), in(1), in(2), in(3)})
		for q := range e {
			e[q] = g.park(e[q], rows.row(q))
		}
		o := g.up4([4]cpx{in(4), in(5), in(6), in(7)})
		g.combine(e, o, rows, func(q int, z cpx) {
			if q > 0 {
				VMULPS(g.Const(weightCos(q)), z.re, z.re)
				VFMADD231PS(g.Const(weightSin(q)), z.im, z.re)
			}
			VMOVUPS(z.re, x.at(q, g.at))
		})
	})
	x.next()
	ADDQ(U8(64), factors)
	rows.next()
	DECQ(j)
	JNZ(LabelRef("loop"))
	finish()
}

func finish() {
	VZEROUPPER()
	RET()
}
