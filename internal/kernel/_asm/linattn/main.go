// Command linattn generates linear attention for amd64.
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
	keyBlock   = 8  // elements of a key that are taken at a time
	blockBytes = 64 // of the 16 channels of a block, for one element of the key
)

func main() {
	ConstraintExpr("!purego")
	simd.Each(func(v *simd.ISA) {
		if v.Wide() {
			(&kernel{ISA: v, blocks: 2, rows: keyBlock}).emit()
			(&kernel{ISA: v, blocks: 1, rows: keyBlock}).emit()
		} else {
			// Half of a block of the key is what the registers hold.
			(&kernel{ISA: v, blocks: 1, rows: keyBlock / 2}).emit()
		}
	})
	Generate()
}

// kernel takes a few blocks of channels through all positions, with rows elements of
// the key at a time: that part of the state is in registers meanwhile.
type kernel struct {
	*simd.ISA
	blocks, rows int
}

// tile returns a vector register for each part of 16 channels of each block.
func (k *kernel) tile() []simd.Vec {
	t := make([]simd.Vec, k.blocks*blockBytes/k.Bytes)
	for i := range t {
		t[i] = k.New()
	}
	return t
}

// in returns where vector i of the state begins, which is that of some blocks; next is
// the distance between blocks.
func (k *kernel) in(base, next reg.Register, i, disp int) Mem {
	at := i * k.Bytes
	m := Mem{Base: base, Disp: at%blockBytes + disp}
	if at >= blockBytes {
		m.Index, m.Scale = next, 1
	}
	return m
}

func (k *kernel) emit() {
	name := fmt.Sprintf("linattn%d%s", k.blocks, k.Suffix)
	TEXT(name, NOSPLIT, "func(l, parts int, y, v *float32, ldy, ldv int, keys *float32, ldk int, state *float32, next int, keep *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is linearGeneric for %d blocks of channels.", name, k.blocks))
	mxcsr := simd.FlushDenormals()
	ldy, ldv, ldk := args.LoadBytes("ldy"), args.LoadBytes("ldv"), args.LoadBytes("ldk")
	keys, state, next, keep := args.Load("keys"), args.Load("state"), args.LoadBytes("next"), args.Load("keep")
	y, v, key, t := GP64(), GP64(), GP64(), GP64()

	Label("part")
	for half := 0; half < keyBlock; half += k.rows {
		label := fmt.Sprintf("position%d", half)
		acc := make([][]simd.Vec, k.rows)
		for n := range acc {
			acc[n] = k.tile()
			for i, a := range acc[n] {
				VMOVUPS(k.in(state, next, i, (half+n)*blockBytes), a)
				VMULPS(Mem{Base: keep, Disp: i * k.Bytes}, a, a)
			}
		}
		args.LoadTo("y", y)
		args.LoadTo("v", v)
		args.LoadTo("l", t)
		MOVQ(keys, key)

		Label(label)
		in, sum := k.tile(), k.tile()
		for i := range in {
			VMOVUPS(Mem{Base: v, Disp: i * k.Bytes}, in[i])
			VMOVUPS(Mem{Base: y, Disp: i * k.Bytes}, sum[i])
		}
		for n := range acc {
			kn, qn := k.New(), k.New()
			VBROADCASTSS(Mem{Base: key, Disp: 4 * (half + n)}, kn)
			for i, a := range acc[n] {
				VFMADD231PS(kn, in[i], a)
			}
			VBROADCASTSS(Mem{Base: key, Disp: 4 * (keyBlock + half + n)}, qn)
			for i, a := range acc[n] {
				VFMADD231PS(qn, a, sum[i])
			}
		}
		for i, s := range sum {
			VMOVUPS(s, Mem{Base: y, Disp: i * k.Bytes})
		}
		ADDQ(ldy, y)
		ADDQ(ldv, v)
		ADDQ(U8(2*4*keyBlock), key)
		DECQ(t)
		JNZ(LabelRef(label))

		for n := range acc {
			for i, a := range acc[n] {
				VMOVUPS(a, k.in(state, next, i, (half+n)*blockBytes))
			}
		}
	}
	ADDQ(ldk, keys)
	ADDQ(I32(keyBlock*blockBytes), state)
	DECQ(args.At("parts"))
	JNZ(LabelRef("part"))
	LDMXCSR(mxcsr)
	VZEROUPPER()
	RET()
}
