package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// scaleDropped is how many bits the fraction of a scale has less than that of a float32.
const scaleDropped = 13

// quantizeQ8 emits the rounding of blocks to int8, in the order of operations that
// quantizeBlock in package kernel has.
func (v isa) quantizeQ8() {
	name := "quantizeQ8" + v.suffix
	TEXT(name, NOSPLIT, "func(blocks int, q *int8, scales *uint16, w *float32) int")
	Pragma("noescape")
	Doc(name + " rounds blocks of 32 elements to int8, until there is one that has no element of an ordinary magnitude, or one of another. It returns the number of those that are left.")
	blocks := Load(Param("blocks"), GP64())
	q := Load(Param("q"), GP64())
	scales := Load(Param("scales"), GP64())
	w := Load(Param("w"), GP64())
	magnitude, most := v.fill(1<<31-1), v.fill(math.Float32bits(127))
	below, odd, base := v.fill(1<<(scaleDropped-1)-1), v.fill(1), v.fill((127-40)<<(23-scaleDropped))
	Label("block")
	TESTQ(blocks, blocks)
	JZ(LabelRef("done"))
	largest := v.acrossMax(v.largest(w, magnitude))
	bits := GP32()
	VMOVD(largest, bits)
	SUBL(U32(math.Float32bits(0x1p-32)), bits)
	CMPL(bits, U32(math.Float32bits(0x1p29)-math.Float32bits(0x1p-32)))
	JA(LabelRef("done"))
	scale, code := XMM(), XMM()
	VDIVSS(most.AsX(), largest, scale)
	VPSRLD(U8(scaleDropped), scale, code)
	VPAND(odd.AsX(), code, code)
	VPADDD(below.AsX(), code, code)
	VPADDD(code, scale, scale)
	VPSRLD(U8(scaleDropped), scale, scale)
	VPSUBD(base.AsX(), scale, code)
	VPEXTRW(U8(0), code, Mem{Base: scales})
	VPSLLD(U8(scaleDropped), scale, scale)
	VCVTSS2SD(scale, scale, scale)
	if v.bytes == 64 {
		roundQ8Wide(q, w, scale)
	} else {
		roundQ8(q, w, scale)
	}
	ADDQ(U8(32), q)
	ADDQ(U8(2), scales)
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
