package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The blocks of an int4 panel: 4 octets of k, each of 8 groups of 4 rows in 16 bytes,
// then the scales.
const (
	q4Octet  = 8 * 16
	q4Scales = 4 * q4Octet
	q4Block  = q4Scales + 32*2
)

// q4Codes are the numbers that four bits stand for: kernel.Q4Codes.
var q4Codes = [16]float32{-127, -103, -81, -63, -48, -34, -21, -10, 0, 10, 22, 34, 47, 64, 83, 109}

// codeTables emits the lower and the upper bytes of the codes in bfloat16, and masks
// for the lower halves of bytes and the upper halves of 32 bits, each 32 bytes long.
func codeTables() Mem {
	m := GLOBL("gemvCodes", 8|16) // RODATA, NOPTR
	for i := range 64 {           // each byte of the numbers twice, once per 16 bytes
		half := math.Float32bits(q4Codes[i%16]) >> 16
		DATA(i, U8(half>>(i/32*8)))
	}
	for i := range 8 {
		DATA(64+4*i, U32(0x0f0f0f0f))
	}
	for i := range 8 {
		DATA(96+4*i, U32(0xffff0000))
	}
	return m
}

// int4 turns codes into weights.
type int4 struct {
	isa
	low, high      reg.VecVirtual // bytes of the codes in bfloat16
	nibbles, upper Op             // masks: registers, or memory where these are few
}

func (v isa) int4(tables Mem) *int4 {
	t := &int4{isa: v, low: v.vector(), high: v.vector()}
	if v.bytes == 64 {
		VBROADCASTI32X4(tables, t.low)
		VBROADCASTI32X4(tables.Offset(32), t.high)
		nibbles, upper := v.vector(), v.vector()
		VBROADCASTI32X4(tables.Offset(64), nibbles)
		VBROADCASTI32X4(tables.Offset(96), upper)
		t.nibbles, t.upper = nibbles, upper
	} else {
		VMOVDQU(tables, t.low)
		VMOVDQU(tables.Offset(32), t.high)
		t.nibbles, t.upper = tables.Offset(64), tables.Offset(96)
	}
	return t
}

func (t *int4) and(mask Op, x reg.VecVirtual) reg.VecVirtual {
	w := t.vector()
	if t.bytes == 64 {
		VPANDD(mask, x, w)
	} else {
		VPAND(mask, x, w)
	}
	return w
}

// scales widens the scales of a block.
func (t *int4) scales(at Mem) []reg.VecVirtual {
	s := make([]reg.VecVirtual, t.n)
	for i := range s {
		s[i] = t.vector()
		VPMOVZXWD(at.Offset(i*t.bytes/2), s[i])
		VPSLLD(U8(16), s[i], s[i])
	}
	return s
}

// octet calls body with the weights of eight values of k, in order, in vector i of the
// panel, whose codes are at codes.
func (t *int4) octet(codes Mem, scale reg.VecVirtual, body func(p int, w reg.VecVirtual)) {
	x := t.vector()
	if t.bytes == 64 {
		VMOVDQU32(codes, x)
	} else {
		VMOVDQU(codes, x)
	}
	for half := range 2 {
		index := x
		if half == 1 {
			index = t.vector()
			VPSRLW(U8(4), x, index)
		}
		index = t.and(t.nibbles, index)
		low, high := t.vector(), t.vector()
		VPSHUFB(index, t.low, low)
		VPSHUFB(index, t.high, high)
		for quarter := range 2 {
			pair := t.vector()
			if quarter == 0 {
				VPUNPCKLBW(high, low, pair)
			} else {
				VPUNPCKHBW(high, low, pair)
			}
			w := t.even(pair)
			VMULPS(scale, w, w)
			body(4*half+2*quarter, w)
			w = t.and(t.upper, pair)
			VMULPS(scale, w, w)
			body(4*half+2*quarter+1, w)
		}
	}
}

