// Command normrows generates the norms of rows and their gradients for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

type vec = simd.Vec

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		for _, centred := range []bool{true, false} {
			norm(v, centred)
			grad(v, centred)
			shortNorm(v, centred)
			shortGrad(v, centred, rowsTogether(v))
			shortGrad(v, centred, 1)
		}
	})
	Generate()
}

// A norm function goes through a row several times: for the mean, for the scale, and for
// the result. A row is in the cache of the first level after the first time.
type rows struct {
	*simd.ISA
	n, four, one reg.Register // bytes of a row; of it in groups of four vectors; in vectors
	mask         reg.Register // of the rest
	i            reg.Register // where the pass is
}

const unroll = 4

func begin(v *simd.ISA) *rows {
	r := &rows{ISA: v, n: args.Load("n"), four: GP64(), one: GP64(), i: GP64()}
	rest := GP64()
	MOVQ(r.n, rest)
	ANDQ(U8(v.Lanes()-1), rest)
	r.mask = v.TailMask(rest)
	SHLQ(U8(2), r.n)
	MOVQ(r.n, r.one)
	ANDQ(I32(int32(-v.Bytes)), r.one)
	MOVQ(r.n, r.four)
	ANDQ(I32(int32(-unroll*v.Bytes)), r.four)
	return r
}

// A place is a vector of a row, or a part of one.
type place struct {
	*rows
	k    int // of unroll
	part bool
}

// pass emits body for all of a row.
func (r *rows) pass(name string, body func(p place)) {
	XORQ(r.i, r.i)
	CMPQ(r.i, r.four)
	JGE(LabelRef(name + "One"))
	Label(name + "Four")
	for k := range unroll {
		body(place{r, k, false})
	}
	ADDQ(I32(int32(unroll*r.Bytes)), r.i)
	CMPQ(r.i, r.four)
	JLT(LabelRef(name + "Four"))
	Label(name + "One")
	CMPQ(r.i, r.one)
	JGE(LabelRef(name + "Part"))
	body(place{r, 0, false})
	ADDQ(U8(r.Bytes), r.i)
	JMP(LabelRef(name + "One"))
	Label(name + "Part")
	CMPQ(r.i, r.n)
	JGE(LabelRef(name + "Done"))
	body(place{r, 0, true})
	Label(name + "Done")
}

func (p place) at(base reg.Register) Mem {
	return Mem{Base: base, Index: p.i, Scale: 1, Disp: p.k * p.Bytes}
}

func (p place) load(base reg.Register) vec {
	x := p.New()
	switch {
	case !p.part:
		VMOVUPS(p.at(base), x)
	case p.Wide():
		VMOVUPS_Z(p.at(base), p.mask, x)
	default:
		VMASKMOVPS(p.at(base), p.mask, x)
	}
	return x
}

func (p place) store(x vec, base reg.Register) {
	switch {
	case !p.part:
		VMOVUPS(x, p.at(base))
	case p.Wide():
		VMOVUPS(x, p.mask, p.at(base))
	default:
		VMASKMOVPS(x, p.mask, p.at(base))
	}
}

// off takes the mean off x, and leaves zeros beyond the end of the row.
func (p place) off(mean, x vec) {
	switch {
	case mean == nil:
	case !p.part:
		VSUBPS(mean, x, x)
	case p.Wide():
		VSUBPS_Z(mean, x, p.mask, x)
	default:
		VSUBPS(mean, x, x)
		VANDPS(p.mask.(vec), x, x)
	}
}

// sums returns accumulators for a pass.
func (r *rows) sums() (acc [unroll]vec) {
	for k := range acc {
		acc[k] = r.Zero()
	}
	return acc
}

// total returns the sum in all lanes of a short vector.
func (r *rows) total(acc [unroll]vec) reg.VecVirtual {
	VADDPS(acc[1], acc[0], acc[0])
	VADDPS(acc[3], acc[2], acc[2])
	VADDPS(acc[2], acc[0], acc[0])
	y, x, t := YMM(), XMM(), XMM()
	if r.Wide() {
		VEXTRACTF64X4(U8(1), acc[0], y)
		VADDPS(acc[0].AsY(), y, y)
		VEXTRACTF32X4(U8(1), y, x)
	} else {
		y = acc[0]
		VEXTRACTF128(U8(1), y, x)
	}
	VADDPS(y.AsX(), x, x)
	for _, swap := range []uint8{0x4e, 0xb1} {
		VPERMILPS(U8(swap), x, t)
		VADDPS(t, x, x)
	}
	return x
}

func (r *rows) fill(x reg.VecVirtual) vec {
	v := r.New()
	VBROADCASTSS(x, v)
	return v
}

// mean returns the mean of x in all lanes.
func (r *rows) mean(x reg.Register) vec {
	acc := r.sums()
	r.pass("mean", func(p place) { VADDPS(p.load(x), acc[p.k], acc[p.k]) })
	m := r.total(acc)
	VMULSS(args.At("inverse"), m, m)
	return r.fill(m)
}

