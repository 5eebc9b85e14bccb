// Command gemv generates the kernels for weights in bfloat16 and int8 for amd64: the
// product of one row, and the conversion of a panel to float32.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ahead is how far the weights are fetched ahead of their use.
const ahead = 8192

// An isa is a width of vectors. n vectors make the 32 columns of a panel.
type isa struct {
	suffix string
	bytes  int
	n      int
	vector func() reg.VecVirtual
}

func main() {
	ConstraintExpr("!purego")
	tables := codeTables()
	for _, v := range []isa{
		{"AVX512", 64, 2, func() reg.VecVirtual { return ZMM() }},
		{"AVX2", 32, 4, func() reg.VecVirtual { return YMM() }},
	} {
		for panels := 1; panels <= v.panels(); panels++ {
			v.rowBF16(panels)
			v.rowQ8(panels)
			v.rowQ4(tables, panels)
		}
		v.panelBF16()
		v.panelQ8()
		v.panelQ4(tables)
	}
	Generate()
}

// panels is the number of panels that one call can multiply by. Two in turn are two
// streams of memory, and chains of multiply-adds twice as far from each other.
func (v isa) panels() int {
	if v.bytes == 64 {
		return 2
	}
	return 1
}

func rowName(format string, v isa, panels int) string {
	if panels > 1 {
		return fmt.Sprintf("gemv%sx%d%s", format, panels, v.suffix)
	}
	return "gemv" + format + v.suffix
}

func rowSignature(pointer string, panels int) string {
	if panels > 1 {
		return "func(k int, a *float32, b " + pointer + ", stride int, c *float32, add bool)"
	}
	return "func(k int, a *float32, b " + pointer + ", c *float32, add bool)"
}

func panelsOf(format string, panels int) string {
	if panels > 1 {
		return fmt.Sprintf("each of %d %s panels, stride bytes apart", panels, format)
	}
	return "a panel in " + format
}

// weights are panels, the second of them stride bytes after the first.
type weights struct{ base, stride reg.Register }

func (v isa) weights(panels int) weights {
	w := weights{base: Load(Param("b"), GP64())}
	if panels > 1 {
		w.stride = Load(Param("stride"), GP64())
	}
	return w
}

// at returns what is disp after base, in panel j.
func (w weights) at(base reg.Register, j, disp int) Mem {
	if j == 0 {
		return Mem{Base: base, Disp: disp}
	}
	return Mem{Base: base, Index: w.stride, Scale: 1, Disp: disp}
}

func (v isa) zeros(panels int) []reg.VecVirtual {
	acc := make([]reg.VecVirtual, panels*v.n)
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

func (v isa) rowBF16(panels int) {
	name := rowName("BF16", v, panels)
	TEXT(name, NOSPLIT, rowSignature("*uint16", panels))
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of " + panelsOf("bfloat16", panels) + ".")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := v.weights(panels)
	acc := v.zeros(panels)
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
		at := b.at(b.base, i/v.n, i%v.n*v.bytes)
		VMOVUPS(at, w)
		if at.Disp%64 == 0 {
			PREFETCHT0(at.Offset(ahead))
		}
		VFMADD231PS(x, v.even(w), acc[i])
		VFMADD231PS(y, v.odd(w, mask), acc[i])
	}
	ADDQ(U8(8), a)
	SUBQ(I32(-128), b.base)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	Label("last")
	TESTQ(U32(1), k)
	JZ(LabelRef("done"))
	VBROADCASTSS(Mem{Base: a}, x)
	for i := range acc {
		w := v.vector()
		VMOVUPS(b.at(b.base, i/v.n, i%v.n*v.bytes), w)
		VFMADD231PS(x, v.even(w), acc[i])
	}
	Label("done")
	v.finish(acc)
}

// The blocks of an int8 panel: 32 rows of 32 numbers, then the scales.
const (
	q8Scales = 32 * 32
	q8Block  = q8Scales + 32*4
)

// scaled loads the numbers of one k, at b, and multiplies them by the scales.
func (v isa) scaled(b Mem, i int, scale reg.VecVirtual) reg.VecVirtual {
	w := v.vector()
	b.Disp += i * v.bytes / 4
	VPMOVSXBD(b, w)
	VCVTDQ2PS(w, w)
	VMULPS(scale, w, w)
	return w
}

func (v isa) scales(at Mem) []reg.VecVirtual {
	s := make([]reg.VecVirtual, v.n)
	for i := range s {
		s[i] = v.vector()
		VMOVUPS(at.Offset(i*v.bytes), s[i])
	}
	return s
}

// blocks emits a loop over the blocks of k, with the number of ks of each in the
// register that body gets.
func blocks(k reg.Register, body func(count reg.Register)) {
	TESTQ(k, k)
	JZ(LabelRef("done"))
	Label("block")
	count := GP64()
	MOVQ(U64(32), count)
	CMPQ(k, count)
	CMOVQLT(k, count)
	SUBQ(count, k)
	body(count)
	TESTQ(k, k)
	JNZ(LabelRef("block"))
	Label("done")
}

func (v isa) rowQ8(panels int) {
	name := rowName("Q8", v, panels)
	TEXT(name, NOSPLIT, rowSignature("*byte", panels))
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of " + panelsOf("int8", panels) + ".")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := v.weights(panels)
	acc := v.zeros(panels)
	blocks(k, func(count reg.Register) {
		var s []reg.VecVirtual
		for j := range panels {
			PREFETCHT0(b.at(b.base, j, q8Scales+ahead))
			PREFETCHT0(b.at(b.base, j, q8Scales+64+ahead))
			s = append(s, v.scales(b.at(b.base, j, q8Scales))...)
		}
		q, pairs := GP64(), GP64()
		MOVQ(b.base, q)
		row := func(disp int) {
			x := v.vector()
			VBROADCASTSS(Mem{Base: a, Disp: disp / 8}, x)
			for i := range acc {
				VFMADD231PS(x, v.scaled(b.at(q, i/v.n, disp), i%v.n, s[i]), acc[i])
			}
		}
		MOVQ(count, pairs)
		SHRQ(U8(1), pairs)
		JZ(LabelRef("last"))
		Label("pair")
		for j := range panels {
			PREFETCHT0(b.at(q, j, ahead))
		}
		row(0)
		row(32)
		ADDQ(U8(8), a)
		ADDQ(U8(64), q)
		DECQ(pairs)
		JNZ(LabelRef("pair"))
		Label("last")
		TESTQ(U32(1), count)
		JZ(LabelRef("whole"))
		row(0)
		Label("whole")
		ADDQ(I32(q8Block), b.base)
	})
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

func (v isa) panelQ8() {
	name := "widenQ8" + v.suffix
	TEXT(name, NOSPLIT, "func(k int, dst *float32, b *byte)")
	Pragma("noescape")
	Doc(name + " converts an int8 panel to a float32 panel.")
	k := Load(Param("k"), GP64())
	dst := Load(Param("dst"), GP64())
	b := Load(Param("b"), GP64())
	blocks(k, func(count reg.Register) {
		s := v.scales(Mem{Base: b, Disp: q8Scales})
		q := GP64()
		MOVQ(b, q)
		Label("row")
		for i := range s {
			VMOVUPS(v.scaled(Mem{Base: q}, i, s[i]), Mem{Base: dst, Disp: i * v.bytes})
		}
		ADDQ(U8(32), q)
		SUBQ(I32(-128), dst)
		DECQ(count)
		JNZ(LabelRef("row"))
		ADDQ(I32(q8Block), b)
	})
	VZEROUPPER()
	RET()
}
