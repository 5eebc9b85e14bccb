package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// quantizeQ8 emits the rounding of blocks to int8, in the order of operations that
// quantizeBlock in package kernel has.
func quantizeQ8() {
	TEXT("quantizeQ8AVX512", NOSPLIT, "func(blocks int, q *int8, scales, w *float32) int")
	Pragma("noescape")
	Doc("quantizeQ8AVX512 rounds blocks of 32 elements to int8, until there is one that has no element of an ordinary magnitude, or one of another. It returns the number of those that are left.")
	blocks := Load(Param("blocks"), GP64())
	q := Load(Param("q"), GP64())
	scales := Load(Param("scales"), GP64())
	w := Load(Param("w"), GP64())
	magnitude, most := isa512.fill(1<<31-1), isa512.fill(math.Float32bits(127))
	Label("block")
	TESTQ(blocks, blocks)
	JZ(LabelRef("done"))
	x, y := ZMM(), ZMM()
	VPANDD(Mem{Base: w}, magnitude, x)
	VPANDD(Mem{Base: w, Disp: 64}, magnitude, y)
	VPMAXSD(x, y, y)
	largest := isa512.acrossMax(y)
	bits := GP32()
	VMOVD(largest, bits)
	SUBL(U32(math.Float32bits(0x1p-100)), bits)
	CMPL(bits, U32(math.Float32bits(0x1p120)-math.Float32bits(0x1p-100)))
	JA(LabelRef("done"))
	scale, wide := XMM(), ZMM()
	VDIVSS(most.AsX(), largest, scale)
	VMOVSS(scale, Mem{Base: scales})
	VCVTSS2SD(scale, scale, scale)
	VBROADCASTSD(scale, wide)
	for i := range 4 {
		d, n := ZMM(), YMM()
		VCVTPS2PD(Mem{Base: w, Disp: 32 * i}, d)
		VDIVPD(wide, d, d)
		VCVTPD2DQ(d, n)
		VPMOVDB(n, Mem{Base: q, Disp: 8 * i})
	}
	ADDQ(U8(32), q)
	ADDQ(U8(4), scales)
	SUBQ(I32(-128), w)
	DECQ(blocks)
	JMP(LabelRef("block"))
	Label("done")
	Store(blocks, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
