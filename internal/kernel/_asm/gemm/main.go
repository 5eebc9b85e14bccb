// Command gemm generates the matrix product kernels for amd64.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/rows"
)

const (
	panelBytes = 128 // one step along k in a panel: 32 float32s
	unroll     = 4
	// ahead is how far the weights are fetched ahead of their use. The hardware
	// does not run far enough ahead of a kernel that consumes them slowly.
	ahead = 8192
)

func main() {
	ConstraintExpr("!purego")
	for m := 1; m <= 12; m++ {
		tile512(m)
	}
	for m := 1; m <= 6; m++ {
		tile256(fmt.Sprintf("gemmTile%dx16AVX2", m), m, 2)
	}
	for m := 1; m <= 3; m++ {
		tile256(fmt.Sprintf("gemmTile%dx32AVX2", m), m, 4)
	}
	Generate()
}

// fetchResult begins to fetch the lines of m rows of the result, which are wanted when
// the sums are done.
func fetchResult(m, lines int) {
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	for i := 0; i < m; i++ {
		for j := 0; j < lines; j++ {
			PREFETCHT0(Mem{Base: c, Disp: 64 * j})
		}
		ADDQ(ldc, c)
	}
}

// loop emits body for every k, four at a time and then one at a time. advance moves
// all pointers by so many steps.
func loop(k reg.Register, body func(u int), advance func(steps int)) {
	blocks := GP64()
	MOVQ(k, blocks)
	SHRQ(U8(2), blocks)
	JZ(LabelRef("single"))
	Label("four")
	for u := 0; u < unroll; u++ {
		body(u)
	}
	advance(unroll)
	DECQ(blocks)
	JNZ(LabelRef("four"))
	Label("single")
	ANDQ(U8(unroll-1), k)
	JZ(LabelRef("done"))
	Label("one")
	body(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("one"))
	Label("done")
}

// tile512 computes m rows of one panel. The columns are masked, so that the last
// panel stores only those it has.
func tile512(m int) {
	TEXT(fmt.Sprintf("gemmTile%dx32AVX512", m), NOSPLIT, "func(k int, a *float32, lda int, b, c *float32, ldc int, mask uint32, add bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemmTile%dx32AVX512 computes c[i*ldc+j] (+)= Σ a[i*lda+p]·b[p*32+j] for i < %d and the columns j whose bit in mask is set.", m, m))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(U8(2), lda)
	src := rows.New(a, lda, m)
	fetchResult(m, 2)
	acc := make([][2]reg.VecVirtual, m)
	for i := range acc {
		for j := range acc[i] {
			acc[i][j] = ZMM()
			VPXORD(acc[i][j], acc[i][j], acc[i][j])
		}
	}
	loop(k, func(u int) {
		w := [2]reg.VecVirtual{ZMM(), ZMM()}
		for j := range w {
			VMOVUPS(Mem{Base: b, Disp: u*panelBytes + j*64}, w[j])
			PREFETCHT0(Mem{Base: b, Disp: u*panelBytes + j*64 + ahead})
		}
		for i := range acc {
			x := ZMM()
			VBROADCASTSS(src.At(i, 4*u), x)
			for j := range w {
				VFMADD231PS(x, w[j], acc[i][j])
			}
		}
	}, func(steps int) {
		src.Advance(4 * steps)
		ADDQ(I32(int32(panelBytes*steps)), b)
	})
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	mask := Load(Param("mask"), GP32())
	masks := [2]reg.OpmaskVirtual{K(), K()}
	KMOVW(mask, masks[0])
	SHRL(U8(16), mask)
	KMOVW(mask, masks[1])
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JZ(LabelRef("store"))
	p := GP64()
	MOVQ(c, p)
	for i := range acc {
		for j := range acc[i] {
			old := ZMM()
			VMOVUPS_Z(Mem{Base: p, Disp: j * 64}, masks[j], old)
			VADDPS(old, acc[i][j], acc[i][j])
		}
		ADDQ(ldc, p)
	}
	Label("store")
	for i := range acc {
		for j := range acc[i] {
			VMOVUPS(acc[i][j], masks[j], Mem{Base: c, Disp: j * 64})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// tile256 computes m rows of nv vectors of 8 columns of a panel.
//
// Those of half a panel read every other line of it. They would get too little out of
// memory by fetching these lines ahead; instead they fetch what the passes over the
// next panel will read, all of it and in order, into the L2 cache: step bytes from
// next on for every k.
func tile256(name string, m, nv int) {
	half := nv == 2
	signature := "k int, a *float32, lda int, b, c *float32, ldc int, add bool"
	if half {
		signature += ", next *float32, step int"
	}
	TEXT(name, NOSPLIT, "func("+signature+")")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s computes c[i*ldc+j] (+)= Σ a[i*lda+p]·b[p*32+j] for i < %d and j < %d.", name, m, 8*nv))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(U8(2), lda)
	src := rows.New(a, lda, m)
	fetchResult(m, (nv+1)/2)
	next, step := GP64(), GP64()
	if half {
		Load(Param("next"), next)
		Load(Param("step"), step)
	}
	acc := make([][]reg.VecVirtual, m)
	for i := range acc {
		for j := 0; j < nv; j++ {
			r := YMM()
			VXORPS(r, r, r)
			acc[i] = append(acc[i], r)
		}
	}
	loop(k, func(u int) {
		var w []reg.VecVirtual
		if half {
			for j := 0; j < nv; j++ {
				w = append(w, YMM())
				VMOVUPS(Mem{Base: b, Disp: u*panelBytes + j*32}, w[j])
			}
			if u%2 == 0 {
				PREFETCHT1(Mem{Base: next})
			} else {
				PREFETCHT1(Mem{Base: next, Index: step, Scale: 1})
				LEAQ(Mem{Base: next, Index: step, Scale: 2}, next)
			}
			for i := range acc {
				x := YMM()
				VBROADCASTSS(src.At(i, 4*u), x)
				for j := range acc[i] {
					VFMADD231PS(x, w[j], acc[i][j])
				}
			}
			return
		}
		// All 32 columns of few rows: the registers hold the rows' elements, and the
		// weights come from memory.
		for j := 0; j < nv; j += 2 {
			PREFETCHT0(Mem{Base: b, Disp: u*panelBytes + j*32 + ahead})
		}
		var x []reg.VecVirtual
		for i := range acc {
			x = append(x, YMM())
			VBROADCASTSS(src.At(i, 4*u), x[i])
		}
		for j := 0; j < nv; j++ {
			w := Op(Mem{Base: b, Disp: u*panelBytes + j*32})
			if m > 1 {
				r := YMM()
				VMOVUPS(w, r)
				w = r
			}
			for i := range acc {
				VFMADD231PS(w, x[i], acc[i][j])
			}
		}
	}, func(steps int) {
		if half && steps == 1 {
			ADDQ(step, next)
		}
		src.Advance(4 * steps)
		ADDQ(I32(int32(panelBytes*steps)), b)
	})
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JZ(LabelRef("store"))
	p := GP64()
	MOVQ(c, p)
	for i := range acc {
		for j := range acc[i] {
			VADDPS(Mem{Base: p, Disp: j * 32}, acc[i][j], acc[i][j])
		}
		ADDQ(ldc, p)
	}
	Label("store")
	for i := range acc {
		for j := range acc[i] {
			VMOVUPS(acc[i][j], Mem{Base: c, Disp: j * 32})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}
