// Command attn generates the kernels of attention for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

type (
	isa = simd.ISA
	vec = simd.Vec
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *isa) {
		softmax(v)
		rotate(v, "rotateHalves", halves)
		rotate(v, "rotatePairs", pairs)
	})
	transpose()
	Generate()
}

func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + " " + doc)
}

const (
	lanes = 16 // of a running sum: one vector of AVX-512, two of AVX2

	// least is where the exponential ends: below it counts as 0. e^least is a normal
	// number, since others slow the products down that follow.
	least = -87

	notLess = 0x15 // predicate a >= b, or one is NaN
)

// vectors returns so many registers that lanes elements fill them.
func vectors(v *isa) []vec {
	r := make([]vec, lanes/v.Lanes())
	for i := range r {
		r[i] = v.New()
	}
	return r
}

// softmax emits the running softmax. For each row: the maximum; if it is a new one, what
// has been summed up is scaled down to it; the exponentials.
func softmax(v *isa) {
	function("onlineSoftmax"+v.Suffix, "func(s *float32, lds int, o *float32, ldo int, max, sum *float32, rows, n, cols int)",
		"is onlineSoftmaxGeneric; n and cols are multiples of 16, n and rows positive.")
	s := args.Load("s")
	lds := args.Load("lds")
	o := args.Load("o")
	ldo := args.Load("ldo")
	maxima := args.Load("max")
	sum := args.Load("sum")
	rows := args.Load("rows")
	n := args.Load("n")
	cols := args.Load("cols")
	for _, distance := range []reg.Register{lds, ldo, n, cols} {
		SHLQ(U8(2), distance) // in bytes
	}
	v.Preload(append(simd.ExpConsts(), least)...)

	Label("row")
	m, top, old := v.New(), XMM(), XMM()
	rowMax(v, s, n, top)
	VMOVSS(Mem{Base: maxima}, old)
	VMAXSS(top, old, top)
	VMOVSS(top, Mem{Base: maxima})
	VBROADCASTSS(top, m)
	acc := vectors(v)
	for i, a := range acc {
		VMOVUPS(Mem{Base: sum, Disp: i * v.Bytes}, a)
	}
	VUCOMISS(top, old)
	JP(LabelRef("rescale")) // NaN
	JEQ(LabelRef("exponentials"))

	Label("rescale")
	c := v.New()
	VBROADCASTSS(old, c)
	VSUBPS(m, c, c)
	c = exp(v, c)
	for _, a := range acc {
		VMULPS(c, a, a)
	}
	at := GP64()
	XORQ(at, at)
	CMPQ(at, cols)
	JGE(LabelRef("exponentials"))
	Label("column")
	for i := 0; i < lanes/v.Lanes(); i++ {
		x := v.New()
		p := Mem{Base: o, Index: at, Scale: 1, Disp: i * v.Bytes}
		VMULPS(p, c, x)
		VMOVUPS(x, p)
	}
	ADDQ(U8(4*lanes), at)
	CMPQ(at, cols)
	JLT(LabelRef("column"))

	Label("exponentials")
	XORQ(at, at)
	Label("exponential")
	for i, a := range acc {
		x := v.New()
		p := Mem{Base: s, Index: at, Scale: 1, Disp: i * v.Bytes}
		VMOVUPS(p, x)
		VSUBPS(m, x, x)
		x = exp(v, x)
		VADDPS(x, a, a)
		VMOVUPS(x, p)
	}
	ADDQ(U8(4*lanes), at)
	CMPQ(at, n)
	JLT(LabelRef("exponential"))
	for i, a := range acc {
		VMOVUPS(a, Mem{Base: sum, Disp: i * v.Bytes})
	}
	ADDQ(lds, s)
	ADDQ(ldo, o)
	ADDQ(U8(4), maxima)
	ADDQ(U8(4*lanes), sum)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// rowMax leaves the largest of the n bytes at s in all lanes of m.
func rowMax(v *isa, s, n reg.Register, m reg.VecVirtual) {
	acc := vectors(v)
	at := GP64()
	for i, a := range acc {
		VMOVUPS(Mem{Base: s, Disp: i * v.Bytes}, a)
	}
	MOVQ(U32(4*lanes), at)
	CMPQ(at, n)
	JGE(LabelRef("across"))
	Label("maximum")
	for i, a := range acc {
		VMAXPS(Mem{Base: s, Index: at, Scale: 1, Disp: i * v.Bytes}, a, a)
	}
	ADDQ(U8(4*lanes), at)
	CMPQ(at, n)
	JLT(LabelRef("maximum"))
	Label("across")
	y, x := YMM(), XMM()
	if v.Wide() {
		VEXTRACTF64X4(U8(1), acc[0], y)
		VMAXPS(acc[0].AsY(), y, y)
	} else {
		VMAXPS(acc[0], acc[1], y)
	}
	VEXTRACTF128(U8(1), y, x)
	VMAXPS(y.AsX(), x, m)
	VPERMILPS(U8(0x4e), m, x)
	VMAXPS(x, m, m)
	VPERMILPS(U8(0xb1), m, x)
	VMAXPS(x, m, m)
}

// exp returns e^x for x ≤ 0, and 0 below least.
func exp(v *isa, x vec) vec {
	c := simd.ExpConsts()
	poly, log2E, rounder, ln2High, ln2Low := c[:6], c[6], c[7], c[8], c[9]
	t := v.FMA(x, v.Const(log2E), v.Const(rounder))
	n := v.New()
	VSUBPS(v.Const(rounder), t, n)
	r := v.New()
	VMOVUPS(x, r)
	VFNMADD231PS(v.Const(ln2High), n, r)
	VFNMADD231PS(v.Const(ln2Low), n, r)
	p := v.Horner(r, poly...)
	if v.Wide() {
		k := K()
		VCMPPS(U8(notLess), v.Const(least), x, k)
		VSCALEFPS_Z(n, p, k, p)
		return p
	}
	// 2^n is a normal number: n is in the low bits of t.
	VPSLLD(U8(23), t, t)
	VPADDD(v.Const(1), t, t)
	VMULPS(t, p, p)
	VCMPPS(U8(notLess), v.Const(least), x, n)
	VANDPS(n, p, p)
	return p
}

// rotate emits a rotation of the first elements of vectors. body gets the place of a
// vector of cosines, counted in bytes, and a mask.
func rotate(v *isa, name string, body func(v *isa, at reg.Register, x, cos, sin, half reg.Register, tail reg.Register)) {
	function(name+v.Suffix, "func(x *float32, dim, vectors int, cos, sin *float32, n int)",
		"is "+name+"Generic with tables of n elements, for so many vectors of dim elements; all are positive.")
	x := args.Load("x")
	dim := args.Load("dim")
	count := args.Load("vectors")
	cos := args.Load("cos")
	sin := args.Load("sin")
	n := args.Load("n")
	SHLQ(U8(2), dim)
	half, whole, rest := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: x, Index: n, Scale: 4}, half)
	MOVQ(n, rest)
	ANDQ(U8(v.Lanes()-1), rest)
	MOVQ(n, whole)
	SUBQ(rest, whole)
	SHLQ(U8(2), whole)
	tail := v.TailMask(rest)
	Label("vector")
	at := GP64()
	XORQ(at, at)
	CMPQ(at, whole)
	JGE(LabelRef("tail"))
	Label("whole")
	body(v, at, x, cos, sin, half, nil)
	ADDQ(U8(v.Bytes), at)
	CMPQ(at, whole)
	JLT(LabelRef("whole"))
	Label("tail")
	SHLQ(U8(2), n)
	CMPQ(at, n)
	JEQ(LabelRef("next"))
	body(v, at, x, cos, sin, half, tail)
	Label("next")
	SHRQ(U8(2), n)
	ADDQ(dim, x)
	ADDQ(dim, half)
	DECQ(count)
	JNZ(LabelRef("vector"))
	VZEROUPPER()
	RET()
}

