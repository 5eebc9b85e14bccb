// Command conv generates the short convolution for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

const (
	blockBytes = 64       // of 16 channels at one position
	inputs     = 128 + 32 // that a block needs at most: those before, and the positions
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		for taps := 2; taps <= 4; taps++ {
			few(v, taps)
		}
		many(v)
	})
	Generate()
}

// block holds the pointers of the block that is computed.
type block struct {
	v                     *simd.ISA
	dst, src, ldd, lds    reg.Register
	w, bias, state, e, e3 reg.Register
}

const signature = "func(l, blocks int, dst *float32, ldd int, src *float32, lds int, w, bias *float32, biasStep int, state *float32, e"

func begin(v *simd.ISA, taps int) *block {
	b := &block{v: v}
	b.ldd, b.lds, b.e = args.LoadBytes("ldd"), args.LoadBytes("lds"), args.LoadBytes("e")
	if taps > 3 {
		b.e3 = GP64()
		LEAQ(Mem{Base: b.e, Index: b.e, Scale: 2}, b.e3)
	}
	SHLQ(U8(2), args.At("biasStep"))
	Label("block")
	b.dst, b.src, b.w, b.bias, b.state = args.Load("dst"), args.Load("src"), args.Load("w"), args.Load("bias"), args.Load("state")
	return b
}

func (b *block) end() {
	for _, p := range []string{"dst", "src", "w", "state"} {
		ADDQ(U8(blockBytes), args.At(p))
	}
	step := GP64()
	MOVQ(args.At("biasStep"), step)
	ADDQ(step, args.At("bias"))
	DECQ(args.At("blocks"))
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// row returns vector i of row n of a matrix of e columns.
func (b *block) row(p reg.Register, n, i int) Mem {
	m := Mem{Base: p, Disp: i * b.v.Bytes}
	switch n {
	case 1:
		m.Index, m.Scale = b.e, 1
	case 2:
		m.Index, m.Scale = b.e, 2
	case 3:
		m.Index, m.Scale = b.e3, 1
	}
	return m
}

// few emits the convolution with a given number of taps. The inputs before the
// position stay in registers.
func few(v *simd.ISA, taps int) {
	name := fmt.Sprintf("convTaps%d%s", taps, v.Suffix)
	TEXT(name, NOSPLIT, signature+" int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is convRowsGeneric for %d taps.", name, taps))
	b := begin(v, taps)
	vecs := blockBytes / v.Bytes
	window := make([][]simd.Vec, vecs)
	weights := make([][]Op, vecs)
	for i := range window {
		for j := 0; j < taps; j++ {
			w := Op(b.row(b.w, j, i))
			if v.Wide() {
				r := v.New()
				VMOVUPS(w, r)
				w = r
			}
			weights[i] = append(weights[i], w)
			r := v.New()
			if j < taps-1 {
				VMOVUPS(b.row(b.state, j, i), r)
			}
			window[i] = append(window[i], r)
		}
	}
	t := args.Load("l")
	Label("position")
	for i, x := range window {
		sum := v.New()
		VMOVUPS(Mem{Base: b.src, Disp: i * v.Bytes}, x[taps-1])
		VMOVUPS(Mem{Base: b.bias, Disp: i * v.Bytes}, sum)
		for j, w := range weights[i] {
			VFMADD231PS(w, x[j], sum)
		}
		VMOVUPS(sum, Mem{Base: b.dst, Disp: i * v.Bytes})
		for j := 1; j < taps; j++ {
			VMOVAPS(x[j], x[j-1])
		}
	}
	ADDQ(b.lds, b.src)
	ADDQ(b.ldd, b.dst)
	DECQ(t)
	JNZ(LabelRef("position"))
	for i, x := range window {
		for j := 0; j < taps-1; j++ {
			VMOVUPS(x[j], b.row(b.state, j, i))
		}
	}
	b.end()
}

// many emits the convolution with any number of taps up to 129. It copies the inputs
// it needs, since the results may replace them.
func many(v *simd.ISA) {
	name := "convTaps" + v.Suffix
	TEXT(name, 0, signature+", taps int)")
	Pragma("noescape")
	Doc(name + " is convRowsGeneric for up to 129 taps and 32 positions.")
	local := AllocLocal(inputs * blockBytes)
	b := begin(v, 0)
	room, before, l, tile := GP64(), GP64(), args.Load("l"), GP64()
	LEAQ(local, room)
	MOVQ(args.At("taps"), before)
	DECQ(before)
	MOVQ(room, tile)
	tileStep := GP64()
	MOVQ(U32(blockBytes), tileStep)
	b.copyRows("old", tile, tileStep, b.state, b.e, before)
	b.copyRows("input", tile, tileStep, b.src, b.lds, l)

	MOVQ(room, tile)
	rows := GP64()
	MOVQ(l, rows)
	Label("rows")
	CMPQ(rows, U8(4))
	JLT(LabelRef("rest"))
	b.sums("four", tile, 4)
	SUBQ(U8(4), rows)
	JMP(LabelRef("rows"))
	Label("rest")
	TESTQ(rows, rows)
	JZ(LabelRef("save"))
	b.sums("one", tile, 1)
	DECQ(rows)
	JMP(LabelRef("rest"))

	Label("save")
	args.LoadTo("state", b.state)
	b.copyRows("new", b.state, b.e, tile, tileStep, before)
	b.end()
}

// copyRows copies n rows of a block and moves both pointers.
func (b *block) copyRows(label string, dst, ldd, src, lds, n reg.Register) {
	i := GP64()
	MOVQ(n, i)
	TESTQ(i, i)
	JZ(LabelRef(label + "Done"))
	Label(label)
	for at := 0; at < blockBytes; at += b.v.Bytes {
		r := b.v.New()
		VMOVUPS(Mem{Base: src, Disp: at}, r)
		VMOVUPS(r, Mem{Base: dst, Disp: at})
	}
	ADDQ(lds, src)
	ADDQ(ldd, dst)
	DECQ(i)
	JNZ(LabelRef(label))
	Label(label + "Done")
}

// sums computes n rows of the result and moves tile and dst past them.
func (b *block) sums(label string, tile reg.Register, n int) {
	vecs := blockBytes / b.v.Bytes
	acc := make([]simd.Vec, n*vecs)
	for i := range acc {
		acc[i] = b.v.New()
		VMOVUPS(Mem{Base: b.bias, Disp: i % vecs * b.v.Bytes}, acc[i])
	}
	w, x, j := GP64(), GP64(), GP64()
	MOVQ(b.w, w)
	MOVQ(tile, x)
	MOVQ(args.At("taps"), j)
	Label(label)
	for i := 0; i < vecs; i++ {
		r := b.v.New()
		VMOVUPS(Mem{Base: w, Disp: i * b.v.Bytes}, r)
		for t := 0; t < n; t++ {
			VFMADD231PS(Mem{Base: x, Disp: t*blockBytes + i*b.v.Bytes}, r, acc[t*vecs+i])
		}
	}
	ADDQ(b.e, w)
	ADDQ(U8(blockBytes), x)
	DECQ(j)
	JNZ(LabelRef(label))
	for t := 0; t < n; t++ {
		for i := 0; i < vecs; i++ {
			VMOVUPS(acc[t*vecs+i], Mem{Base: b.dst, Disp: i * b.v.Bytes})
		}
		ADDQ(b.ldd, b.dst)
	}
	ADDQ(I32(int32(n*blockBytes)), tile)
}
