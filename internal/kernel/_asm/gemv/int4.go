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

// octet calls body with the weights of eight values of k, in order, in vectors i0 to
// i1-1 of the panel, whose codes are at codes. The vectors take turns, so that what
// depends on each other is apart.
func (t *int4) octet(codes Mem, s []reg.VecVirtual, i0, i1 int, body func(i, p int, w reg.VecVirtual)) {
	each := func(f func(i int) reg.VecVirtual) []reg.VecVirtual {
		x := make([]reg.VecVirtual, i1)
		for i := i0; i < i1; i++ {
			x[i] = f(i)
		}
		return x
	}
	weigh := func(p int, bits func(i int) reg.VecVirtual) {
		for i, w := range each(bits)[i0:] {
			VMULPS(s[i0+i], w, w)
			body(i0+i, p, w)
		}
	}
	x := each(func(i int) reg.VecVirtual { return t.load(codes.Offset(i * t.bytes)) })
	for half := range 2 {
		index := each(func(i int) reg.VecVirtual {
			y := x[i]
			if half == 1 {
				VPSRLW(U8(4), y, y)
			}
			return t.and(t.nibbles, y)
		})
		low := each(func(i int) reg.VecVirtual { return t.lookUp(t.low, index[i]) })
		high := each(func(i int) reg.VecVirtual { return t.lookUp(t.high, index[i]) })
		for quarter := range 2 {
			pair := each(func(i int) reg.VecVirtual {
				both := t.vector()
				if quarter == 0 {
					VPUNPCKLBW(high[i], low[i], both)
				} else {
					VPUNPCKHBW(high[i], low[i], both)
				}
				return both
			})
			p := 4*half + 2*quarter
			weigh(p, func(i int) reg.VecVirtual { return t.even(pair[i]) })
			weigh(p+1, func(i int) reg.VecVirtual { return t.and(t.upper, pair[i]) })
		}
	}
}

func (t *int4) load(codes Mem) reg.VecVirtual {
	x := t.vector()
	if t.bytes == 64 {
		VMOVDQU32(codes, x)
	} else {
		VMOVDQU(codes, x)
	}
	return x
}

func (t *int4) lookUp(table, index reg.VecVirtual) reg.VecVirtual {
	x := t.vector()
	VPSHUFB(index, table, x)
	return x
}

// together is how many vectors take turns: as many as there are registers for.
func (t *int4) together() int {
	if t.bytes == 64 {
		return 2
	}
	return 1
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

func (v isa) rowQ4(tables Mem) {
	name := "gemvQ4" + v.suffix
	TEXT(name, NOSPLIT, "func(k int, a *float32, b *byte, c *float32, add bool)")
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of an int4 panel.")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	acc := v.zeros()
	t := v.int4(tables)
	var s []reg.VecVirtual
	t.eachBlock(k, b, func() {
		PREFETCHT0(Mem{Base: b, Disp: q4Scales + ahead})
		s = t.scales(Mem{Base: b, Disp: q4Scales})
	}, func(q reg.Register) {
		x := v.eight(a)
		PREFETCHT0(Mem{Base: q, Disp: ahead})
		PREFETCHT0(Mem{Base: q, Disp: ahead + 64})
		for i := 0; i < v.n; i += t.together() {
			t.octet(Mem{Base: q}, s, i, i+t.together(), func(i, p int, w reg.VecVirtual) {
				VFMADD231PS(x(p), w, acc[i])
			})
		}
		ADDQ(U8(32), a)
	}, func(q, left reg.Register) {
		for i := range acc {
			next := fmt.Sprintf("next%d", i)
			t.octet(Mem{Base: q}, s, i, i+1, func(_, p int, w reg.VecVirtual) {
				x := v.vector()
				VBROADCASTSS(Mem{Base: a, Disp: 4 * p}, x)
				VFMADD231PS(x, w, acc[i])
				if p < 7 {
					CMPQ(left, U8(p+1))
					JEQ(LabelRef(next))
				}
			})
			Label(next)
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
			t.octet(Mem{Base: q}, s, i, i+1, store)
		}
		ADDQ(I32(8*128), dst)
	}, func(q, left reg.Register) {
		for i := range v.n {
			next := fmt.Sprintf("next%d", i)
			t.octet(Mem{Base: q}, s, i, i+1, func(i, p int, w reg.VecVirtual) {
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
