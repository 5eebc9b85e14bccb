// Command transpose generates the transposition of matrices for amd64.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!purego")
	blocks()
	Generate()
}

// rows addresses eight rows of a matrix.
type rows struct{ first, fifth, ld, ld3 reg.GPVirtual }

func newRows(base, ld string) *rows {
	r := &rows{first: GP64(), fifth: GP64(), ld: GP64(), ld3: GP64()}
	Load(Param(base), r.first)
	Load(Param(ld), r.ld)
	SHLQ(U8(2), r.ld)
	LEAQ(Mem{Base: r.first, Index: r.ld, Scale: 4}, r.fifth)
	LEAQ(Mem{Base: r.ld, Index: r.ld, Scale: 2}, r.ld3)
	return r
}

func (r *rows) at(i, disp int) Mem {
	m := Mem{Base: r.first, Disp: disp}
	if i >= 4 {
		m.Base = r.fifth
	}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = r.ld, 1
	case 2:
		m.Index, m.Scale = r.ld, 2
	case 3:
		m.Index, m.Scale = r.ld3, 1
	}
	return m
}

func (r *rows) advance(bytes reg.Register) {
	ADDQ(bytes, r.first)
	ADDQ(bytes, r.fifth)
}

// blocks transposes blocks of 8×8. The halves of rows 0 to 3 and of rows 4 to 7 are
// loaded into the two lanes of a vector, so that what is left are transpositions of 4×4
// within lanes.
func blocks() {
	TEXT("transposeBlocksAVX2", NOSPLIT, "func(n int, dst *float32, ldd, dstStep int, src *float32, lds, srcStep int)")
	Pragma("noescape")
	Doc("transposeBlocksAVX2 computes dst[j*ldd+i] = src[i*lds+j] for i, j < 8, n times, and moves on by dstStep and srcStep elements after each.")
	n := Load(Param("n"), GP64())
	dst, src := newRows("dst", "ldd"), newRows("src", "lds")
	dstStep, srcStep := Load(Param("dstStep"), GP64()), Load(Param("srcStep"), GP64())
	SHLQ(U8(2), dstStep)
	SHLQ(U8(2), srcStep)
	Label("loop")
	for half := 0; half < 2; half++ {
		var x, t [4]reg.VecVirtual
		for i := range x {
			x[i], t[i] = YMM(), YMM()
			VMOVUPS(src.at(i, 16*half), x[i].AsX())
			VINSERTF128(U8(1), src.at(i+4, 16*half), x[i], x[i])
		}
		VUNPCKLPS(x[1], x[0], t[0])
		VUNPCKHPS(x[1], x[0], t[1])
		VUNPCKLPS(x[3], x[2], t[2])
		VUNPCKHPS(x[3], x[2], t[3])
		for i := range x {
			y := YMM()
			VSHUFPS(U8(0x44+0xaa*(i%2)), t[i/2+2], t[i/2], y)
			VMOVUPS(y, dst.at(4*half+i, 0))
		}
	}
	dst.advance(dstStep)
	src.advance(srcStep)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
