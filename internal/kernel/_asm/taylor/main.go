// Command taylor generates the kernels of Taylor linear attention for amd64.
package main

import (
	"math"

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
		rows(v)
		columns(v)
		weights(v)
		dots(v)
		scale(v)
		grad(v)
	})
	Generate()
}

func function(v *isa, name, signature, doc string) {
	name += v.Suffix
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + " " + doc)
}

const (
	group      = 64  // bytes of 16 elements: one vector of AVX-512, two of AVX2
	panelBytes = 128 // of the 32 elements of a row of a panel
)

var sqrtHalf = float32(math.Sqrt(0.5))

// each runs f for the vectors of so many bytes, with the place of each.
func each(v *isa, bytes int, f func(i, at int)) {
	for i := 0; i < bytes/v.Bytes; i++ {
		f(i, i*v.Bytes)
	}
}

// vectors returns registers for 16 elements.
func vectors(v *isa) []vec {
	r := make([]vec, group/v.Bytes)
	for i := range r {
		r[i] = v.New()
	}
	return r
}

func zeros(v *isa) []vec {
	r := make([]vec, group/v.Bytes)
	for i := range r {
		r[i] = v.Zero()
	}
	return r
}

// blocks emits body for the first of n bytes and on, 16 elements at a time. There is
// at least one.
func blocks(label string, n reg.Register, body func(at reg.Register)) {
	at := GP64()
	XORQ(at, at)
	Label(label)
	body(at)
	ADDQ(U8(group), at)
	CMPQ(at, n)
	JLT(LabelRef(label))
}

