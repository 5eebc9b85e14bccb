// Command thin generates the matrix product with eight columns for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/rows"
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
	src := rows.New(a, lda, m)
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
			VBROADCASTSS(src.At(i, 4*u), x)
			VFMADD231PS(x, w, acc[i])
		}
	}
	advance := func(steps int) {
		src.Advance(4 * steps)
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