func load(v *isa, p, at, tail reg.Register) vec {
	r := v.New()
	m := Mem{Base: p, Index: at, Scale: 1}
	switch {
	case tail == nil:
		VMOVUPS(m, r)
	case v.Wide():
		VMOVUPS_Z(m, tail, r)
	default:
		VMASKMOVPS(m, tail, r)
	}
	return r
}

func store(v *isa, x vec, p, at, tail reg.Register) {
	m := Mem{Base: p, Index: at, Scale: 1}
	switch {
	case tail == nil:
		VMOVUPS(x, m)
	case v.Wide():
		VMOVUPS(x, tail, m)
	default:
		VMASKMOVPS(x, tail, m)
	}
}

// halves turns elements of the first half with those of the second.
func halves(v *isa, at reg.Register, x, cos, sin, half reg.Register, tail reg.Register) {
	c, s := load(v, cos, at, tail), load(v, sin, at, tail)
	a, b := load(v, x, at, tail), load(v, half, at, tail)
	bs, as := v.New(), v.New()
	VMULPS(s, b, bs)
	VMULPS(s, a, as)
	VFMSUB213PS(bs, c, a) // a = a·c - bs
	VFMADD213PS(as, c, b) // b = b·c + as
	store(v, a, x, at, tail)
	store(v, b, half, at, tail)
}