func rows(v *isa) {
	function(v, "taylorRows", "func(dst *float32, ldd int, src *float32, lds, rows, f int)", "is taylorRowsGeneric, but that it writes whole vectors.")
	dst, ldd := args.Load("dst"), args.LoadBytes("ldd")
	src, lds := args.Load("src"), args.LoadBytes("lds")
	n, f := args.Load("rows"), args.LoadBytes("f")
	v.Preload(sqrtHalf)

	Label("row")
	out := GP64()
	MOVL(U32(math.Float32bits(1)), Mem{Base: dst})
	LEAQ(Mem{Base: dst, Disp: 4}, out)
	blocks("linear", f, func(at reg.Register) {
		each(v, group, func(_, disp int) {
			x := v.New()
			VMOVUPS(Mem{Base: src, Index: at, Scale: 1, Disp: disp}, x)
			VMOVUPS(x, Mem{Base: out, Index: at, Scale: 1, Disp: disp})
		})
	})
	ADDQ(f, out)
	blocks("square", f, func(at reg.Register) {
		each(v, group, func(_, disp int) {
			x, y := v.New(), v.New()
			VMOVUPS(Mem{Base: src, Index: at, Scale: 1, Disp: disp}, x)
			VMULPS(v.Const(sqrtHalf), x, y)
			VMULPS(x, y, y)
			VMOVUPS(y, Mem{Base: out, Index: at, Scale: 1, Disp: disp})
		})
	})
	ADDQ(f, out)
	i := GP64()
	MOVQ(U32(4), i)
	CMPQ(i, f)
	JGE(LabelRef("next"))
	Label("pairs")
	factor := v.New()
	VBROADCASTSS(Mem{Base: src, Index: i, Scale: 1}, factor)
	blocks("pair", i, func(at reg.Register) {
		each(v, group, func(_, disp int) {
			x := v.New()
			VMULPS(Mem{Base: src, Index: at, Scale: 1, Disp: disp}, factor, x)
			VMOVUPS(x, Mem{Base: out, Index: at, Scale: 1, Disp: disp})
		})
	})
	ADDQ(i, out)
	ADDQ(U8(4), i)
	CMPQ(i, f)
	JLT(LabelRef("pairs"))

	Label("next")
	ADDQ(ldd, dst)
	ADDQ(lds, src)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func columns(v *isa) {
	function(v, "taylorColumns", "func(dst *float32, ldd int, panel *float32, f int)", "is taylorColumnsGeneric.")
	dst, ldd := args.Load("dst"), args.LoadBytes("ldd")
	panel, f := args.Load("panel"), args.Load("f")
	v.Preload(1, sqrtHalf)
	one := v.Reg(1)
	each(v, panelBytes, func(_, at int) { VMOVUPS(one, Mem{Base: dst, Disp: at}) })
	ADDQ(ldd, dst)

	// rowwise emits body for the vectors of all rows of the panel.
	rowwise := func(label string, body func(x vec) vec) {
		p, n := GP64(), GP64()
		MOVQ(panel, p)
		MOVQ(f, n)
		Label(label)
		each(v, panelBytes, func(_, at int) {
			x := v.New()
			VMOVUPS(Mem{Base: p, Disp: at}, x)
			VMOVUPS(body(x), Mem{Base: dst, Disp: at})
		})
		ADDQ(U8(panelBytes), p)
		ADDQ(ldd, dst)
		DECQ(n)
		JNZ(LabelRef(label))
	}
	rowwise("linear", func(x vec) vec { return x })
	rowwise("square", func(x vec) vec {
		y := v.New()
		VMULPS(v.Const(sqrtHalf), x, y)
		VMULPS(x, y, y)
		return y
	})

	i, a := GP64(), GP64()
	MOVQ(panel, a)
	MOVQ(U32(1), i)
	JMP(LabelRef("test"))
	Label("row")
	ADDQ(U8(panelBytes), a)
	var factor []vec
	each(v, panelBytes, func(_, at int) {
		x := v.New()
		VMOVUPS(Mem{Base: a, Disp: at}, x)
		factor = append(factor, x)
	})
	b, n := GP64(), GP64()
	MOVQ(panel, b)
	MOVQ(i, n)
	Label("pair")
	each(v, panelBytes, func(k, at int) {
		x := v.New()
		VMULPS(Mem{Base: b, Disp: at}, factor[k], x)
		VMOVUPS(x, Mem{Base: dst, Disp: at})
	})
	ADDQ(U8(panelBytes), b)
	ADDQ(ldd, dst)
	DECQ(n)
	JNZ(LabelRef("pair"))
	INCQ(i)
	Label("test")
	CMPQ(i, f)
	JLT(LabelRef("row"))
	VZEROUPPER()
	RET()
}

var haveMasks bool

// masks is 16 ones and 16 zeros: a window of 16 that begins 16-n before the zeros has
// n ones in front.
func masks() reg.Register {
	const name = "taylorMasks"
	p := GP64()
	if !haveMasks {
		haveMasks = true
		GLOBL(name, 8|16) // RODATA, NOPTR
		for i := 0; i < 32; i++ {
			bits := uint32(0)
			if i < 16 {
				bits = math.MaxUint32
			}
			DATA(4*i, U32(bits))
		}
	}
	LEAQ(NewDataAddr(Symbol{Name: name, Static: true}, 0), p)
	return p
}

// firstLanes returns masks of the first n of 16 lanes.
func firstLanes(v *isa, table, n reg.Register) []vec {
	at := GP64()
	MOVQ(n, at)
	NEGQ(at)
	m := vectors(v)
	each(v, group, func(i, disp int) { VMOVUPS(Mem{Base: table, Index: at, Scale: 4, Disp: group + disp}, m[i]) })
	return m
}

// addUp leaves the sum of 16 lanes in the first one, adding halves to each other.
func addUp(v *isa, acc []vec) reg.VecVirtual {
	y, x := YMM(), XMM()
	if v.Wide() {
		VEXTRACTF64X4(U8(1), acc[0], y)
		VADDPS(acc[0].AsY(), y, y)
	} else {
		VADDPS(acc[0], acc[1], y)
	}
	VEXTRACTF128(U8(1), y, x)
	VADDPS(y.AsX(), x, x)
	t := XMM()
	VPERMILPS(U8(0x4e), x, t)
	VADDPS(t, x, x)
	VPERMILPS(U8(0xb1), x, t)
	VADDPS(t, x, x)
	return x
}

func weights(v *isa) {
	function(v, "taylorWeights", "func(s *float32, lds int, sum *float32, rows, n, first int)", "is taylorWeightsGeneric.")
	s, lds, sum := args.Load("s"), args.LoadBytes("lds"), args.Load("sum")
	count, n, visible := args.Load("rows"), args.LoadBytes("n"), args.Load("first")
	v.Preload(0.5, 1)
	table := masks()

	// weight computes the weights of a vector, under a mask if there is one.
	weight := func(at reg.Register, i, disp int, mask []vec, acc []vec) {
		x, w := v.New(), v.New()
		p := Mem{Base: s, Index: at, Scale: 1, Disp: disp}
		VMOVUPS(p, x)
		VMOVUPS(v.Const(0.5), w)
		VFMADD213PS(v.Const(1), x, w) // w = x·w + 1
		VFMADD213PS(v.Const(1), x, w)
		if mask != nil {
			w = v.And(mask[i], w)
		}
		VADDPS(w, acc[i], acc[i])
		VMOVUPS(w, p)
	}

	Label("row")
	INCQ(visible)
	whole, rest, at := GP64(), GP64(), GP64()
	MOVQ(visible, whole)
	SHLQ(U8(2), whole)
	CMPQ(whole, n)
	CMOVQGT(n, whole)
	MOVQ(whole, rest)
	SHRQ(U8(2), rest)
	ANDQ(U8(15), rest)
	ANDQ(I8(-group), whole)
	acc := zeros(v)
	XORQ(at, at)
	CMPQ(at, whole)
	JGE(LabelRef("rest"))
	Label("whole")
	each(v, group, func(i, disp int) { weight(at, i, disp, nil, acc) })
	ADDQ(U8(group), at)
	CMPQ(at, whole)
	JLT(LabelRef("whole"))
	Label("rest")
	TESTQ(rest, rest)
	JZ(LabelRef("hidden"))
	mask := firstLanes(v, table, rest)
	each(v, group, func(i, disp int) { weight(at, i, disp, mask, acc) })
	ADDQ(U8(group), at)
	Label("hidden")
	CMPQ(at, n)
	JGE(LabelRef("sum"))
	zero := v.Zero()
	Label("zero")
	each(v, group, func(_, disp int) { VMOVUPS(zero, Mem{Base: s, Index: at, Scale: 1, Disp: disp}) })
	ADDQ(U8(group), at)
	CMPQ(at, n)
	JLT(LabelRef("zero"))
	Label("sum")
	VMOVSS(addUp(v, acc), Mem{Base: sum})
	ADDQ(U8(4), sum)
	ADDQ(lds, s)
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// dots emits four rows at a time and then single ones.
func dots(v *isa) {
	function(v, "rowDots", "func(y, a *float32, lda int, x *float32, m, n int, add bool)", "is rowDotsGeneric for n > 0.")
	y, a, lda := args.Load("y"), args.Load("a"), args.LoadBytes("lda")
	x, m, whole := args.Load("x"), args.Load("m"), args.Load("n")
	rest, lda3 := GP64(), GP64()
	LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, lda3)
	MOVQ(whole, rest)
	ANDQ(U8(15), rest)
	SUBQ(rest, whole)
	SHLQ(U8(2), whole)
	tail := tailMasks(v, rest)
	dotRows(v, "four", 4, y, a, lda, lda3, x, m, whole, rest, tail)
	dotRows(v, "one", 1, y, a, lda, lda3, x, m, whole, rest, tail)
	VZEROUPPER()
	RET()
}

// tailMasks returns masks for loads of the first rest of 16 elements.
func tailMasks(v *isa, rest reg.Register) []reg.Register {
	if v.Wide() {
		return []reg.Register{v.TailMask(rest)}
	}
	var r []reg.Register
	for _, m := range firstLanes(v, masks(), rest) {
		r = append(r, m)
	}
	return r
}

func loadUnder(v *isa, mask reg.Register, p Mem) vec {
	r := v.New()
	if v.Wide() {
		VMOVUPS_Z(p, mask, r)
	} else {
		VMASKMOVPS(p, mask, r)
	}
	return r
}

func dotRows(v *isa, label string, rows int, y, a, lda, lda3, x, m, whole, rest reg.Register, tail []reg.Register) {
	name := func(s string) string { return label + s }
	CMPQ(m, U8(rows))
	JLT(LabelRef(name("done")))
	Label(name("rows"))
	var acc [][]vec
	for range rows {
		acc = append(acc, zeros(v))
	}
	p, at := GP64(), GP64()
	row := func(r, disp int) Mem {
		mem := Mem{Base: p, Disp: disp}
		switch r {
		case 1:
			mem.Index, mem.Scale = lda, 1
		case 2:
			mem.Index, mem.Scale = lda, 2
		case 3:
			mem.Index, mem.Scale = lda3, 1
		}
		return mem
	}
	MOVQ(a, p)
	XORQ(at, at)
	CMPQ(at, whole)
	JGE(LabelRef(name("rest")))
	Label(name("whole"))
	each(v, group, func(i, disp int) {
		f := v.New()
		VMOVUPS(Mem{Base: x, Index: at, Scale: 1, Disp: disp}, f)
		for r := range rows {
			VFMADD231PS(row(r, disp), f, acc[r][i])
		}
	})
	ADDQ(U8(group), at)
	ADDQ(U8(group), p)
	CMPQ(at, whole)
	JLT(LabelRef(name("whole")))
	Label(name("rest"))
	TESTQ(rest, rest)
	JZ(LabelRef(name("sum")))
	each(v, group, func(i, disp int) {
		f := loadUnder(v, tail[i], Mem{Base: x, Index: at, Scale: 1, Disp: disp})
		for r := range rows {
			VFMADD231PS(loadUnder(v, tail[i], row(r, disp)), f, acc[r][i])
		}
	})
	Label(name("sum"))
	var sums []reg.VecVirtual
	for r := range rows {
		sums = append(sums, addUp(v, acc[r]))
	}
	CMPB(args.At("add"), U8(0))
	JE(LabelRef(name("store")))
	for r, s := range sums {
		VADDSS(Mem{Base: y, Disp: 4 * r}, s, s)
	}
	Label(name("store"))
	for r, s := range sums {
		VMOVSS(s, Mem{Base: y, Disp: 4 * r})
	}
	ADDQ(U8(4*rows), y)
	for range rows {
		ADDQ(lda, a)
	}
	SUBQ(U8(rows), m)
	CMPQ(m, U8(rows))
	JGE(LabelRef(name("rows")))
	Label(name("done"))
}

func scale(v *isa) {
	function(v, "scaleRows", "func(dst *float32, ldd int, src *float32, lds int, factors *float32, m, n int)", "is scaleRowsGeneric for m, n > 0.")
	dst, ldd, src, lds := args.Load("dst"), args.LoadBytes("ldd"), args.Load("src"), args.LoadBytes("lds")
	factors, m, whole := args.Load("factors"), args.Load("m"), args.Load("n")
	rest := GP64()
	MOVQ(whole, rest)
	ANDQ(U8(15), rest)
	SUBQ(rest, whole)
	SHLQ(U8(2), whole)
	tail := tailMasks(v, rest)

	Label("row")
	f, at := v.New(), GP64()
	VBROADCASTSS(Mem{Base: factors}, f)
	XORQ(at, at)
	CMPQ(at, whole)
	JGE(LabelRef("rest"))
	Label("whole")
	each(v, group, func(_, disp int) {
		x := v.New()
		VMULPS(Mem{Base: src, Index: at, Scale: 1, Disp: disp}, f, x)
		VMOVUPS(x, Mem{Base: dst, Index: at, Scale: 1, Disp: disp})
	})
	ADDQ(U8(group), at)
	CMPQ(at, whole)
	JLT(LabelRef("whole"))
	Label("rest")
	TESTQ(rest, rest)
	JZ(LabelRef("next"))
	each(v, group, func(i, disp int) {
		x := loadUnder(v, tail[i], Mem{Base: src, Index: at, Scale: 1, Disp: disp})
		VMULPS(x, f, x)
		p := Mem{Base: dst, Index: at, Scale: 1, Disp: disp}
		if v.Wide() {
			VMOVUPS(x, tail[i], p)
		} else {
			VMASKMOVPS(x, tail[i], p)
		}
	})
	Label("next")
	ADDQ(ldd, dst)
	ADDQ(lds, src)
	ADDQ(U8(4), factors)
	DECQ(m)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func grad(v *isa) {
	function(v, "taylorWeightsGrad", "func(s *float32, lds int, ds *float32, ldd, m, n int)", "is taylorWeightsGradGeneric for m, n > 0.")
	s, lds, ds, ldd := args.Load("s"), args.LoadBytes("lds"), args.Load("ds"), args.LoadBytes("ldd")
	m, whole := args.Load("m"), args.Load("n")
	rest := GP64()
	MOVQ(whole, rest)
	ANDQ(U8(15), rest)
	SUBQ(rest, whole)
	SHLQ(U8(2), whole)
	tail := tailMasks(v, rest)
	v.Preload(1, 0.5)
	one, half := v.Reg(1), v.Reg(0.5)
	// step returns the weights and the gradients for those of products and of weights.
	step := func(x, y vec) (vec, vec) {
		VADDPS(one, x, x)
		VMULPS(x, y, y)
		VMULPS(x, x, x)
		VFMADD213PS(half, half, x)
		return x, y
	}

	Label("row")
	at := GP64()
	place := func(p reg.Register, disp int) Mem { return Mem{Base: p, Index: at, Scale: 1, Disp: disp} }
	XORQ(at, at)
	CMPQ(at, whole)
	JGE(LabelRef("rest"))
	Label("whole")
	each(v, group, func(_, disp int) {
		x, y := v.New(), v.New()
		VMOVUPS(place(s, disp), x)
		VMOVUPS(place(ds, disp), y)
		x, y = step(x, y)
		VMOVUPS(x, place(s, disp))
		VMOVUPS(y, place(ds, disp))
	})
	ADDQ(U8(group), at)
	CMPQ(at, whole)
	JLT(LabelRef("whole"))
	Label("rest")
	TESTQ(rest, rest)
	JZ(LabelRef("next"))
	each(v, group, func(i, disp int) {
		x, y := step(loadUnder(v, tail[i], place(s, disp)), loadUnder(v, tail[i], place(ds, disp)))
		if v.Wide() {
			VMOVUPS(x, tail[i], place(s, disp))
			VMOVUPS(y, tail[i], place(ds, disp))
		} else {
			VMASKMOVPS(x, tail[i], place(s, disp))
			VMASKMOVPS(y, tail[i], place(ds, disp))
		}
	})
	Label("next")
	ADDQ(lds, s)
	ADDQ(ldd, ds)
	DECQ(m)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
