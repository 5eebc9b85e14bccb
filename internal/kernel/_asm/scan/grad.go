package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

// The places of a trace: the exponential, the state, and sums for the gradients of B
// and C.
const (
	decayAt = iota * blockBytes
	stateAt
	dbAt
	dcAt
	traceBytes
)

// forth emits the way forth through a segment.
func forth(v *simd.ISA) {
	name := "scanForth" + v.Suffix
	TEXT(name, NOSPLIT, "func(l, n int, u, delta *float32, ldu, ldd int, a, b *float32, ldb int, trace *float32)")
	Pragma("noescape")
	Doc(name + " is scanForthGeneric.")
	mxcsr := simd.FlushDenormals()
	v.Preload(append(exp2C, round, maxDelta)...)

	n, u, delta, b := args.Load("n"), args.Load("u"), args.Load("delta"), args.Load("b")
	ldu, ldd, ldb := args.LoadBytes("ldu"), args.LoadBytes("ldd"), args.LoadBytes("ldb")
	before, at, l := args.Load("trace"), GP64(), args.Load("l")
	IMUL3Q(U32(traceBytes), n, at)
	ADDQ(before, at)

	Label("position")
	var dt, dx []simd.Vec
	for off := 0; off < blockBytes; off += v.Bytes {
		d, in, most := v.New(), v.New(), v.Reg(maxDelta)
		VMOVUPS(Mem{Base: delta, Disp: off}, d)
		VMULPS(Mem{Base: u, Disp: off}, d, in)
		VMINPS(d, most, d) // d if it is NaN
		dt, dx = append(dt, d), append(dx, in)
	}
	a, i := args.Load("a"), GP64()
	XORQ(i, i)
	Label("state")
	factor := v.New()
	VBROADCASTSS(Mem{Base: b, Index: i, Scale: 4}, factor)
	for k := range dt {
		off := k * v.Bytes
		x, in := v.New(), v.New()
		VMULPS(Mem{Base: a, Disp: off}, dt[k], x)
		decay := exp2(v, x)
		VMULPS(factor, dx[k], in)
		VFMADD231PS(Mem{Base: before, Disp: stateAt + off}, decay, in)
		VMOVUPS(decay, Mem{Base: at, Disp: decayAt + off})
		VMOVUPS(in, Mem{Base: at, Disp: stateAt + off})
	}
	ADDQ(U32(traceBytes), before)
	ADDQ(U32(traceBytes), at)
	ADDQ(U8(blockBytes), a)
	INCQ(i)
	CMPQ(i, n)
	JNE(LabelRef("state"))
	ADDQ(ldu, u)
	ADDQ(ldd, delta)
	ADDQ(ldb, b)
	DECQ(l)
	JNZ(LabelRef("position"))
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}