// pairs turns neighbours.
func pairs(v *isa, at reg.Register, x, cos, sin, _ reg.Register, tail reg.Register) {
	c, s := load(v, cos, at, tail), load(v, sin, at, tail)
	a := load(v, x, at, tail)
	swapped := v.New()
	VPERMILPS(U8(0xb1), a, swapped)
	VMULPS(s, swapped, swapped)
	VFMADD213PS(swapped, c, a) // a = a·c + swapped
	store(v, a, x, at, tail)
}

// transpose emits the transposition of eight rows, eight columns at a time. Both tiers
// use it: with 16 of each it would take as many shuffles for an element.
func transpose() {
	const panel = 128 // bytes between columns in the panel
	function("packKeysAVX2", "func(panel, src *float32, lds, blocks int)",
		"computes panel[p*32+i] = src[i*lds+p] for i < 8 and p < 8·blocks.")
	dst := args.Load("panel")
	src := args.Load("src")
	lds := args.Load("lds")
	blocks := args.Load("blocks")
	SHLQ(U8(2), lds)
	lds3, src4 := GP64(), GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	LEAQ(Mem{Base: src, Index: lds, Scale: 4}, src4)
	row := func(base reg.Register, i, disp int) Mem {
		m := Mem{Base: base, Disp: disp}
		switch i {
		case 1:
			m.Index, m.Scale = lds, 1
		case 2:
			m.Index, m.Scale = lds, 2
		case 3:
			m.Index, m.Scale = lds3, 1
		}
		return m
	}
	Label("block")
	for part := 0; part < 2; part++ {
		// Four columns: r[i] holds those of rows i and i+4.
		r := make([]reg.VecVirtual, 4)
		for i := range r {
			r[i] = YMM()
			VMOVUPS(row(src, i, 16*part), r[i].AsX())
			VINSERTF128(U8(1), row(src4, i, 16*part), r[i], r[i])
		}
		lo01, hi01, lo23, hi23 := YMM(), YMM(), YMM(), YMM()
		VUNPCKLPS(r[1], r[0], lo01)
		VUNPCKHPS(r[1], r[0], hi01)
		VUNPCKLPS(r[3], r[2], lo23)
		VUNPCKHPS(r[3], r[2], hi23)
		for i, p := range [][2]reg.VecVirtual{{lo01, lo23}, {hi01, hi23}} {
			low, high := YMM(), YMM()
			VUNPCKLPD(p[1], p[0], low)
			VUNPCKHPD(p[1], p[0], high)
			VMOVUPS(low, Mem{Base: dst, Disp: (4*part + 2*i) * panel})
			VMOVUPS(high, Mem{Base: dst, Disp: (4*part + 2*i + 1) * panel})
		}
	}
	ADDQ(U8(32), src)
	ADDQ(U8(32), src4)
	ADDQ(I32(8*panel), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
