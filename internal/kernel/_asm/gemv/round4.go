package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/int4"
)

// roundQ4 emits the rounding of eight blocks with given scales, one in each lane, in the
// order of operations that fit4.try in package kernel has.
func roundQ4() {
	tables := roundTables()
	TEXT("roundQ4AVX2", NOSPLIT, "func(w, inverse *float32, codes *byte, sums *float32)")
	Pragma("noescape")
	Doc("roundQ4AVX2 is roundQ4 of package kernel: elements i of eight blocks are the eight from w[8*i] on.")
	w := Load(Param("w"), GP64())
	codes := Load(Param("codes"), GP64())
	inverse := YMM()
	VMOVUPS(Mem{Base: Load(Param("inverse"), GP64())}, inverse)
	number := func(x float32) reg.VecVirtual { return isa256.fill(math.Float32bits(x)) }
	middle := number(256)
	load := func(at int) reg.VecVirtual {
		x := YMM()
		VMOVUPS(tables.Offset(at), x)
		return x
	}
	low, high := load(0), load(32)
	borders := []reg.VecVirtual{load(bordersAt + 32), load(bordersAt + 64), load(bordersAt + 96)}
	var sums [4]reg.VecVirtual // the errors, the largest, and what the best scale is made of
	for i := range sums {
		sums[i] = YMM()
		VXORPS(sums[i], sums[i], sums[i])
	}
	left := GP64()
	MOVQ(U64(32), left)
	Label("element")
	x, t, code := YMM(), YMM(), YMM()
	VMULPS(Mem{Base: w}, inverse, x)
	VMOVAPS(middle, t)
	VFMADD231PS(tables.Offset(twosAt), x, t)
	above := YMM()
	VCMPPS(U8(13), tables.Offset(bordersAt), t, above)
	VPSRLD(U8(31), above, code)
	for _, level := range borders {
		VPERMPS(level, code, above)
		VCMPPS(U8(13), above, t, above)
		VPADDD(code, code, code)
		VPSUBD(above, code, code)
	}
	upper, c, d := YMM(), YMM(), YMM()
	VPERMPS(low, code, c)
	VPERMPS(high, code, d)
	VPSLLD(U8(28), code, upper)
	VBLENDVPS(upper, d, c, c)
	VSUBPS(c, x, d)
	VMULPS(d, d, d)
	VADDPS(d, sums[0], sums[0])
	VMAXPS(d, sums[1], sums[1])
	VMULPS(x, c, x)
	VADDPS(x, sums[2], sums[2])
	VMULPS(c, c, c)
	VADDPS(c, sums[3], sums[3])
	half := XMM()
	VEXTRACTI128(U8(1), code, half)
	VPACKUSDW(half, code.AsX(), half)
	VPACKUSWB(half, half, half)
	VMOVQ(half, Mem{Base: codes})
	ADDQ(U8(32), w)
	ADDQ(U8(8), codes)
	DECQ(left)
	JNZ(LabelRef("element"))
	out := Load(Param("sums"), GP64())
	for i, s := range sums {
		VMOVUPS(s, Mem{Base: out, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

// Where the parts of the tables are, behind the values of the codes.
const (
	bordersAt = 64
	twosAt    = bordersAt + 4*32
)

// roundTables emits the values of the codes, and the borders between them, which is where
// 2x+256 is at the least for the upper one, in the order of a search that halves what is
// left: eight times the middle one, then in each lane the one that belongs to the bits of
// the code that are known.
func roundTables() Mem {
	m := GLOBL("roundTables", 8|16)
	number := func(at int, x float32) { DATA(at, U32(math.Float32bits(x))) }
	for i, c := range int4.Codes {
		number(4*i, float32(c))
	}
	borders := int4.Borders()
	for level := range 4 {
		for lane := range 8 {
			known := lane % (1 << level)
			number(bordersAt+32*level+4*lane, float32(borders[known<<(4-level)+1<<(3-level)-1]))
		}
	}
	for lane := range 8 {
		number(twosAt+4*lane, 2)
	}
	return m
}