// eachBlock emits a loop over the blocks of k, each of which has a beginning, and,
// within, over their octets, whose codes are at q. Of the last one, tail does the values
// that are left.
func (t *int4) eachBlock(k, b reg.Register, begin func(), octet func(q reg.Register), tail func(q, left reg.Register)) {
	TESTQ(k, k)
	JZ(LabelRef("done"))
	Label("block")
	begin()
	q, end := GP64(), GP64()
	MOVQ(b, q)
	LEAQ(Mem{Base: b, Disp: q4Scales}, end)
	Label("octet")
	CMPQ(k, U8(8))
	JLT(LabelRef("tail"))
	octet(q)
	SUBQ(I32(-q4Octet), q)
	SUBQ(U8(8), k)
	CMPQ(q, end)
	JNE(LabelRef("octet"))
	ADDQ(I32(q4Block), b)
	TESTQ(k, k)
	JNZ(LabelRef("block"))
	JMP(LabelRef("done"))
	Label("tail")
	TESTQ(k, k)
	JZ(LabelRef("done"))
	tail(q, k)
	Label("done")
}

func (v isa) rowQ4(tables Mem, panels int) {
	name := rowName("Q4", v, panels)
	TEXT(name, NOSPLIT, rowSignature("*byte", panels))
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of " + panelsOf("int4", panels) + ".")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := v.weights(panels)
	acc := v.zeros(panels)
	t := v.int4(tables)
	var s []reg.VecVirtual
	t.eachBlock(k, b.base, func() {
		s = nil
		for j := range panels {
			PREFETCHT0(b.at(b.base, j, q4Scales+ahead))
			s = append(s, t.scales(b.at(b.base, j, q4Scales))...)
		}
	}, func(q reg.Register) {
		x := t.eight(a)
		for j := range panels {
			for i := range v.n {
				codes := b.at(q, j, i*v.bytes)
				if i*v.bytes%64 == 0 {
					PREFETCHT0(codes.Offset(ahead))
				}
				t.octet(codes, s[j*v.n+i], func(p int, w reg.VecVirtual) {
					VFMADD231PS(x(p), w, acc[j*v.n+i])
				})
			}
		}
		ADDQ(U8(32), a)
	}, func(q, left reg.Register) {
		for j := range panels {
			for i := range v.n {
				next := fmt.Sprintf("next%d", j*v.n+i)
				t.octet(b.at(q, j, i*v.bytes), s[j*v.n+i], func(p int, w reg.VecVirtual) {
					x := v.vector()
					VBROADCASTSS(Mem{Base: a, Disp: 4 * p}, x)
					VFMADD231PS(x, w, acc[j*v.n+i])
					if p < 7 {
						CMPQ(left, U8(p+1))
						JEQ(LabelRef(next))
					}
				})
				Label(next)
			}
		}
	})
	v.finish(acc)
}

// eight returns a function for eight elements at a, in all lanes of a register. There
// are enough registers to load them once only in AVX-512.
func (v isa) eight(a reg.Register) func(p int) reg.VecVirtual {
	load := func(p int) reg.VecVirtual {
		x := v.vector()
		VBROADCASTSS(Mem{Base: a, Disp: 4 * p}, x)
		return x
	}
	if v.bytes != 64 {
		return load
	}
	var x [8]reg.VecVirtual
	for p := range x {
		x[p] = load(p)
	}
	return func(p int) reg.VecVirtual { return x[p] }
}

func (v isa) panelQ4(tables Mem) {
	name := "widenQ4" + v.suffix
	TEXT(name, NOSPLIT, "func(k int, dst *float32, b *byte)")
	Pragma("noescape")
	Doc(name + " converts an int4 panel to a float32 panel.")
	k := Load(Param("k"), GP64())
	dst := Load(Param("dst"), GP64())
	b := Load(Param("b"), GP64())
	t := v.int4(tables)
	var s []reg.VecVirtual
	store := func(i, p int, w reg.VecVirtual) { VMOVUPS(w, Mem{Base: dst, Disp: 128*p + i*v.bytes}) }
	t.eachBlock(k, b, func() { s = t.scales(Mem{Base: b, Disp: q4Scales}) }, func(q reg.Register) {
		for i := range v.n {
			t.octet(Mem{Base: q, Disp: i * v.bytes}, s[i], func(p int, w reg.VecVirtual) { store(i, p, w) })
		}
		ADDQ(I32(8*128), dst)
	}, func(q, left reg.Register) {
		for i := range v.n {
			next := fmt.Sprintf("next%d", i)
			t.octet(Mem{Base: q, Disp: i * v.bytes}, s[i], func(p int, w reg.VecVirtual) {
				store(i, p, w)
				if p < 7 {
					CMPQ(left, U8(p+1))
					JEQ(LabelRef(next))
				}
			})
			Label(next)
		}
	})
	VZEROUPPER()
	RET()
}
