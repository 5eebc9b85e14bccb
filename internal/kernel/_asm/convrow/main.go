// Command convrow generates the sum of one position of a long convolution for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

const blockBytes = 64 // of 16 channels at one position

func main() {
	ConstraintExpr("!purego")
	simd.Each(convRow)
	Generate()
}

// convRow emits the sum for any number of blocks of 16 channels, four at a time as long
// as there are so many: their sums are independent, which hides the time of an addition.
func convRow(v *simd.ISA) {
	name := "convRow" + v.Suffix
	TEXT(name, NOSPLIT, "func(dst, add, x *float32, ldx int, h *float32, ldh, n, blocks int)")
	Pragma("noescape")
	Doc(name + " is convRowGeneric for whole blocks of 16 channels and n > 0. h points to the last row of taps.")
	ldx, ldh := args.LoadBytes("ldx"), args.LoadBytes("ldh")
	dst, add, x, h := args.Load("dst"), args.Load("add"), args.Load("x"), args.Load("h")
	blocks := args.Load("blocks")
	for _, group := range []int{4, 1} {
		label := fmt.Sprintf("blocks%d", group)
		Label(label)
		CMPQ(blocks, U8(group))
		JLT(LabelRef(label + "done"))
		sums(v, label, dst, add, x, ldx, h, ldh, group*blockBytes/v.Bytes)
		for _, p := range []reg.Register{dst, add, x, h} {
			ADDQ(I32(int32(group*blockBytes)), p)
		}
		SUBQ(U8(group), blocks)
		JMP(LabelRef(label))
		Label(label + "done")
	}
	VZEROUPPER()
	RET()
}

func sums(v *simd.ISA, label string, dst, add, x, ldx, h, ldh reg.Register, vecs int) {
	acc := make([]simd.Vec, vecs)
	for i := range acc {
		acc[i] = v.New()
		VMOVUPS(Mem{Base: add, Disp: i * v.Bytes}, acc[i])
	}
	px, ph, n := GP64(), GP64(), args.Load("n")
	MOVQ(x, px)
	MOVQ(h, ph)
	Label(label + "row")
	for i := range acc {
		r := v.New()
		VMOVUPS(Mem{Base: px, Disp: i * v.Bytes}, r)
		VFMADD231PS(Mem{Base: ph, Disp: i * v.Bytes}, r, acc[i])
	}
	ADDQ(ldx, px)
	SUBQ(ldh, ph)
	DECQ(n)
	JNZ(LabelRef(label + "row"))
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: dst, Disp: i * v.Bytes})
	}
}
