// Command scan generates the selective scan and its gradient for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

const blockBytes = 64 // of the 16 channels of a block, for one state

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		(&kernel{ISA: v}).emit()
		forth(v)
		back(v)
	})
	fold()
	Generate()
}

// kernel is a scan over blocks, positions and states. A block is one vector or two.
type kernel struct {
	*simd.ISA

	n          reg.Register
	a, h       reg.Register // of the block
	b, c       reg.Register // of the position
	state, off reg.Register // the number of the state, and its bytes in a block

	delta, dx, sum []simd.Vec
}

func (k *kernel) emit() {
	name := "scan" + k.Suffix
	TEXT(name, NOSPLIT, "func(l, n, blocks int, y, u, delta *float32, ldy, ldu, ldd int, a, h, b, c, d *float32, ldb, ldc, bBlock, cBlock, dStep int, bChannels, cChannels bool)")
	Pragma("noescape")
	Doc(name + " is scanBlocksGeneric.")
	mxcsr := simd.FlushDenormals()
	k.Preload(append(exp2C, round, maxDelta)...)

	k.n, k.a, k.h = args.Load("n"), args.Load("a"), args.Load("h")
	ldy, ldu, ldd := args.LoadBytes("ldy"), args.LoadBytes("ldu"), args.LoadBytes("ldd")
	for _, s := range []string{"ldb", "ldc", "bBlock", "cBlock", "dStep"} {
		SHLQ(U8(2), args.At(s))
	}

	Label("block")
	y, u, delta, t := args.Load("y"), args.Load("u"), args.Load("delta"), GP64()
	k.b, k.c = args.Load("b"), args.Load("c")
	MOVQ(args.At("l"), t)

	Label("position")
	k.position(u, delta)
	k.states()
	for i, r := range k.sum {
		VMOVUPS(r, Mem{Base: y, Disp: i * k.Bytes})
	}
	ADDQ(ldy, y)
	ADDQ(ldu, u)
	ADDQ(ldd, delta)
	ADDQ(args.At("ldb"), k.b)
	ADDQ(args.At("ldc"), k.c)
	DECQ(t)
	JNZ(LabelRef("position"))

	for _, s := range []string{"y", "u", "delta"} {
		ADDQ(U8(blockBytes), args.At(s))
	}
	step := GP64()
	for _, s := range [][2]string{{"b", "bBlock"}, {"c", "cBlock"}, {"d", "dStep"}} {
		MOVQ(args.At(s[1]), step)
		ADDQ(step, args.At(s[0]))
	}
	ADDQ(k.off, k.a)
	ADDQ(k.off, k.h)
	DECQ(args.At("blocks"))
	JNZ(LabelRef("block"))
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}

// position loads what is the same for all states.
func (k *kernel) position(u, delta reg.Register) {
	d := args.Load("d")
	k.delta, k.dx, k.sum = nil, nil, nil
	for at := 0; at < blockBytes; at += k.Bytes {
		dt, dx, sum, limit := k.New(), k.New(), k.New(), k.Reg(maxDelta)
		VMOVUPS(Mem{Base: delta, Disp: at}, dt)
		VMOVUPS(Mem{Base: u, Disp: at}, sum)
		VMULPS(sum, dt, dx)
		VMULPS(Mem{Base: d, Disp: at}, sum, sum)
		VMINPS(dt, limit, dt) // dt if it is NaN
		k.delta, k.dx, k.sum = append(k.delta, dt), append(k.dx, dx), append(k.sum, sum)
	}
}

// states emits one loop for each way in which b and c can be given.
func (k *kernel) states() {
	k.state, k.off = GP64(), GP64()
	XORQ(k.state, k.state)
	XORQ(k.off, k.off)
	CMPB(args.At("bChannels"), U8(0))
	JNE(LabelRef("bChannels"))
	CMPB(args.At("cChannels"), U8(0))
	JNE(LabelRef("cChannels"))
	k.loop("shared", false, false)
	Label("cChannels")
	k.loop("onlyC", false, true)
	Label("bChannels")
	CMPB(args.At("cChannels"), U8(0))
	JNE(LabelRef("allChannels"))
	k.loop("onlyB", true, false)
	Label("allChannels")
	k.loop("both", true, true)
	Label("summed")
}

// loop takes the block through all states at one position. If bChannels is set, b
// has an element for each channel, else one for all of them; c likewise.
func (k *kernel) loop(label string, bChannels, cChannels bool) {
	Label(label)
	b, c := k.factor(k.b, bChannels), k.factor(k.c, cChannels)
	for i := range k.sum {
		at := i * k.Bytes
		x, in, old := k.New(), k.New(), Mem{Base: k.h, Index: k.off, Scale: 1, Disp: at}
		VMULPS(Mem{Base: k.a, Index: k.off, Scale: 1, Disp: at}, k.delta[i], x)
		decay := exp2(k.ISA, x)
		VMULPS(b(at), k.dx[i], in)
		VFMADD231PS(old, decay, in)
		VMOVUPS(in, old)
		VFMADD231PS(c(at), in, k.sum[i])
	}
	ADDQ(U8(blockBytes), k.off)
	INCQ(k.state)
	CMPQ(k.state, k.n)
	JNE(LabelRef(label))
	if label != "both" {
		JMP(LabelRef("summed"))
	}
}

// factor returns the operand of b or c for the channels from byte at of the block on.
func (k *kernel) factor(p reg.Register, channels bool) func(at int) Op {
	if channels {
		return func(at int) Op { return Mem{Base: p, Index: k.off, Scale: 1, Disp: at} }
	}
	r := k.New()
	VBROADCASTSS(Mem{Base: p, Index: k.state, Scale: 4}, r)
	return func(int) Op { return r }
}

// exp2C are the coefficients of the polynomial for 2^x, highest power first, as in
// the portable version.
var exp2C = []float32{0.001326470054, 0.009671615437, 0.05550754815, 0.2402224243, 0.693146944, 1}

const (
	round    = 3<<22 + 127 // leaves the integer part, biased as an exponent is, in the low bits
	maxDelta = 1 << 62     // its product with a rate is finite
)

// exp2 returns 2^x. On AVX2 it is 0 below 2^-126.5 and infinite from 2^127.5 on.
func exp2(v *simd.ISA, x simd.Vec) simd.Vec {
	n, r := v.New(), v.New()
	if v.Wide() {
		VRNDSCALEPS(U8(0), x, n)
		VSUBPS(n, x, r)
		p := v.Horner(r, exp2C...)
		VSCALEFPS(n, p, p)
		return p
	}
	lo, hi := v.Reg(-127), v.Reg(128)
	VMAXPS(x, lo, x) // x if it is NaN
	VMINPS(x, hi, x)
	VADDPS(v.Const(round), x, n)
	VSUBPS(v.Const(round), n, r)
	VSUBPS(r, x, r)
	p := v.Horner(r, exp2C...)
	VPSLLD(U8(23), n, n)
	VMULPS(n, p, p)
	return p
}
