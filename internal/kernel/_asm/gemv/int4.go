package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/int4"
)

// The blocks of an int4 panel: 4 octets of k by 32 columns, then the scales.
const (
	q4Octet  = 4 * 32
	q4Scales = 4 * q4Octet
	q4Block  = q4Scales + 32*2
)

// Where the constants are: the numbers of the codes, the same plus 128, a mask for the
// lower halves of bytes, and power.
const (
	signed   = 0
	unsigned = 32
	mask     = 64
	fraction = 96
)

// codeTables emits the constants.
func codeTables() Mem {
	m := GLOBL("gemvCodes", 8|16) // RODATA, NOPTR
	for i := range 32 {
		DATA(signed+i, U8(uint8(int4.Codes[i%16])))
	}
	for i := range 32 {
		DATA(unsigned+i, U8(uint8(int4.Codes[i%16]+128)))
	}
	for i := range 32 {
		DATA(mask+i, U8(0x0f))
	}
	DATA(fraction, U32(0x47000000))
	power = m.Offset(fraction)
	return m
}

// expandQ4 emits the conversion of an int4 panel to an int8 panel, but for the scales,
// which are copied.
func (v isa) expandQ4(tables Mem) {
	name := "expandQ4" + v.suffix
	TEXT(name, NOSPLIT, "func(blocks int, dst, b *byte)")
	Pragma("noescape")
	Doc(name + " converts blocks of an int4 panel to those of an int8 panel, with the same scales; blocks is not 0.")
	blocks := Load(Param("blocks"), GP64())
	dst := Load(Param("dst"), GP64())
	b := Load(Param("b"), GP64())
	table, nibbles := v.vector(), v.vector()
	if v.bytes == 64 {
		VBROADCASTI32X4(tables.Offset(signed), table)
		VBROADCASTI32X4(tables.Offset(mask), nibbles)
	} else {
		VMOVDQU(tables.Offset(signed), table)
		VMOVDQU(tables.Offset(mask), nibbles)
	}
	Label("block")
	for at := 0; at < q4Scales; at += v.bytes {
		PREFETCHT0(Mem{Base: b, Disp: at + ahead})
		to := at/q4Octet*2*quad + at%q4Octet
		low, high := v.vector(), v.vector()
		if v.bytes == 64 {
			VMOVDQU32(Mem{Base: b, Disp: at}, low)
			VPSRLW(U8(4), low, high)
			VPANDD(nibbles, low, low)
			VPANDD(nibbles, high, high)
		} else {
			VMOVDQU(Mem{Base: b, Disp: at}, low)
			VPSRLW(U8(4), low, high)
			VPAND(nibbles, low, low)
			VPAND(nibbles, high, high)
		}
		VPSHUFB(low, table, low)
		VPSHUFB(high, table, high)
		VMOVUPS(low, Mem{Base: dst, Disp: to})
		VMOVUPS(high, Mem{Base: dst, Disp: to + quad})
	}
	for at := 0; at < q4Block-q4Scales; at += v.bytes {
		scales := v.vector()
		VMOVUPS(Mem{Base: b, Disp: q4Scales + at}, scales)
		VMOVUPS(scales, Mem{Base: dst, Disp: q8Scales + at})
	}
	ADDQ(I32(q4Block), b)
	ADDQ(I32(q8Block), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
