// Command modal generates the modal filter for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

const rowBytes = 64 // of the 16 channels of a block

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		// Enough poles at a time to hide that each position waits for the one before.
		pairs, reals := []int{4, 2, 1}, []int{8, 4, 1}
		begin(v)
		end(v)
		(&kernel{ISA: v, name: "modalPairs", count: "pairs", groups: pairs, pole: func() pole { return new(pair) }}).emit()
		(&kernel{ISA: v, name: "modalReals", count: "reals", groups: reals, pole: func() pole { return new(single) }}).emit()
	})
	Generate()
}

// begin copies a block of src to u and multiplies it by d.
func begin(v *simd.ISA) {
	name := "modalBegin" + v.Suffix
	TEXT(name, NOSPLIT, "func(n int, y, u, src *float32, lds int, d *float32)")
	Pragma("noescape")
	Doc(name + " is modalBeginGeneric for a whole block.")
	n, y, u, src, lds, d := args.Load("n"), args.Load("y"), args.Load("u"), args.Load("src"), args.LoadBytes("lds"), args.Load("d")
	var skip []simd.Vec
	for at := 0; at < rowBytes; at += v.Bytes {
		r := v.New()
		VMOVUPS(Mem{Base: d, Disp: at}, r)
		skip = append(skip, r)
	}
	Label("position")
	for i, r := range skip {
		x, at := v.New(), i*v.Bytes
		VMOVUPS(Mem{Base: src, Disp: at}, x)
		VMOVUPS(x, Mem{Base: u, Disp: at})
		VMULPS(r, x, x)
		VMOVUPS(x, Mem{Base: y, Disp: at})
	}
	ADDQ(lds, src)
	ADDQ(U8(rowBytes), u)
	ADDQ(U8(rowBytes), y)
	DECQ(n)
	JNZ(LabelRef("position"))
	VZEROUPPER()
	RET()
}

// end copies y to a block of dst.
func end(v *simd.ISA) {
	name := "modalEnd" + v.Suffix
	TEXT(name, NOSPLIT, "func(n int, dst *float32, ldd int, y *float32)")
	Pragma("noescape")
	Doc(name + " is modalEndGeneric for a whole block.")
	n, dst, ldd, y := args.Load("n"), args.Load("dst"), args.LoadBytes("ldd"), args.Load("y")
	Label("position")
	for at := 0; at < rowBytes; at += v.Bytes {
		x := v.New()
		VMOVUPS(Mem{Base: y, Disp: at}, x)
		VMOVUPS(x, Mem{Base: dst, Disp: at})
	}
	ADDQ(ldd, dst)
	ADDQ(U8(rowBytes), y)
	DECQ(n)
	JNZ(LabelRef("position"))
	VZEROUPPER()
	RET()
}

// A pole is what a group of them holds of one in registers.
type pole interface {
	rows() (poles, state int)
	load(v *simd.ISA, poles, state func(row int) Mem)
	step(v *simd.ISA, u, y simd.Vec) // takes it through a position
	store(state func(row int) Mem)
}

// kernel takes a block through positions, some poles at a time. A block is one vector
// or two.
type kernel struct {
	*simd.ISA
	name, count string
	groups      []int // sizes of groups of poles, each a multiple of the next
	pole        func() pole

	n, y, u, poles, h reg.Register
}

func (k *kernel) emit() {
	name := k.name + k.Suffix
	TEXT(name, NOSPLIT, "func(n, "+k.count+" int, y, u, poles, h *float32)")
	Pragma("noescape")
	Doc(name + " is " + k.name + "Generic.")
	mxcsr := simd.FlushDenormals()
	left := args.Load(k.count)
	k.n, k.y, k.u, k.poles, k.h = args.Load("n"), args.Load("y"), args.Load("u"), args.Load("poles"), args.Load("h")
	poleRows, stateRows := k.pole().rows()
	for _, size := range k.groups {
		label := func(s string) string { return s + string(rune('0'+size)) }
		Label(label("group"))
		CMPQ(left, U8(uint8(size)))
		JLT(LabelRef(label("fewer")))
		for at := 0; at < rowBytes; at += k.Bytes {
			k.group(size, at, label("position")+string(rune('a'+at/k.Bytes)))
		}
		ADDQ(I32(int32(size*poleRows*rowBytes)), k.poles)
		ADDQ(I32(int32(size*stateRows*rowBytes)), k.h)
		SUBQ(U8(uint8(size)), left)
		JMP(LabelRef(label("group")))
		Label(label("fewer"))
	}
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}

