// Package simd writes vector arithmetic for AVX-512 and AVX2 from one description.
package simd

import (
	"fmt"
	"math"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// An ISA is one of the two instruction sets, within one function.
type ISA struct {
	Suffix string // of function names
	Bytes  int    // of a vector
	consts map[uint32]reg.VecVirtual
}

// Vec is a vector of float32s.
type Vec = reg.VecVirtual

// Each runs f for both instruction sets.
func Each(f func(*ISA)) {
	f(&ISA{Suffix: "AVX512", Bytes: 64})
	f(&ISA{Suffix: "AVX2", Bytes: 32})
}

// Wide reports whether v is AVX-512.
func (v *ISA) Wide() bool { return v.Bytes == 64 }

// Lanes returns the number of float32s in a vector.
func (v *ISA) Lanes() int { return v.Bytes / 4 }

// New returns a vector register.
func (v *ISA) New() Vec {
	if v.Wide() {
		return ZMM()
	}
	return YMM()
}

// Zero returns a vector of zeros.
func (v *ISA) Zero() Vec {
	r := v.New()
	if v.Wide() {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

// constants are the numbers in the data section so far, each repeated to fill an
// AVX2 vector.
var constants []uint32

// constant returns the place of a number in memory.
func constant(bits uint32) Mem {
	i := slices.Index(constants, bits)
	name := fmt.Sprintf("const%08x", bits)
	if i < 0 {
		constants = append(constants, bits)
		m := GLOBL(name, 8|16) // RODATA, NOPTR
		for l := 0; l < 8; l++ {
			DATA(4*l, U32(bits))
		}
		return m
	}
	return NewDataAddr(Symbol{Name: name, Static: true}, 0)
}

// preloaded bounds the registers spent on constants.
const preloaded = 18

// Preload makes constants ready for use in a loop that follows: in registers, as far
// as AVX-512 has enough. On AVX2 they are read from memory where they are used.
func (v *ISA) Preload(values ...float32) {
	v.consts = map[uint32]reg.VecVirtual{}
	for _, x := range values {
		bits := math.Float32bits(x)
		if m := constant(bits); v.Wide() && v.consts[bits] == nil && len(v.consts) < preloaded {
			r := v.New()
			VBROADCASTSS(m, r)
			v.consts[bits] = r
		}
	}
}

// Const returns an operand that holds x in all lanes.
func (v *ISA) Const(x float32) Op {
	return v.Bits(math.Float32bits(x))
}

// Bits is Const for a bit pattern.
func (v *ISA) Bits(bits uint32) Op {
	if r, ok := v.consts[bits]; ok {
		return r
	}
	m := constant(bits)
	if !v.Wide() {
		return m
	}
	r := v.New()
	VBROADCASTSS(m, r)
	return r
}

// Reg returns a register that holds x in all lanes, free to be overwritten.
func (v *ISA) Reg(x float32) Vec {
	r := v.New()
	VMOVUPS(v.Const(x), r)
	return r
}

// FMA returns a·b + c for a register a and operands b and c.
func (v *ISA) FMA(a Vec, b, c Op) Vec {
	r := v.New()
	VMOVUPS(c, r)
	VFMADD231PS(b, a, r)
	return r
}

// Horner returns the polynomial with the given coefficients, highest power first.
func (v *ISA) Horner(x Vec, coefficients ...float32) Vec {
	p := v.Reg(coefficients[0])
	for _, c := range coefficients[1:] {
		VFMADD213PS(v.Const(c), x, p) // p = x·p + c
	}
	return p
}

// And, AndNot, Or and Xor are bitwise; AndNot is ¬a & b.
func (v *ISA) And(a Op, b Vec) Vec {
	r := v.New()
	if v.Wide() {
		VPANDD(a, b, r)
	} else {
		VPAND(a, b, r)
	}
	return r
}

// Or returns a | b.
func (v *ISA) Or(a Op, b Vec) Vec {
	r := v.New()
	if v.Wide() {
		VPORD(a, b, r)
	} else {
		VPOR(a, b, r)
	}
	return r
}

// Xor returns a ^ b.
func (v *ISA) Xor(a Op, b Vec) Vec {
	r := v.New()
	if v.Wide() {
		VPXORD(a, b, r)
	} else {
		VPXOR(a, b, r)
	}
	return r
}

// Abs clears the sign.
func (v *ISA) Abs(x Vec) Vec { return v.And(v.Bits(0x7fffffff), x) }

// Predicates of Select.
const (
	Less    = 0x11 // a < b, false for NaN
	Greater = 0x1e // a > b, false for NaN
)

// Select returns yes in the lanes where a pred b holds, and no in the others.
func (v *ISA) Select(a Vec, pred uint8, b Op, yes, no Vec) Vec {
	r := v.New()
	if v.Wide() {
		k := K()
		VCMPPS(U8(pred), b, a, k)
		VBLENDMPS(yes, no, k, r)
		return r
	}
	m := v.New()
	VCMPPS(U8(pred), b, a, m)
	VBLENDVPS(m, yes, no, r)
	return r
}

// The constants of the exponential. Rounder added to a number of moderate size
// leaves it rounded to an integer, in the low bits of the sum.
const (
	rounder = 3 << 22
	log2E   = 1.4426950408889634
	ln2High = 0.693359375
	ln2Low  = -2.12194440e-4
)

var expPoly = []float32{0.008262657560408115, 0.04189855605363846, 0.16668173670768738, 0.49999144673347473, 0.999999463558197, 1}

// ExpConsts lists the constants of Exp, for Preload.
func ExpConsts() []float32 { return append(slices.Clone(expPoly), log2E, rounder, ln2High, ln2Low) }

// Exp returns e^x for x between -160 and 160, or NaN. The error is below 2 ulp.
// Results that are not normal numbers are rounded once more, as they must be.
//
// x = n·ln 2 + r with an integer n; a polynomial whose largest error in units of the
// last place is as small as can be gives e^r, and the result is scaled by 2^n.
func (v *ISA) Exp(x Vec) Vec {
	t := v.FMA(x, v.Const(log2E), v.Const(rounder))
	n := v.New()
	VSUBPS(v.Const(rounder), t, n)
	r := v.New()
	VMOVUPS(x, r)
	VFNMADD231PS(v.Const(ln2High), n, r)
	VFNMADD231PS(v.Const(ln2Low), n, r)
	return v.scale(v.Horner(r, expPoly...), n, t)
}

var exp2Poly = []float32{0.0013264587614685297, 0.009671619161963463, 0.0555073507130146, 0.24022240936756134, 0.6931470036506653, 1}

// Exp2Consts lists the constants of Exp2, for Preload.
func Exp2Consts() []float32 { return append(slices.Clone(exp2Poly), rounder) }

// Exp2 returns 2^x for x between -230 and 230, or NaN.
func (v *ISA) Exp2(x Vec) Vec {
	t, n, r := v.New(), v.New(), v.New()
	VADDPS(v.Const(rounder), x, t)
	VSUBPS(v.Const(rounder), t, n)
	VSUBPS(n, x, r)
	return v.scale(v.Horner(r, exp2Poly...), n, t)
}

// scale returns p·2^n, with n an integer and t = n + rounder.
func (v *ISA) scale(p, n, t Vec) Vec {
	r := v.New()
	if v.Wide() {
		VSCALEFPS(n, p, r)
		return r
	}
	// In two steps, since 2^n itself may not be a normal number.
	half, rest := v.New(), v.New()
	VPSUBD(v.Const(rounder), t, t)
	VPSRAD(U8(1), t, half)
	VPSUBD(half, t, rest)
	for _, e := range []Vec{half, rest} {
		VPSLLD(U8(23), e, e)
		VPADDD(v.Const(1), e, e)
	}
	VMULPS(half, p, r)
	VMULPS(rest, r, r)
	return r
}

// Clamp returns x within lo and hi; NaN stays NaN.
func (v *ISA) Clamp(x Vec, lo, hi float32) Vec {
	r := v.New()
	VMOVUPS(v.Const(lo), r)
	VMAXPS(x, r, r) // the second source, here x, if one is NaN
	h := v.Reg(hi)
	VMINPS(r, h, r)
	return r
}

// Map emits a function that computes dst from the inputs (one to three of them,
// called x, y, z), element by element.
func (v *ISA) Map(name string, inputs int, consts []float32, doc string, body func(in []Vec) Vec) {
	v.mapping(name, inputs, false, consts, doc, func(in []Vec, _ Vec) Vec { return body(in) })
}

// MapScalar is Map with one more argument, the number s, the same for all elements.
func (v *ISA) MapScalar(name string, inputs int, consts []float32, doc string, body func(in []Vec, s Vec) Vec) {
	v.mapping(name, inputs, true, consts, doc, body)
}

func (v *ISA) mapping(name string, inputs int, scalar bool, consts []float32, doc string, body func(in []Vec, s Vec) Vec) {
	params := []string{"x", "y", "z"}[:inputs]
	signature := "func(n int, dst"
	for _, p := range params {
		signature += ", " + p
	}
	signature += " *float32"
	if scalar {
		signature += ", s float32"
	}
	v.function(name, signature+")", doc)
	var s Vec
	if scalar {
		s = v.New()
		address, err := Param("s").Resolve()
		if err != nil {
			panic(err)
		}
		VBROADCASTSS(address.Addr, s)
	}
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	src := make([]reg.Register, inputs)
	for i, p := range params {
		src[i] = Load(Param(p), GP64())
	}
	v.Preload(consts...)
	v.Loop(n, append(src, dst), func(tail reg.Register) {
		in := make([]Vec, inputs)
		for i := range in {
			in[i] = v.Load(src[i], tail)
		}
		v.Store(body(in, s), dst, tail)
	})
	VZEROUPPER()
	RET()
}

func (v *ISA) function(name, signature, doc string) {
	TEXT(name+v.Suffix, 4, signature) // NOSPLIT
	Pragma("noescape")
	Doc(name + v.Suffix + " " + doc)
}

// Load and Store move a vector, or the part of one that tail selects.
func (v *ISA) Load(p, tail reg.Register) Vec {
	r := v.New()
	switch {
	case tail == nil:
		VMOVUPS(Mem{Base: p}, r)
	case v.Wide():
		VMOVUPS_Z(Mem{Base: p}, tail, r)
	default:
		VMASKMOVPS(Mem{Base: p}, tail, r)
	}
	return r
}

func (v *ISA) Store(x Vec, p, tail reg.Register) {
	switch {
	case tail == nil:
		VMOVUPS(x, Mem{Base: p})
	case v.Wide():
		VMOVUPS(x, tail, Mem{Base: p})
	default:
		VMASKMOVPS(x, tail, Mem{Base: p})
	}
}

// Loop emits body for whole vectors and, under a mask, for the rest.
func (v *ISA) Loop(n reg.Register, pointers []reg.Register, body func(tail reg.Register)) {
	whole := GP64()
	MOVQ(n, whole)
	shift := uint8(3)
	if v.Wide() {
		shift = 4
	}
	SHRQ(U8(shift), whole)
	JZ(LabelRef("tail"))
	Label("vector")
	body(nil)
	for _, p := range pointers {
		ADDQ(U8(v.Bytes), p)
	}
	DECQ(whole)
	JNZ(LabelRef("vector"))
	Label("tail")
	ANDQ(U8(v.Lanes()-1), n)
	JZ(LabelRef("done"))
	body(v.TailMask(n))
	Label("done")
}

// TailMask returns a mask of the first n lanes, n being less than a vector. On
// AVX-512 it needs the register CX.
func (v *ISA) TailMask(n reg.Register) reg.Register {
	if !v.Wide() {
		table, m := GP64(), YMM()
		LEAQ(tailTable(), table)
		NEGQ(n)
		VMOVUPS(Mem{Base: table, Index: n, Scale: 4, Disp: 32}, m)
		return m
	}
	bits, k := GP32(), K()
	MOVL(U32(1), bits)
	MOVQ(n, reg.RCX)
	SHLL(reg.CL, bits)
	SUBL(U8(1), bits)
	KMOVW(bits, k)
	return k
}

var haveTailTable bool

// tailTable is eight ones and eight zeros; a window of eight has as many ones in
// front as it begins before the zeros.
func tailTable() Mem {
	const name = "tailTable"
	if haveTailTable {
		return NewDataAddr(Symbol{Name: name, Static: true}, 0)
	}
	haveTailTable = true
	m := GLOBL(name, 8|16)
	for i := 0; i < 16; i++ {
		bits := uint32(0)
		if i < 8 {
			bits = 0xffffffff
		}
		DATA(4*i, U32(bits))
	}
	return m
}

// Reduce emits a function of one or two inputs that collects body(in, accumulator) in
// lanes·4 partial results and stores them for Go to put together: func(n int, x[, y]
// *float32, out *[64]float32). n is a multiple of 4 vectors.
func (v *ISA) Reduce(name string, inputs int, doc string, start func() Vec, body func(in []Vec, acc Vec)) {
	v.reduce(name, inputs, doc, "out *float32", start, body, func(out reg.Register, acc []Vec) {
		for i, a := range acc {
			VMOVUPS(a, Mem{Base: out, Disp: i * v.Bytes})
		}
	})
}

// Sum is Reduce for sums: the partial results are added in float64, as many as fit into a
// vector side by side, and stored for Go to add: func(n int, x[, y] *float32, out
// *[8]float64).
func (v *ISA) Sum(name string, inputs int, doc string, body func(in []Vec, acc Vec)) {
	v.reduce(name, inputs, doc, "out *float64", v.Zero, body, func(out reg.Register, acc []Vec) {
		var wide []Vec
		for _, a := range acc {
			low, high := v.New(), v.New()
			if v.Wide() {
				VCVTPS2PD(a.AsY(), low)
				VEXTRACTF64X4(U8(1), a, a.AsY())
				VCVTPS2PD(a.AsY(), high)
			} else {
				VCVTPS2PD(a.AsX(), low)
				VEXTRACTF128(U8(1), a, a.AsX())
				VCVTPS2PD(a.AsX(), high)
			}
			VADDPD(high, low, low)
			wide = append(wide, low)
		}
		VADDPD(wide[1], wide[0], wide[0])
		VADDPD(wide[3], wide[2], wide[2])
		VADDPD(wide[2], wide[0], wide[0])
		VMOVUPD(wide[0], Mem{Base: out})
	})
}

func (v *ISA) reduce(name string, inputs int, doc, result string, start func() Vec, body func(in []Vec, acc Vec), store func(out reg.Register, acc []Vec)) {
	params := []string{"x", "y"}[:inputs]
	signature := "func(n int"
	for _, p := range params {
		signature += ", " + p
	}
	v.function(name, signature+" *float32, "+result+")", doc)
	n := Load(Param("n"), GP64())
	src := make([]reg.Register, inputs)
	for i, p := range params {
		src[i] = Load(Param(p), GP64())
	}
	acc := make([]Vec, 4)
	for i := range acc {
		acc[i] = start()
	}
	TESTQ(n, n)
	JZ(LabelRef("done"))
	Label("loop")
	for i := range acc {
		in := make([]Vec, inputs)
		for j := range in {
			in[j] = v.New()
			VMOVUPS(Mem{Base: src[j], Disp: i * v.Bytes}, in[j])
		}
		body(in, acc[i])
	}
	for _, p := range src {
		ADDQ(I32(int32(4*v.Bytes)), p)
	}
	SUBQ(U8(4*v.Lanes()), n)
	JNZ(LabelRef("loop"))
	Label("done")
	out := Load(Param("out"), GP64())
	store(out, acc)
	VZEROUPPER()
	RET()
}
