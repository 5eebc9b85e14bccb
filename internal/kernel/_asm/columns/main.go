// Command columns generates the sums of columns for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		function(v, "columnSums", "func(sum, x *float32, ldx, rows, n int)", false)
		function(v, "columnDots", "func(sum, x *float32, ldx int, y *float32, ldy, rows, n int)", true)
	})
	Generate()
}

// columns are what a function goes through from left to right.
type columns struct {
	*simd.ISA
	n, rows  reg.Register
	sum      reg.Register
	in       []reg.Register // x, and y if there are products
	distance []reg.Register // in bytes, between rows
}

// function emits the sums of the columns of x, or of its products with y: those of four
// vectors at a time, then of one, then of a part of one.
func function(v *simd.ISA, name, signature string, dots bool) {
	TEXT(name+v.Suffix, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + v.Suffix + " is " + name + "Generic for rows > 0.")
	c := &columns{ISA: v, n: args.Load("n"), rows: args.Load("rows"), sum: args.Load("sum")}
	c.in, c.distance = []reg.Register{args.Load("x")}, []reg.Register{args.LoadBytes("ldx")}
	if dots {
		c.in, c.distance = append(c.in, args.Load("y")), append(c.distance, args.LoadBytes("ldy"))
	}
	for _, vectors := range []int{4, 1} {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, vectors) }
		Label(label("columns"))
		CMPQ(c.n, U8(vectors*v.Lanes()))
		JLT(LabelRef(label("done")))
		c.add(label("row"), vectors, nil)
		for _, p := range append(c.in, c.sum) {
			ADDQ(I32(int32(vectors*v.Bytes)), p)
		}
		SUBQ(U8(vectors*v.Lanes()), c.n)
		JMP(LabelRef(label("columns")))
		Label(label("done"))
	}
	TESTQ(c.n, c.n)
	JZ(LabelRef("end"))
	c.add("rowPart", 1, v.TailMask(c.n))
	Label("end")
	VZEROUPPER()
	RET()
}

// add emits the sums of some vectors of columns.
func (c *columns) add(label string, vectors int, tail reg.Register) {
	acc := make([]simd.Vec, vectors)
	for i := range acc {
		acc[i] = c.Zero()
	}
	var at []reg.Register
	for _, p := range c.in {
		r := GP64()
		MOVQ(p, r)
		at = append(at, r)
	}
	left := GP64()
	MOVQ(c.rows, left)
	Label(label)
	for i, a := range acc {
		x := c.load(at[0], i, tail)
		if len(at) == 1 {
			VADDPS(x, a, a)
		} else {
			VFMADD231PS(c.load(at[1], i, tail), x, a)
		}
	}
	for i, r := range at {
		ADDQ(c.distance[i], r)
	}
	DECQ(left)
	JNZ(LabelRef(label))
	for i, a := range acc {
		VADDPS(c.load(c.sum, i, tail), a, a)
		switch p := (Mem{Base: c.sum, Disp: i * c.Bytes}); {
		case tail == nil:
			VMOVUPS(a, p)
		case c.Wide():
			VMOVUPS(a, tail, p)
		default:
			VMASKMOVPS(a, tail, p)
		}
	}
}

// load returns vector i behind p.
func (c *columns) load(p reg.Register, i int, tail reg.Register) simd.Vec {
	if tail != nil {
		return c.Load(p, tail)
	}
	x := c.New()
	VMOVUPS(Mem{Base: p, Disp: i * c.Bytes}, x)
	return x
}
