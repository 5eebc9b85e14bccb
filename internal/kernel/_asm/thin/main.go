// Command thin generates the matrix product with eight columns for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	width  = 32 // bytes of a row of b
	unroll = 4
	line   = 64
)

func main() {
	ConstraintExpr("!purego")
	for m := 1; m <= 12; m++ {
		tile(m)
	}
	Generate()
}

// rows addresses the rows of a matrix with few registers: a base for every fifth row,
// and the others by index.
type rows struct {
	bases   []reg.GPVirtual
	ld, ld3 reg.GPVirtual
}

func newRows(base, ld reg.Register, m int) *rows {
	r := &rows{ld: ld.(reg.GPVirtual)}
	if m > 3 {
		r.ld3 = GP64()
		LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, r.ld3)
	}
	for i := 0; i < m; i += 5 {
		p := GP64()
		if i == 0 {
			MOVQ(base, p)
		} else {
			LEAQ(Mem{Base: r.bases[len(r.bases)-1], Index: r.ld, Scale: 4}, p)
			ADDQ(r.ld, p)
		}
		r.bases = append(r.bases, p)
	}
	return r
}

func (r *rows) at(i, disp int) Mem {
	m := Mem{Base: r.bases[i/5], Disp: disp}
	switch i % 5 {
	case 1:
		m.Index, m.Scale = r.ld, 1
	case 2:
		m.Index, m.Scale = r.ld, 2
	case 3:
		m.Index, m.Scale = r.ld3, 1
	case 4:
		m.Index, m.Scale = r.ld, 4
	}
	return m
}

// tile computes m rows. The rows of a are read once and then not again, so that what
// limits the speed is how fast they come: those of the next tile, which mostly follow,
// are fetched ahead.
func tile(m int) {
	name := fmt.Sprintf("gemmThin%dAVX2", m)
	TEXT(name, NOSPLIT, "func(k int, a *float32, lda int, b, c *float32, ldc int, add bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s computes c[i*ldc+j] (+)= Σ a[i*lda+p]·b[p*8+j] for i < %d and j < 8.", name, m))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(U8(2), lda)
	src := newRows(a, lda, m)
	next := GP64()
	IMUL3Q(U8(m), lda, next)
	ADDQ(a, next)
	acc := make([]reg.VecVirtual, m)
	for i := range acc {
		acc[i] = YMM()
		VXORPS(acc[i], acc[i], acc[i])
	}
	step := func(u int) {
		w := YMM()
		VMOVUPS(Mem{Base: b, Disp: u * width}, w)
		for i := range acc {
			x := YMM()
			VBROADCASTSS(src.at(i, 4*u), x)
			VFMADD231PS(x, w, acc[i])
		}
	}
	advance := func(steps int) {
		for _, p := range src.bases {
			ADDQ(I32(int32(4*steps)), p)
		}
		ADDQ(I32(int32(width*steps)), b)
	}
	blocks := GP64()
	MOVQ(k, blocks)
	SHRQ(U8(2), blocks)
	JZ(LabelRef("single"))
	Label("four")
	for i := 0; i < m; i += 4 {
		PREFETCHT0(Mem{Base: next, Disp: i / 4 * line})
	}
	ADDQ(I32(int32(4*unroll*m)), next)
	for u := 0; u < unroll; u++ {
		step(u)
	}
	advance(unroll)
	DECQ(blocks)
	JNZ(LabelRef("four"))
	Label("single")
	ANDQ(U8(unroll-1), k)
	JZ(LabelRef("done"))
	Label("one")
	step(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("one"))
	Label("done")
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JZ(LabelRef("store"))
	p := GP64()
	MOVQ(c, p)
	for i := range acc {
		VADDPS(Mem{Base: p}, acc[i], acc[i])
		ADDQ(ldc, p)
	}
	Label("store")
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: c})
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}
