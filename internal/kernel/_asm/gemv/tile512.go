package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The blocks of an int8 panel: 8 quads of k by 32 columns, then the scales.
const (
	quad     = 4 * 32
	q8Scales = 8 * quad
	q8Block  = q8Scales + 32*2
)

// The digits of a row: the upper ones count 2^15, the middle ones 2^8.
const (
	upper = iota
	middle
	lower
	digits
)

// A scaleFormat of package kernel: eight equal lanes each.
const (
	scaleShift  = 0
	scaleBias   = 32
	scaleFactor = 64
)

const tileSignature = "func(blocks int, x *byte, ldx int, b *byte, c *float32, ldc int, scales *uint32, add bool)"

// upperBase is what the sums of upper digits begin with besides: 3·2^37, a float32 of which
// an increment of the bits counts 2^15. The conversion to 2^15 times the sum is so no more
// than a subtraction, and not a task for the units that multiply.
const upperBase = 0x52c00000

// bytesOf is weights plus 128, for 16 columns and a quad of k each.
type bytesOf func(q, column int) reg.VecVirtual

// tile512 emits the product of m rows, split into digits, and a panel of weights. The
// sums of products within a block are integers and exact, so that their order, and so
// the bits of the result, are not a matter of the instruction set.
//
// Of the factors of VPDPBUSD one has no sign. Weights become that by adding 128, for
// which the sums begin with -128 times the sums of the digits.
func tile512(name, doc string, m, block int, s scales, weights func(b reg.Register) bytesOf) {
	TEXT(name, NOSPLIT, tileSignature)
	Pragma("noescape")
	Doc(name + " " + doc)
	blocks := Load(Param("blocks"), GP64())
	rows := []reg.Register{Load(Param("x"), GP64())}
	if m > 1 {
		ldx := Load(Param("ldx"), GP64())
		for i := 1; i < m; i++ {
			p := GP64()
			LEAQ(Mem{Base: rows[i-1], Index: ldx, Scale: 1}, p)
			rows = append(rows, p)
		}
	}
	b := Load(Param("b"), GP64())
	widen := s()
	total := newTotals(m)
	place := weights(b)
	base := isa512.fill(upperBase)
	Label("block")
	var sums [][2][digits]reg.VecVirtual
	for _, x := range rows {
		var s [2][digits]reg.VecVirtual
		for d := range digits {
			s[0][d], s[1][d] = ZMM(), ZMM()
			VPBROADCASTD(Mem{Base: x, Disp: splitStart + 4*d}, s[0][d])
			VMOVDQA32(s[0][d], s[1][d])
		}
		sums = append(sums, s)
	}
	// The lines ahead are fetched among the products: many at once wait for each other,
	// which costs a quarter of the time.
	line := 0
	fetch := func(until int) {
		for ; line < until && m < 4; line += 64 {
			PREFETCHT0(Mem{Base: b, Disp: line + ahead})
		}
	}
	for q := range 8 {
		fetch(block * (q + 1) / 8)
		w := [2]reg.VecVirtual{place(q, 0), place(q, 1)}
		for i, x := range rows {
			for d := range digits {
				four := ZMM()
				VPBROADCASTD(Mem{Base: x, Disp: d*splitPlane + 4*q}, four)
				VPDPBUSD(four, w[0], sums[i][0][d])
				VPDPBUSD(four, w[1], sums[i][1][d])
			}
		}
	}
	var scale [2]reg.VecVirtual
	for j := range scale {
		scale[j] = ZMM()
		VPMOVZXWD(Mem{Base: b, Disp: block - 64 + 32*j}, scale[j])
		widen(scale[j])
	}
	for i, x := range rows {
		for j := range scale {
			s := sums[i][j]
			VPSLLD(U8(8), s[middle], s[middle])
			VPADDD(s[middle], s[lower], s[lower])
			VCVTDQ2PS(s[lower], s[lower])
			VSUBPS(base, s[upper], s[upper])
			VADDPS(s[upper], s[lower], s[lower])
			VMULPS_BCST(Mem{Base: x, Disp: splitScale}, s[lower], s[lower])
			total.add(i, j, s[lower], scale[j])
		}
	}
	for _, x := range rows {
		ADDQ(I32(splitBytes), x)
	}
	ADDQ(I32(int32(block)), b)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	total.store()
}

