// Command gemv generates the kernels for weights in bfloat16, int8 and int4 for amd64. In
// bfloat16 these are the product of one row, and the conversion of a panel to float32. For
// the others rows are split into digits, and these multiplied as integers.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ahead is how far the weights are fetched ahead of their use.
const ahead = 4096

// An isa is a width of vectors. n vectors make the 32 columns of a panel.
type isa struct {
	suffix string
	bytes  int
	n      int
	vector func() reg.VecVirtual
}

var (
	isa512 = isa{"AVX512", 64, 2, func() reg.VecVirtual { return ZMM() }}
	isa256 = isa{"AVX2", 32, 4, func() reg.VecVirtual { return YMM() }}
)

func main() {
	ConstraintExpr("!purego")
	codes := codeTables()
	for _, v := range []isa{isa512, isa256} {
		v.rowBF16()
		v.panelBF16()
		for _, full := range []bool{false, true} {
			c := &compact{isa: v, full: full}
			c.row()
			c.widen()
		}
		v.split()
		v.expandQ4(codes)
	}
	for _, full := range []bool{false, true} {
		p := &packer{full: full}
		p.spans()
		p.pack()
	}
	int8Tiles512()
	int4Tile512(codes)
	int8Tiles256()
	int4Tile256(codes)
	fit()
	roundQ4()
	isa512.quantizeQ8()
	isa256.quantizeQ8()
	Generate()
}

func (v isa) zeros() []reg.VecVirtual {
	acc := make([]reg.VecVirtual, v.n)
	for i := range acc {
		acc[i] = v.vector()
		if v.bytes == 64 {
			VPXORD(acc[i], acc[i], acc[i])
		} else {
			VXORPS(acc[i], acc[i], acc[i])
		}
	}
	return acc
}

// finish adds the old content of c, if asked to, and stores.
func (v isa) finish(acc []reg.VecVirtual) {
	c := Load(Param("c"), GP64())
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JZ(LabelRef("store"))
	for i, a := range acc {
		VADDPS(Mem{Base: c, Disp: i * v.bytes}, a, a)
	}
	Label("store")
	for i, a := range acc {
		VMOVUPS(a, Mem{Base: c, Disp: i * v.bytes})
	}
	VZEROUPPER()
	RET()
}

// upperMask returns a vector whose lanes select the upper half of a float32.
func (v isa) upperMask() reg.VecVirtual {
	r, m := GP32(), v.vector()
	MOVL(U32(0xffff0000), r)
	if v.bytes == 64 {
		VPBROADCASTD(r, m)
		return m
	}
	x := XMM()
	VMOVD(r, x)
	VPBROADCASTD(x, m)
	return m
}

// even and odd widen the numbers of even and odd k, which share 32 bits.
func (v isa) even(pair reg.VecVirtual) reg.VecVirtual {
	w := v.vector()
	VPSLLD(U8(16), pair, w)
	return w
}

func (v isa) odd(pair, mask reg.VecVirtual) reg.VecVirtual {
	w := v.vector()
	if v.bytes == 64 {
		VPANDD(pair, mask, w)
	} else {
		VPAND(pair, mask, w)
	}
	return w
}

func (v isa) rowBF16() {
	name := "gemvBF16" + v.suffix
	TEXT(name, NOSPLIT, "func(k int, a *float32, b *uint16, c *float32, add bool)")
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of a bfloat16 panel.")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	acc := v.zeros()
	mask := v.upperMask()
	pairs := GP64()
	MOVQ(k, pairs)
	SHRQ(U8(1), pairs)
	JZ(LabelRef("last"))
	Label("pair")
	x, y := v.vector(), v.vector()
	VBROADCASTSS(Mem{Base: a}, x)
	VBROADCASTSS(Mem{Base: a, Disp: 4}, y)
	for i := range acc {
		w := v.vector()
		at := Mem{Base: b, Disp: i * v.bytes}
		VMOVUPS(at, w)
		if at.Disp%64 == 0 {
			PREFETCHT0(at.Offset(ahead))
		}
		VFMADD231PS(x, v.even(w), acc[i])
		VFMADD231PS(y, v.odd(w, mask), acc[i])
	}
	ADDQ(U8(8), a)
	SUBQ(I32(-128), b)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	Label("last")
	TESTQ(U32(1), k)
	JZ(LabelRef("done"))
	VBROADCASTSS(Mem{Base: a}, x)
	for i := range acc {
		w := v.vector()
		VMOVUPS(Mem{Base: b, Disp: i * v.bytes}, w)
		VFMADD231PS(x, v.even(w), acc[i])
	}
	Label("done")
	v.finish(acc)
}

func (v isa) panelBF16() {
	name := "widenBF16" + v.suffix
	TEXT(name, NOSPLIT, "func(k int, dst *float32, b *uint16)")
	Pragma("noescape")
	Doc(name + " converts a bfloat16 panel to a float32 panel.")
	k := Load(Param("k"), GP64())
	dst := Load(Param("dst"), GP64())
	b := Load(Param("b"), GP64())
	mask := v.upperMask()
	pairs := GP64()
	MOVQ(k, pairs)
	SHRQ(U8(1), pairs)
	JZ(LabelRef("last"))
	Label("pair")
	for i := 0; i < v.n; i++ {
		w := v.vector()
		VMOVUPS(Mem{Base: b, Disp: i * v.bytes}, w)
		VMOVUPS(v.even(w), Mem{Base: dst, Disp: i * v.bytes})
		VMOVUPS(v.odd(w, mask), Mem{Base: dst, Disp: 128 + i*v.bytes})
	}
	SUBQ(I32(-128), b)
	ADDQ(I32(256), dst)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	Label("last")
	TESTQ(U32(1), k)
	JZ(LabelRef("done"))
	for i := 0; i < v.n; i++ {
		w := v.vector()
		VMOVUPS(Mem{Base: b, Disp: i * v.bytes}, w)
		VMOVUPS(v.even(w), Mem{Base: dst, Disp: i * v.bytes})
	}
	Label("done")
	VZEROUPPER()
	RET()
}