// root returns √(squares/n + inside) and the reciprocal of it and outside.
func root(squares reg.VecVirtual, centred bool) (root, scale reg.VecVirtual) {
	VMULSS(args.At("inverse"), squares, squares)
	VADDSS(args.At("inside"), squares, squares)
	root, scale = XMM(), XMM()
	VSQRTSS(squares, squares, root)
	below := root
	if !centred {
		below = XMM()
		VADDSS(args.At("outside"), root, below)
	}
	one := GP32()
	MOVL(U32(0x3f800000), one)
	VMOVD(one, scale)
	VDIVSS(below, scale, scale)
	return root, scale
}

// head emits the beginning of a function, and returns the number of rows.
func head(v *simd.ISA, name, doc string, centred bool, pointers string) reg.Register {
	scalars := "inverse, inside"
	if !centred {
		scalars += ", outside"
	}
	TEXT(name+v.Suffix, NOSPLIT, "func(rows, n int, "+pointers+" *float32, "+scalars+" float32)")
	Pragma("noescape")
	Doc(name + v.Suffix + " " + doc)
	return args.Load("rows")
}

func norm(v *simd.ISA, centred bool) {
	name, pointers, doc := "rmsNorm", "dst, x, weight", "computes dst = x·scale·weight for all rows."
	if centred {
		name, pointers, doc = "layerNorm", pointers+", bias", "computes dst = (x - mean)·scale·weight + bias for all rows."
	}
	count := head(v, name, doc, centred, pointers)
	dst, x, weight := args.Load("dst"), args.Load("x"), args.Load("weight")
	r := begin(v)
	var bias reg.Register
	if centred {
		bias = args.Load("bias")
	}
	Label("row")
	var mean vec
	if centred {
		mean = r.mean(x)
	}
	squares := r.sums()
	r.pass("squares", func(p place) {
		d := p.load(x)
		p.off(mean, d)
		VFMADD231PS(d, d, squares[p.k])
	})
	_, s := root(r.total(squares), centred)
	scale := r.fill(s)
	r.pass("result", func(p place) {
		d := p.load(x)
		p.off(mean, d)
		VMULPS(scale, d, d)
		if centred {
			VFMADD213PS(p.load(bias), p.load(weight), d)
		} else {
			VMULPS(p.load(weight), d, d)
		}
		p.store(d, dst)
	})
	ADDQ(r.n, x)
	ADDQ(r.n, dst)
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// grad emits, with d = x - mean and g = weight·dy,
//
//	dx = scale·g - scale·mean(g) - d·(Σ g·d / root · scale²/n)
//	dweight += dy·d·scale    dbias += dy
func grad(v *simd.ISA, centred bool) {
	name, pointers, doc := "rmsNormGrad", "dx, dy, x, weight, dweight", "computes dx and adds to dweight for all rows."
	if centred {
		name, pointers, doc = "layerNormGrad", pointers+", dbias", "computes dx and adds to dweight and dbias for all rows."
	}
	count := head(v, name, doc, centred, pointers)
	dx, dy, x, weight, dweight := args.Load("dx"), args.Load("dy"), args.Load("x"), args.Load("weight"), args.Load("dweight")
	r := begin(v)
	var dbias reg.Register
	if centred {
		dbias = args.Load("dbias")
	}
	Label("row")
	var mean, gmean vec
	if centred {
		sum, gsum := r.sums(), r.sums()
		r.pass("means", func(p place) {
			VADDPS(p.load(x), sum[p.k], sum[p.k])
			VFMADD231PS(p.load(weight), p.load(dy), gsum[p.k])
		})
		m, g := r.total(sum), r.total(gsum)
		VMULSS(args.At("inverse"), m, m)
		VMULSS(args.At("inverse"), g, g)
		mean, gmean = r.fill(m), r.fill(g)
	}
	squares, products := r.sums(), r.sums()
	r.pass("squares", func(p place) {
		d, g := p.load(x), p.load(dy)
		p.off(mean, d)
		VFMADD231PS(d, d, squares[p.k])
		VMULPS(p.load(weight), g, g)
		VFMADD231PS(g, d, products[p.k])
	})
	below, s := root(r.total(squares), centred)
	// If the row is 0, so is the sum, whatever it is divided by.
	smallest, bits := XMM(), GP32()
	MOVL(U32(0x00800000), bits)
	VMOVD(bits, smallest)
	VMAXSS(smallest, below, below)
	along := r.total(products)
	VDIVSS(below, along, along)
	VMULSS(s, along, along)
	VMULSS(s, along, along)
	VMULSS(args.At("inverse"), along, along)
	scale, slope := r.fill(s), r.fill(along)
	if centred {
		VMULPS(scale, gmean, gmean)
	}
	r.pass("result", func(p place) {
		d, e := p.load(x), p.load(dy)
		p.off(mean, d)
		g := r.New()
		VMULPS(p.load(weight), e, g)
		if centred {
			VFMSUB213PS(gmean, scale, g)
		} else {
			VMULPS(scale, g, g)
		}
		VFNMADD231PS(slope, d, g)
		p.store(g, dx)
		VMULPS(scale, d, d)
		VFMADD213PS(p.load(dweight), e, d)
		p.store(d, dweight)
		if centred {
			VADDPS(p.load(dbias), e, e)
			p.store(e, dbias)
		}
	})
	for _, p := range []reg.Register{x, dx, dy} {
		ADDQ(r.n, p)
	}
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