// totals are the sums of blocks: of one row in registers, of more in memory.
type totals struct {
	m    int
	regs [2]reg.VecVirtual
	mem  Mem
}

func newTotals(m int) *totals {
	t := &totals{m: m}
	zero := ZMM()
	VPXORD(zero, zero, zero)
	if m == 1 {
		t.regs = [2]reg.VecVirtual{zero, ZMM()}
		VMOVDQA32(zero, t.regs[1])
		return t
	}
	t.mem = AllocLocal(128 * m)
	for i := range 2 * m {
		VMOVUPS(zero, t.mem.Offset(64*i))
	}
	return t
}

// add adds a product with one rounding.
func (t *totals) add(row, j int, x, scale reg.VecVirtual) {
	if t.m == 1 {
		VFMADD231PS(x, scale, t.regs[j])
		return
	}
	at := t.mem.Offset(128*row + 64*j)
	VFMADD213PS(at, scale, x)
	VMOVUPS(x, at)
}

// store writes the totals, plus what is there if add is set, to c.
func (t *totals) store() {
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	add := Load(Param("add"), GP8())
	for i := range t.m {
		skip := fmt.Sprintf("store%d", i)
		x := t.regs
		if t.m > 1 {
			for j := range x {
				x[j] = ZMM()
				VMOVUPS(t.mem.Offset(128*i+64*j), x[j])
			}
		}
		TESTB(add, add)
		JZ(LabelRef(skip))
		for j := range x {
			VADDPS(Mem{Base: c, Disp: 64 * j}, x[j], x[j])
		}
		Label(skip)
		for j := range x {
			VMOVUPS(x[j], Mem{Base: c, Disp: 64 * j})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// scales begins what makes scales of 16 bits, which were widened to 32, float32s.
type scales func() (widen func(x reg.VecVirtual))

// anyScales is scales of the format that the argument tells.
func anyScales() func(x reg.VecVirtual) {
	var format [3]reg.VecVirtual
	p := Load(Param("scales"), GP64())
	for i, at := range []int{scaleShift, scaleBias, scaleFactor} {
		format[i] = ZMM()
		VPBROADCASTD(Mem{Base: p, Disp: at}, format[i])
	}
	return func(x reg.VecVirtual) {
		VPSLLVD(format[0], x, x)
		VPADDD(format[1], x, x)
		VMULPS(format[2], x, x)
	}
}

// halfScales is scales in bfloat16.
func halfScales() func(x reg.VecVirtual) {
	return func(x reg.VecVirtual) { VPSLLD(U8(16), x, x) }
}

func int8Tiles512() {
	for m := 1; m <= 4; m++ {
		tile512(fmt.Sprintf("tileQ8x%dAVX512", m), fmt.Sprintf("multiplies %d rows of digits by an int8 panel; blocks is not 0.", m), m, q8Block, anyScales,
			func(b reg.Register) bytesOf {
				sign := isa512.fill(0x80808080)
				return func(q, column int) reg.VecVirtual {
					w := ZMM()
					VPXORD(Mem{Base: b, Disp: q*quad + 64*column}, sign, w)
					return w
				}
			})
	}
}

func int4Tile512(tables Mem) {
	tile512("tileQ4x1AVX512", "multiplies a row of digits by an int4 panel; blocks is not 0.", 1, q4Block, halfScales,
		func(b reg.Register) bytesOf {
			table, nibbles := ZMM(), isa512.fill(0x0f0f0f0f)
			VBROADCASTI32X4(tables.Offset(unsigned), table)
			var next [2]reg.VecVirtual // the second quad of an octet
			return func(q, column int) reg.VecVirtual {
				if q%2 == 1 {
					return next[column]
				}
				w, x := ZMM(), ZMM()
				VMOVDQU32(Mem{Base: b, Disp: q/2*q4Octet + 64*column}, x)
				VPANDD(nibbles, x, w)
				VPSHUFB(w, table, w)
				VPSRLW(U8(4), x, x)
				VPANDD(nibbles, x, x)
				VPSHUFB(x, table, x)
				next[column] = x
				return w
			}
		})
}
