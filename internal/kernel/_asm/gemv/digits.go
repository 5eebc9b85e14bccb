package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The parts of a block of 32 elements that are split into digits. For AVX-512 there are
// three planes of 32 bytes, for the upper, the middle and the lower digits, and then what
// the sums of the products with each begin with. For AVX2 each four elements have four
// lower and four upper digits of 16 bits, the odd ones after the even ones.
const (
	splitBytes = 144
	splitPlane = 32
	splitStart = 3 * splitPlane
	splitQuad  = 16
	splitScale = 128
)

// fill returns a vector of equal lanes.
func (v isa) fill(bits uint32) reg.VecVirtual {
	r, x := GP32(), v.vector()
	MOVL(U32(bits), r)
	if v.bytes == 64 {
		VPBROADCASTD(r, x)
		return x
	}
	low := XMM()
	VMOVD(r, low)
	VPBROADCASTD(low, x)
	return x
}

// split emits the kernel that splits blocks of 32 elements, each as block in package
// kernel's split.go does.
func (v isa) split() {
	name := "split" + v.suffix
	TEXT(name, NOSPLIT, "func(blocks int, dst *byte, a *float32)")
	Pragma("noescape")
	Doc(name + " splits blocks of 32 elements into digits; blocks is not 0.")
	blocks := Load(Param("blocks"), GP64())
	dst := Load(Param("dst"), GP64())
	a := Load(Param("a"), GP64())
	magnitude, half := v.fill(1<<31-1), v.fill(1<<14)
	c := newScaling(v)
	var middle, ones reg.VecVirtual
	if v.bytes == 64 {
		middle, ones = v.fill(1<<7), v.fill(0x80808080)
	}
	Label("block")
	x := make([]reg.VecVirtual, 128/v.bytes)
	var largest reg.VecVirtual
	for i := range x {
		x[i] = v.vector()
		VMOVUPS(Mem{Base: a, Disp: i * v.bytes}, x[i])
		m := v.vector()
		if v.bytes == 64 {
			VPANDD(magnitude, x[i], m)
		} else {
			VPAND(magnitude, x[i], m)
		}
		if i == 0 {
			largest = m
		} else {
			VPMAXSD(m, largest, largest)
		}
	}
	scale, inverse := c.of(v.acrossMax(largest))
	VMOVD(scale, Mem{Base: dst, Disp: splitScale})
	times := v.vector()
	VPBROADCASTD(inverse, times)
	for _, x := range x {
		VMULPS(times, x, x)
		VCVTPS2DQ(x, x)
	}
	var high, mid, low []reg.VecVirtual
	for i, x := range x {
		h, l := v.vector(), v.vector()
		VPADDD(half, x, h)
		VPSRAD(U8(15), h, h)
		VPSLLD(U8(15), h, l)
		VPSUBD(l, x, l)
		if v.bytes == 64 {
			m := v.vector()
			VPADDD(middle, l, m)
			VPSRAD(U8(8), m, m)
			high, mid, low = append(high, h), append(mid, m), append(low, l)
		} else {
			VPACKSSDW(h, l, l)
			VPSHUFLW(U8(0xd8), l, l)
			VPSHUFHW(U8(0xd8), l, l)
			VMOVUPS(l, Mem{Base: dst, Disp: 2 * splitQuad * i})
		}
	}
	if v.bytes == 64 {
		planes(dst, ones, high, mid, low)
	}
	SUBQ(I32(-128), a)
	ADDQ(I32(splitBytes), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// acrossMax returns the largest of the lanes, as numbers with a sign, in all lanes.
func (v isa) acrossMax(x reg.VecVirtual) reg.VecVirtual {
	y, z := YMM(), XMM()
	if v.bytes == 64 {
		VEXTRACTI64X4(U8(1), x, y)
		VPMAXSD(x.AsY(), y, y)
	} else {
		y = x
	}
	VEXTRACTI128(U8(1), y, z)
	VPMAXSD(y.AsX(), z, z)
	for _, order := range []uint8{0x4e, 0xb1} {
		w := XMM()
		VPSHUFD(U8(order), z, w)
		VPMAXSD(w, z, z)
	}
	return z
}

// scaling is the constants that turn the bits of the largest magnitude of a block into the
// scale of its digits.
type scaling struct{ carry, least, up, down, finite, nan reg.VecVirtual }

func newScaling(v isa) *scaling {
	return &scaling{v.fill(0x10002), v.fill(22), v.fill(21), v.fill(275), v.fill(0x7f7fffff), v.fill(0x7fc00000)}
}

// of returns the scale, a power of two or NaN, and the inverse of the power.
func (c *scaling) of(largest reg.VecVirtual) (scale, inverse reg.VecVirtual) {
	e, bad := XMM(), XMM()
	scale, inverse = XMM(), XMM()
	VPADDD(c.carry.AsX(), largest, e)
	VPSRLD(U8(23), e, e)
	VPMAXSD(c.least.AsX(), e, e)
	VPSUBD(c.up.AsX(), e, scale)
	VPSLLD(U8(23), scale, scale)
	VPCMPGTD(c.finite.AsX(), largest, bad)
	VPAND(c.nan.AsX(), bad, bad)
	VPOR(bad, scale, scale)
	VPSUBD(e, c.down.AsX(), inverse)
	VPSLLD(U8(23), inverse, inverse)
	return scale, inverse
}

// planes stores the lower bytes of the digits of each kind, and what the sums of their
// products begin with: -128 times their sums, and upperBase.
func planes(dst reg.Register, ones reg.VecVirtual, digits ...[]reg.VecVirtual) {
	var sums []reg.VecVirtual
	for i, d := range digits {
		bytes, upper, sum := YMM(), XMM(), YMM()
		VPMOVDB(d[0], bytes.AsX())
		VPMOVDB(d[1], upper)
		VINSERTI32X4(U8(1), upper, bytes, bytes)
		VMOVUPS(bytes, Mem{Base: dst, Disp: i * splitPlane})
		VPXORD(sum, sum, sum)
		VPDPBUSD(bytes, ones.AsY(), sum)
		sums = append(sums, sum)
	}
	// Neighbours are added where those of all sums are in one vector.
	merge := func(low, high func(...Op), a, b reg.VecVirtual) reg.VecVirtual {
		x, y := YMM(), YMM()
		low(b, a, x)
		high(b, a, y)
		VPADDD(x, y, y)
		return y
	}
	two := merge(VPUNPCKLDQ, VPUNPCKHDQ, sums[0], sums[1])
	third := merge(VPUNPCKLDQ, VPUNPCKHDQ, sums[2], sums[2])
	x := merge(VPUNPCKLQDQ, VPUNPCKHQDQ, two, third)
	y, base, r := XMM(), XMM(), GP32()
	VEXTRACTI32X4(U8(1), x, y)
	VPADDD(x.AsX(), y, y)
	MOVL(U32(upperBase), r)
	VMOVD(r, base) // in the lane of the upper digits
	VPSUBD(y, base, y)
	VMOVUPS(y, Mem{Base: dst, Disp: splitStart})
}
