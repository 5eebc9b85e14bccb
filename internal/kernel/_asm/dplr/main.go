// Command dplr generates the filter whose matrix is diagonal plus low rank for amd64.
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
	simd.Each(emit)
	Generate()
}

// emit takes a block through positions, all of it at a time or, on AVX2, first one
// half and then the other.
func emit(v *simd.ISA) {
	name := "dplrSteps" + v.Suffix
	TEXT(name, NOSPLIT, "func(n, states, rank int, y, u, rows, h, sigma *float32)")
	Pragma("noescape")
	Doc(name + " is dplrStepsGeneric.")
	mxcsr := simd.FlushDenormals()
	for at := 0; at < rowBytes; at += v.Bytes {
		(&part{ISA: v, at: at}).emit()
	}
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}

// part is the computation for the channels from byte at of a row on.
type part struct {
	*simd.ISA
	at int

	rows, h, sigma reg.Register // where the walk through them has come to
}

func (p *part) label(s string) string { return s + string(rune('a'+p.at/p.Bytes)) }

// row returns row i after a pointer.
func (p *part) row(base reg.Register, i int) Mem { return Mem{Base: base, Disp: i*rowBytes + p.at} }

// skip moves a pointer on by n rows.
func skip(base reg.Register, n int) { ADDQ(I32(int32(n*rowBytes)), base) }

func (p *part) emit() {
	n, y, u := args.Load("n"), args.Load("y"), args.Load("u")
	Label(p.label("position"))
	p.rows, p.sigma = args.Load("rows"), args.Load("sigma")
	p.sums()
	p.states(u, y)
	skip(y, 1)
	skip(u, 1)
	DECQ(n)
	JNZ(LabelRef(p.label("position")))
}

// sums computes σ of each rank, two states at a time.
func (p *part) sums() {
	rank := args.Load("rank")
	TESTQ(rank, rank)
	JZ(LabelRef(p.label("summed")))
	Label(p.label("rank"))
	p.h = args.Load("h")
	pairs := args.Load("states")
	SHRQ(U8(1), pairs)
	sum := []simd.Vec{p.Zero(), p.Zero(), p.Zero(), p.Zero()}
	Label(p.label("sum"))
	for i, s := range sum {
		w := p.New()
		VMOVUPS(p.row(p.rows, i), w)
		VFMADD231PS(p.row(p.h, i), w, s)
	}
	skip(p.rows, len(sum))
	skip(p.h, len(sum))
	DECQ(pairs)
	JNZ(LabelRef(p.label("sum")))
	VADDPS(sum[1], sum[0], sum[0])
	VADDPS(sum[3], sum[2], sum[2])
	VADDPS(sum[2], sum[0], sum[0])
	VMOVUPS(sum[0], p.row(p.sigma, 0))
	skip(p.sigma, 1)
	DECQ(rank)
	JNZ(LabelRef(p.label("rank")))
	Label(p.label("summed"))
}

// states advances all states, and adds to y what they make of u.
func (p *part) states(u, y reg.Register) {
	states := args.Load("states")
	p.h = args.Load("h")
	in, out, out2 := p.New(), p.New(), p.Zero()
	VMOVUPS(p.row(u, 0), in)
	VMOVUPS(p.row(y, 0), out)
	Label(p.label("state"))
	re, im, r, m := p.New(), p.New(), p.New(), p.New()
	VMOVUPS(p.row(p.h, 0), re)
	VMOVUPS(p.row(p.h, 1), im)
	VMULPS(p.row(p.rows, 2), in, r)
	VMULPS(p.row(p.rows, 3), in, m)
	VFMADD231PS(p.row(p.rows, 0), re, r)
	VFMADD231PS(p.row(p.rows, 0), im, m)
	VFNMADD231PS(p.row(p.rows, 1), im, r)
	VFMADD231PS(p.row(p.rows, 1), re, m)
	p.corrections(r, m)
	VADDPS(r, re, re)
	VADDPS(m, im, im)
	VMOVUPS(re, p.row(p.h, 0))
	VMOVUPS(im, p.row(p.h, 1))
	VFMADD231PS(p.row(p.rows, 4), re, out)
	VFMADD231PS(p.row(p.rows, 5), im, out2)
	skip(p.h, 2)
	step := GP64()
	MOVQ(args.At("rank"), step)
	SHLQ(U8(7), step) // two rows for each rank
	LEAQ(Mem{Base: p.rows, Index: step, Scale: 1, Disp: 6 * rowBytes}, p.rows)
	DECQ(states)
	JNZ(LabelRef(p.label("state")))
	VADDPS(out2, out, out)
	VMOVUPS(out, p.row(y, 0))
}

// corrections subtracts p·σ of all ranks.
func (p *part) corrections(r, m simd.Vec) {
	rank, at, sigma := args.Load("rank"), GP64(), args.Load("sigma")
	TESTQ(rank, rank)
	JZ(LabelRef(p.label("corrected")))
	MOVQ(p.rows, at)
	Label(p.label("correction"))
	s := p.New()
	VMOVUPS(p.row(sigma, 0), s)
	VFNMADD231PS(p.row(at, 6), s, r)
	VFNMADD231PS(p.row(at, 7), s, m)
	skip(at, 2)
	skip(sigma, 1)
	DECQ(rank)
	JNZ(LabelRef(p.label("correction")))
	Label(p.label("corrected"))
}