// back emits the way back. Everything given for a position is that for the last.
func back(v *simd.ISA) {
	name := "scanBack" + v.Suffix
	TEXT(name, NOSPLIT, "func(l, n int, u, delta, dy, du, ddelta *float32, ldu, ldd, lddy, lddu, ldddelta int, a, b, c *float32, ldb, ldc int, d, dd, trace, grad, da *float32)")
	Pragma("noescape")
	Doc(name + " is scanBackGeneric. What is given for a position is that for the last.")
	mxcsr := simd.FlushDenormals()
	for _, s := range []string{"ldu", "ldd", "lddy", "lddu", "ldddelta", "ldb", "ldc"} {
		SHLQ(U8(2), args.At(s))
	}
	n := args.Load("n")
	size, at, before := GP64(), args.Load("trace"), GP64()
	IMUL3Q(U32(traceBytes), n, size)
	MOVQ(at, before)
	SUBQ(size, before)

	Label("position")
	u, delta, dy := args.Load("u"), args.Load("delta"), args.Load("dy")
	vectors := blockBytes / v.Bytes
	dt, dx, out, in, rates := make([]simd.Vec, vectors), make([]simd.Vec, vectors), make([]simd.Vec, vectors), make([]simd.Vec, vectors), make([]simd.Vec, vectors)
	dd := args.Load("dd")
	for k := range vectors {
		off := k * v.Bytes
		dt[k], dx[k], out[k], in[k], rates[k] = v.New(), v.New(), v.New(), v.Zero(), v.Zero()
		VMOVUPS(Mem{Base: delta, Disp: off}, dt[k])
		VMOVUPS(Mem{Base: u, Disp: off}, dx[k])
		VMOVUPS(Mem{Base: dy, Disp: off}, out[k])
		sum := v.New()
		VMOVUPS(Mem{Base: dd, Disp: off}, sum)
		VFMADD231PS(dx[k], out[k], sum)
		VMOVUPS(sum, Mem{Base: dd, Disp: off})
		VMULPS(dt[k], dx[k], dx[k])
	}
	a, grad, da, b, c := args.Load("a"), args.Load("grad"), args.Load("da"), args.Load("b"), args.Load("c")
	i, off := GP64(), GP64()
	XORQ(i, i)
	XORQ(off, off)
	Label("state")
	bn, cn := v.New(), v.New()
	VBROADCASTSS(Mem{Base: b, Index: i, Scale: 4}, bn)
	VBROADCASTSS(Mem{Base: c, Index: i, Scale: 4}, cn)
	for k := range vectors {
		o := k * v.Bytes
		table := func(r reg.Register) Mem { return Mem{Base: r, Index: off, Scale: 1, Disp: o} }
		place := func(p reg.Register, which int) Mem { return Mem{Base: p, Disp: which + o} }
		g, db, dc, through, sum := v.New(), v.New(), v.New(), v.New(), v.New()
		VMOVUPS(table(grad), g)
		VFMADD231PS(cn, out[k], g)
		VMOVUPS(place(at, dbAt), db)
		VFMADD231PS(dx[k], g, db)
		VMOVUPS(db, place(at, dbAt))
		VMOVUPS(place(at, dcAt), dc)
		VFMADD231PS(place(at, stateAt), out[k], dc)
		VMOVUPS(dc, place(at, dcAt))
		VFMADD231PS(bn, g, in[k])
		VMULPS(place(at, decayAt), g, g)
		VMOVUPS(g, table(grad))
		VMULPS(place(before, stateAt), g, through)
		VFMADD231PS(table(a), through, rates[k])
		VMOVUPS(table(da), sum)
		VFMADD231PS(dt[k], through, sum)
		VMOVUPS(sum, table(da))
	}
	ADDQ(U32(traceBytes), at)
	ADDQ(U32(traceBytes), before)
	ADDQ(U8(blockBytes), off)
	INCQ(i)
	CMPQ(i, n)
	JNE(LabelRef("state"))
	// Both are behind their position now.
	for _, p := range []reg.Register{at, before} {
		SUBQ(size, p)
		SUBQ(size, p)
	}

	u, d, du, ddelta := args.Load("u"), args.Load("d"), args.Load("du"), args.Load("ddelta")
	ln2 := v.Reg(0.6931471805599453)
	for k := range vectors {
		o := k * v.Bytes
		x, dxk := v.New(), v.New()
		VMOVUPS(Mem{Base: u, Disp: o}, x)
		VMULPS(Mem{Base: d, Disp: o}, out[k], dxk)
		VFMADD231PS(in[k], dt[k], dxk)
		VMULPS(ln2, rates[k], rates[k])
		VFMADD231PS(x, in[k], rates[k])
		VMOVUPS(dxk, Mem{Base: du, Disp: o})
		VMOVUPS(rates[k], Mem{Base: ddelta, Disp: o})
	}
	step := GP64()
	for _, s := range [][2]string{{"u", "ldu"}, {"delta", "ldd"}, {"dy", "lddy"}, {"du", "lddu"}, {"ddelta", "ldddelta"}, {"b", "ldb"}, {"c", "ldc"}} {
		MOVQ(args.At(s[1]), step)
		SUBQ(step, args.At(s[0]))
	}
	DECQ(args.At("l"))
	JNZ(LabelRef("position"))
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}

// fold emits the sums over lanes, which are the same for both instruction sets.
func fold() {
	TEXT("scanFoldAVX2", NOSPLIT, "func(count int, trace, db, dc *float32)")
	Pragma("noescape")
	Doc("scanFoldAVX2 is scanFoldGeneric for a multiple of 4 places, in another order.")
	count, at := args.Load("count"), args.Load("trace")
	outs := []reg.Register{args.Load("db"), args.Load("dc")}
	zero := YMM()
	VXORPS(zero, zero, zero)
	Label("places")
	for which, out := range outs {
		var y [4]reg.VecVirtual
		for k := range y {
			place := Mem{Base: at, Disp: k*traceBytes + dbAt + which*blockBytes}
			y[k] = YMM()
			VMOVUPS(place, y[k])
			VADDPS(place.Offset(32), y[k], y[k])
			VMOVUPS(zero, place)
			VMOVUPS(zero, place.Offset(32))
		}
		VHADDPS(y[1], y[0], y[0])
		VHADDPS(y[3], y[2], y[2])
		VHADDPS(y[2], y[0], y[0])
		high := XMM()
		VEXTRACTF128(U8(1), y[0], high)
		VADDPS(y[0].AsX(), high, high)
		VMOVUPS(high, Mem{Base: out})
		ADDQ(U8(16), out)
	}
	ADDQ(U32(4*traceBytes), at)
	SUBQ(U8(4), count)
	JNZ(LabelRef("places"))
	VZEROUPPER()
	RET()
}
