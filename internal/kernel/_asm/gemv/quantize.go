package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantizeQ8 emits the rounding of blocks to int8, in the order of operations that
// quantizeBlock in package kernel has.
func (v isa) quantizeQ8() {
	name := "quantizeQ8" + v.suffix
	TEXT(name, NOSPLIT, "func(blocks int, q *int8, scales, w *float32) int")
	Pragma("noescape")
	Doc(name + " rounds blocks of 32 elements to int8, until there is one that has no element of an ordinary magnitude, or one of another. It returns the number of those that are left.")
	blocks := Load(Param("blocks"), GP64())
	q := Load(Param("q"), GP64())
	scales := Load(Param("scales"), GP64())
	w := Load(Param("w"), GP64())
	magnitude, most := v.fill(1<<31-1), v.fill(math.Float32bits(127))
	Label("block")
	TESTQ(blocks, blocks)
	JZ(LabelRef("done"))
	largest := v.acrossMax(v.largest(w, magnitude))
	bits := GP32()
	VMOVD(largest, bits)
	SUBL(U32(math.Float32bits(0x1p-100)), bits)
	CMPL(bits, U32(math.Float32bits(0x1p120)-math.Float32bits(0x1p-100)))
	JA(LabelRef("done"))
	scale := XMM()
	VDIVSS(most.AsX(), largest, scale)
	VMOVSS(scale, Mem{Base: scales})
	VCVTSS2SD(scale, scale, scale)
	if v.bytes == 64 {
		roundQ8Wide(q, w, scale)
	} else {
		roundQ8(q, w, scale)
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

// largest returns a vector with the largest magnitude of a block of w among its lanes.
func (v isa) largest(w reg.Register, magnitude reg.VecVirtual) (most reg.VecVirtual) {
	for at := 0; at < 128; at += v.bytes {
		x := v.vector()
		if v.bytes == 64 {
			VPANDD(Mem{Base: w, Disp: at}, magnitude, x)
		} else {
			VPAND(Mem{Base: w, Disp: at}, magnitude, x)
		}
		if at > 0 {
			VPMAXSD(x, most, x)
		}
		most = x
	}
	return most
}

// roundQ8Wide rounds the quotients of the elements of a block and its scale.
func roundQ8Wide(q, w reg.Register, scale reg.VecVirtual) {
	wide := ZMM()
	VBROADCASTSD(scale, wide)
	for i := range 4 {
		d, n := ZMM(), YMM()
		VCVTPS2PD(Mem{Base: w, Disp: 32 * i}, d)
		VDIVPD(wide, d, d)
		VCVTPD2DQ(d, n)
		VPMOVDB(n, Mem{Base: q, Disp: 8 * i})
	}
}

// roundQ8 does so in vectors of half the length.
func roundQ8(q, w reg.Register, scale reg.VecVirtual) {
	wide := YMM()
	VBROADCASTSD(scale, wide)
	for i := range 2 {
		var n [4]reg.VecVirtual
		for j := range n {
			d := YMM()
			n[j] = XMM()
			VCVTPS2PD(Mem{Base: w, Disp: 64*i + 16*j}, d)
			VDIVPD(wide, d, d)
			VCVTPD2DQY(d, n[j])
		}
		VPACKSSDW(n[1], n[0], n[0])
		VPACKSSDW(n[3], n[2], n[2])
		VPACKSSWB(n[2], n[0], n[0])
		VMOVUPS(n[0], Mem{Base: q, Disp: 16 * i})
	}
}
