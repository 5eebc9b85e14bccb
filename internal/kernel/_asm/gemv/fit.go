package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/int4"
)

// fit emits the search for the scales and codes of 16 blocks in int4, one in each lane,
// in the order of operations that fit4 in package kernel has.
func fit() {
	tables := fitTables()
	TEXT("fitQ4AVX512", NOSPLIT, "func(w *float32, try, best, codes *byte, scales *uint16) uint32")
	Pragma("noescape")
	Doc("fitQ4AVX512 is fit4.block for 16 blocks, whose elements i are the 16 from w[16*i] on. try and best have room for 512 bytes. It returns a bit for each block that has no element of an ordinary magnitude, or one of another, and of which the results are not valid.")
	f := &fitter{w: Load(Param("w"), GP64()), try: Load(Param("try"), GP64()), best: Load(Param("best"), GP64()), row: GP64(), count: GP64()}
	load := func(at int) reg.VecVirtual {
		r := ZMM()
		VMOVUPS(tables.Offset(at), r)
		return r
	}
	f.bordersLow, f.bordersHigh = load(0), load(64)
	f.basesLow, f.basesHigh = load(128), load(192)
	f.values = load(256)
	number := func(x float32) reg.VecVirtual { return isa512.fill(math.Float32bits(x)) }
	f.two, f.zero, f.middle, f.last, f.cell = number(2), number(0), number(256), number(511), number(1./16)
	f.one = isa512.fill(1)

	bad := f.largest()
	VCMPPS(U8(0), f.top, f.top, f.todo) // none is NaN, or it is bad
	f.exact()
	f.bound = number(0.15)
	VPANDD(isa512.fill(1<<31-1), f.top, f.improved)
	VMULPS(f.improved, f.bound, f.bound)
	infinite := GP64()
	MOVQ(U64(math.Float64bits(math.Inf(1))), infinite)
	for i := range f.err {
		f.err[i] = ZMM()
		VPBROADCASTQ(infinite, f.err[i])
	}
	any, accepted := K(), K()
	first := ZMM()
	VDIVPS(number(float32(int4.Codes[0])), f.top, first)
	f.attempt("first", first, f.todo, any)
	VDIVPS(number(float32(int4.Codes[15])), f.top, first)
	f.attempt("second", first, f.todo, accepted)
	KORW(any, accepted, any)
	f.attempt("third", f.improved, any, accepted)
	f.attempt("fourth", f.improved, accepted, any)

	VPSRLD(U8(16), f.scale, f.scale)
	scales := Load(Param("scales"), GP64())
	VPMOVDW(f.scale, Mem{Base: scales})
	transposeCodes(f.best, Load(Param("codes"), GP64()))
	Store(bad, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// fitter is the state of the search.
type fitter struct {
	w, try, best, row, count reg.Register

	// A number 2x+256 is in one of 32 cells of the width 16, which have a border between
	// codes at the most: where it is, and the code below it.
	bordersLow, bordersHigh     reg.VecVirtual
	basesLow, basesHigh         reg.VecVirtual
	values                      reg.VecVirtual // of the codes
	two, zero, middle, last     reg.VecVirtual
	cell, one                   reg.VecVirtual
	top, scale, bound, improved reg.VecVirtual
	err                         [2]reg.VecVirtual
	todo                        reg.OpmaskVirtual
}

// fitTables emits the borders, the codes below them, and the values of the codes.
func fitTables() Mem {
	m := GLOBL("fitTables", 8|16)
	for i := range 32 {
		border := 1 << 20
		for t := 16*i + 15; t > 16*i; t-- {
			if int4.Nearest(t) != int4.Nearest(t-1) {
				border = t
			}
		}
		DATA(4*i, U32(math.Float32bits(float32(border))))
	}
	for i := range 32 {
		DATA(128+4*i, U32(int4.Nearest(16*i)))
	}
	for i, c := range int4.Codes {
		DATA(256+4*i, U32(math.Float32bits(float32(c))))
	}
	return m
}

// eachElement emits a loop over the elements. Labels begin with name.
func (f *fitter) eachElement(name string, body func(w Mem)) {
	MOVQ(f.w, f.row)
	MOVQ(U64(0), f.count)
	Label(name)
	body(Mem{Base: f.row})
	ADDQ(U8(64), f.row)
	ADDQ(U8(16), f.count)
	CMPQ(f.count, I32(512))
	JNE(LabelRef(name))
}

// largest finds the elements of the largest magnitude, and the lanes where this is not
// ordinary.
func (f *fitter) largest() (bad reg.Register) {
	f.top, f.scale, f.improved, f.todo = ZMM(), ZMM(), ZMM(), K()
	most, magnitude := isa512.fill(0), isa512.fill(1<<31-1)
	VPXORD(f.top, f.top, f.top)
	VPXORD(f.scale, f.scale, f.scale)
	f.eachElement("largest", func(w Mem) {
		x, size, more := ZMM(), ZMM(), K()
		VMOVUPS(w, x)
		VPANDD(x, magnitude, size)
		VPCMPGTD(most, size, more)
		VMOVDQA32(size, more, most)
		VMOVDQA32(x, more, f.top)
	})
	low, high := K(), K()
	VPCMPGTD(most, isa512.fill(math.Float32bits(0x1p-100)), low)
	VPCMPGTD(isa512.fill(math.Float32bits(0x1p120)), most, high)
	KORW(low, high, low)
	r := GP32()
	KMOVW(low, r)
	return r
}

// nearest returns the codes nearest to x, and their values.
func (f *fitter) nearest(x reg.VecVirtual) (code, value reg.VecVirtual) {
	t, cell, border := ZMM(), ZMM(), ZMM()
	code, value = ZMM(), ZMM()
	VMOVAPS(f.middle, t)
	VFMADD231PS(x, f.two, t)
	VMAXPS(f.zero, t, t)
	VMINPS(f.last, t, t)
	VMULPS(f.cell, t, cell)
	VCVTTPS2DQ(cell, cell)
	VMOVAPS(cell, border)
	VPERMI2PS(f.bordersHigh, f.bordersLow, border)
	VMOVAPS(cell, code)
	VPERMI2D(f.basesHigh, f.basesLow, code)
	above := K()
	VCMPPS(U8(13), border, t, above)
	VPADDD(f.one, code, above, code)
	VPERMPS(f.values, code, value)
	return code, value
}

func (f *fitter) storeTry(code reg.VecVirtual) {
	VPMOVDB(code, Mem{Base: f.try, Index: f.count, Scale: 1})
}

// keep makes the codes of try the best in the lanes of a mask.
func (f *fitter) keep(lanes reg.OpmaskVirtual) {
	for i := range 32 {
		x := XMM()
		VMOVDQU8(Mem{Base: f.try, Disp: 16 * i}, x)
		VMOVDQU8(x, lanes, Mem{Base: f.best, Disp: 16 * i})
	}
}

// exact looks for scales of which all elements are multiples, and removes the lanes where
// there are some from those to do.
func (f *fitter) exact() {
	low := isa512.fill(0xffff)
	for i, c := range int4.Codes {
		if c == 0 {
			continue
		}
		next, loop := fmt.Sprintf("inexact%d", i), fmt.Sprintf("exact%d", i)
		s, found := ZMM(), K()
		VDIVPS(isa512.fill(math.Float32bits(float32(c))), f.top, s)
		VPTESTNMD(s, low, f.todo, found)
		KORTESTW(found, found)
		JZ(LabelRef(next))
		f.eachElement(loop, func(w Mem) {
			x, y := ZMM(), ZMM()
			VMOVUPS(w, x)
			VDIVPS(s, x, y)
			code, value := f.nearest(y)
			f.storeTry(code)
			VMULPS(s, value, value)
			VCMPPS(U8(0), value, x, found, found)
			KORTESTW(found, found)
			JZ(LabelRef(next))
		})
		f.keep(found)
		VMOVDQA32(s, found, f.scale)
		KANDNW(f.todo, found, f.todo)
		Label(next)
	}
}

// attempt rounds the lanes of a mask with the scales s, and keeps what is better. It
// returns where that is.
func (f *fitter) attempt(name string, s reg.VecVirtual, lanes, accepted reg.OpmaskVirtual) {
	scale, t, inverse := ZMM(), ZMM(), ZMM()
	VPSRLD(U8(16), s, t)
	VPANDD(f.one, t, t)
	VPADDD(s, t, t)
	VPADDD(isa512.fill(0x7fff), t, t)
	VPANDD(isa512.fill(0xffff0000), t, scale)
	VDIVPS(scale, isa512.fill(math.Float32bits(1)), inverse)
	sum, num, den, most := isa512.fill(0), isa512.fill(0), isa512.fill(0), isa512.fill(0)
	f.eachElement(name, func(w Mem) {
		x, d := ZMM(), ZMM()
		VMULPS(w, inverse, x)
		code, c := f.nearest(x)
		f.storeTry(code)
		VSUBPS(c, x, d)
		VMULPS(d, d, d)
		VADDPS(d, sum, sum)
		VMAXPS(d, most, most)
		VMULPS(x, c, x)
		VADDPS(x, num, num)
		VMULPS(c, c, c)
		VADDPS(c, den, den)
	})
	limit, below := ZMM(), K()
	VMULPS(inverse, f.bound, limit)
	VMULPS(limit, limit, limit)
	VCMPPS(U8(2), limit, most, lanes, below) // most ≤ limit
	var better [2]reg.OpmaskVirtual
	var errs [2]reg.VecVirtual
	for i := range errs {
		half := func(x reg.VecVirtual) reg.VecVirtual {
			y, z := YMM(), ZMM()
			VEXTRACTF32X8(U8(uint8(i)), x, y)
			VCVTPS2PD(y, z)
			return z
		}
		e, d := half(sum), half(scale)
		VMULPD(d, e, e)
		VMULPD(d, e, e)
		errs[i], better[i] = e, K()
		VCMPPD(U8(1), f.err[i], e, better[i])
	}
	KUNPCKBW(better[0], better[1], accepted)
	KANDW(below, accepted, accepted)
	upper := K()
	KSHIFTRW(U8(8), accepted, upper)
	VMOVAPD(errs[0], accepted, f.err[0])
	VMOVAPD(errs[1], upper, f.err[1])
	VMOVDQA32(scale, accepted, f.scale)
	VDIVPS(den, num, num)
	VMULPS(num, scale, num)
	VMOVAPS(num, accepted, f.improved)
	f.keep(accepted)
}

// transposeCodes writes the codes at src, those of 16 blocks next to each other, to dst
// block by block, two to a byte.
func transposeCodes(src, dst reg.Register) {
	var rows []reg.VecVirtual
	for i := range 16 {
		x, y := XMM(), XMM()
		VMOVDQU8(Mem{Base: src, Disp: 32 * i}, x)
		VMOVDQU8(Mem{Base: src, Disp: 32*i + 16}, y)
		VPSLLW(U8(4), y, y)
		VPORD(x, y, x)
		rows = append(rows, x)
	}
	// Each round puts row i and row i+8 next to each other, byte by byte: after four of
	// them, the bytes of a column are in one register.
	for range 4 {
		next := make([]reg.VecVirtual, 16)
		for i := range 8 {
			next[2*i], next[2*i+1] = XMM(), XMM()
			VPUNPCKLBW(rows[i+8], rows[i], next[2*i])
			VPUNPCKHBW(rows[i+8], rows[i], next[2*i+1])
		}
		rows = next
	}
	for i, r := range rows {
		VMOVDQU8(r, Mem{Base: dst, Disp: 16 * i})
	}
}