// group takes size poles through all positions, for the channels from byte at of a
// row on.
func (k *kernel) group(size, at int, loop string) {
	group := make([]pole, size)
	poleRows, stateRows := k.pole().rows()
	rows := func(p reg.Register, first int) func(row int) Mem {
		return func(row int) Mem { return Mem{Base: p, Disp: (first+row)*rowBytes + at} }
	}
	for i := range group {
		group[i] = k.pole()
		group[i].load(k.ISA, rows(k.poles, i*poleRows), rows(k.h, i*stateRows))
	}
	y, u, t := GP64(), GP64(), GP64()
	MOVQ(k.y, y)
	MOVQ(k.u, u)
	MOVQ(k.n, t)
	Label(loop)
	in, out := k.New(), k.New()
	VMOVUPS(Mem{Base: u, Disp: at}, in)
	VMOVUPS(Mem{Base: y, Disp: at}, out)
	for _, p := range group {
		p.step(k.ISA, in, out)
	}
	VMOVUPS(out, Mem{Base: y, Disp: at})
	ADDQ(U8(rowBytes), y)
	ADDQ(U8(rowBytes), u)
	DECQ(t)
	JNZ(LabelRef(loop))
	for i, p := range group {
		p.store(rows(k.h, i*stateRows))
	}
}

// factor returns what a state is multiplied by: on AVX2, which has not enough
// registers for all of them, its place in memory.
func factor(v *simd.ISA, m Mem) Op {
	if !v.Wide() {
		return m
	}
	r := v.New()
	VMOVUPS(m, r)
	return r
}

// A pair of complex poles.
type pair struct {
	er, ei, cr, ci Op
	re, im         simd.Vec
}

func (*pair) rows() (int, int) { return 4, 2 }

func (p *pair) load(v *simd.ISA, poles, state func(row int) Mem) {
	for i, f := range []*Op{&p.er, &p.ei, &p.cr, &p.ci} {
		*f = factor(v, poles(i))
	}
	for i, r := range []*simd.Vec{&p.re, &p.im} {
		*r = v.New()
		VMOVUPS(state(i), *r)
	}
}

func (p *pair) step(v *simd.ISA, u, y simd.Vec) {
	r, i := v.New(), v.New()
	VMOVUPS(u, r)
	VFMADD231PS(p.er, p.re, r)
	VFNMADD231PS(p.ei, p.im, r)
	VMULPS(p.er, p.im, i)
	VFMADD231PS(p.ei, p.re, i)
	VADDPS(r, p.re, p.re)
	VADDPS(i, p.im, p.im)
	VFMADD231PS(p.cr, p.re, y)
	VFMADD231PS(p.ci, p.im, y)
}

func (p *pair) store(state func(row int) Mem) {
	VMOVUPS(p.re, state(0))
	VMOVUPS(p.im, state(1))
}

// A single, real pole.
type single struct {
	e, c Op
	h    simd.Vec
}

func (*single) rows() (int, int) { return 2, 1 }

func (p *single) load(v *simd.ISA, poles, state func(row int) Mem) {
	p.e, p.c, p.h = factor(v, poles(0)), factor(v, poles(1)), v.New()
	VMOVUPS(state(0), p.h)
}

func (p *single) step(v *simd.ISA, u, y simd.Vec) {
	r := v.New()
	VMOVUPS(u, r)
	VFMADD231PS(p.e, p.h, r)
	VADDPS(r, p.h, p.h)
	VFMADD231PS(p.c, p.h, y)
}

func (p *single) store(state func(row int) Mem) { VMOVUPS(p.h, state(0)) }
