package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A group is columns that are multiplied at the same time, as many vectors of eight.
type group struct {
	vectors int
	block   int // bytes of a block of the panel
	scales  scales
	// weights calls body for the four weights of each quad of k and each column of vector
	// v, in order of the quads. Columns are at w.
	weights func(w reg.Register, body func(q, v int, four reg.VecVirtual))
}

// tile256 is tile512 for AVX2, without whose instructions for bytes it takes products of
// 16 bits, by two digits. Lanes are columns: of the four weights of a lane, those of even
// k are widened first, and then those of odd k.
func tile256(name, doc string, m int, g group) {
	flags := attr.NOSPLIT
	if m > 3 {
		flags = 0 // which lets the stack grow for the totals
	}
	TEXT(name, flags, tileSignature)
	Pragma("noescape")
	Doc(name + " " + doc)
	blocks := Load(Param("blocks"), GP64())
	rows := []reg.Register{Load(Param("x"), GP64())}
	if m > 1 {
		ldx := Load(Param("ldx"), GP64())
		for i := 1; i < m; i++ {
			p := GP64()
			LEAQ(Mem{Base: rows[i-1], Index: ldx, Scale: 1}, p)
			rows = append(rows, p)
		}
	}
	b := Load(Param("b"), GP64())
	widen := g.scales()
	total := AllocLocal(128 * m)
	zero := YMM()
	VPXOR(zero, zero, zero)
	for i := range 4 * m {
		VMOVDQU(zero, total.Offset(32*i))
	}
	w, s, t, end, next := GP64(), GP64(), GP64(), GP64(), GP64()
	Label("block")
	MOVQ(b, w)
	LEAQ(Mem{Base: b, Disp: g.block - 64}, s)
	LEAQ(total, t)
	LEAQ(total.Offset(128), end)
	if m < 3 {
		LEAQ(Mem{Base: b, Disp: ahead}, next)
	}
	Label("group")
	// The lines ahead are fetched among the products: see tile512.
	lines, line := (g.block/64*g.vectors+3)/4, 0
	fetch := func(until int) {
		for ; line < until && m < 3; line++ {
			PREFETCHT0(Mem{Base: next, Disp: 64 * line})
		}
	}
	sums := make([][][2]reg.VecVirtual, m)
	for i := range sums {
		sums[i] = make([][2]reg.VecVirtual, g.vectors)
	}
	multiply := func(q, v, odd int, weights reg.VecVirtual) {
		for i, x := range rows {
			for d := range 2 {
				two, sum := YMM(), &sums[i][v][d]
				VPBROADCASTD(Mem{Base: x, Disp: q*splitQuad + 8*d + 4*odd}, two)
				VPMADDWD(two, weights, two)
				if q == 0 && odd == 0 {
					*sum = two
				} else {
					VPADDD(two, *sum, *sum)
				}
			}
		}
	}
	g.weights(w, func(q, v int, four reg.VecVirtual) {
		fetch(lines * (q*g.vectors + v + 1) / (8 * g.vectors))
		even := YMM()
		VPSLLW(U8(8), four, even)
		VPSRAW(U8(8), even, even)
		multiply(q, v, 0, even)
		VPSRAW(U8(8), four, four)
		multiply(q, v, 1, four)
	})
	for v := range g.vectors {
		scale := YMM()
		VPMOVZXWD(Mem{Base: s, Disp: 16 * v}, scale)
		widen(scale)
		for i, x := range rows {
			f, unit := sums[i][v], YMM()
			VCVTDQ2PS(f[0], f[0])
			VCVTDQ2PS(f[1], f[1])
			VBROADCASTSS(power, unit)
			VFMADD231PS(unit, f[1], f[0])
			VBROADCASTSS(Mem{Base: x, Disp: splitScale}, unit)
			VMULPS(unit, f[0], f[0])
			at := Mem{Base: t, Disp: 128*i + 32*v}
			VFMADD213PS(at, scale, f[0])
			VMOVUPS(f[0], at)
		}
	}
	if m < 3 {
		ADDQ(I32(int32(64*lines)), next)
	}
	SUBQ(I32(int32(-32*g.vectors)), w)
	ADDQ(U8(16*g.vectors), s)
	SUBQ(I32(int32(-32*g.vectors)), t)
	CMPQ(t, end)
	JNE(LabelRef("group"))
	for _, x := range rows {
		ADDQ(I32(splitBytes), x)
	}
	ADDQ(I32(int32(g.block)), b)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(U8(2), ldc)
	add := Load(Param("add"), GP8())
	for i := range m {
		skip := fmt.Sprintf("store%d", i)
		var y [4]reg.VecVirtual
		for j := range y {
			y[j] = YMM()
			VMOVUPS(total.Offset(128*i+32*j), y[j])
		}
		TESTB(add, add)
		JZ(LabelRef(skip))
		for j := range y {
			VADDPS(Mem{Base: c, Disp: 32 * j}, y[j], y[j])
		}
		Label(skip)
		for j := range y {
			VMOVUPS(y[j], Mem{Base: c, Disp: 32 * j})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// anyScales256 is anyScales without registers that stay in use.
func anyScales256() func(x reg.VecVirtual) {
	p := Load(Param("scales"), GP64())
	return func(x reg.VecVirtual) {
		VPSLLVD(Mem{Base: p, Disp: scaleShift}, x, x)
		VPADDD(Mem{Base: p, Disp: scaleBias}, x, x)
		VMULPS(Mem{Base: p, Disp: scaleFactor}, x, x)
	}
}

// power is 2^15, by which upper digits count more than lower ones.
var power Mem

// int8Tiles256 emits tiles with at most twelve sums, which leave registers for two vectors
// of weights and what is multiplied.
func int8Tiles256() {
	for m := 1; m <= 6; m++ {
		vectors := []int{4, 2, 2, 1, 1, 1}[m-1]
		tile256(fmt.Sprintf("tileQ8x%dAVX2", m), fmt.Sprintf("multiplies %d rows of digits by an int8 panel; blocks is not 0.", m), m, group{
			vectors, q8Block, anyScales256,
			func(w reg.Register, body func(q, v int, four reg.VecVirtual)) {
				for q := range 8 {
					for v := range vectors {
						y := YMM()
						VMOVDQU(Mem{Base: w, Disp: q*quad + 32*v}, y)
						body(q, v, y)
					}
				}
			},
		})
	}
}

func int4Tile256(tables Mem) {
	const vectors = 2
	tile256("tileQ4x1AVX2", "multiplies a row of digits by an int4 panel; blocks is not 0.", 1, group{
		vectors, q4Block, halfScales,
		func(w reg.Register, body func(q, v int, four reg.VecVirtual)) {
			table, nibbles := YMM(), YMM()
			VMOVDQU(tables.Offset(signed), table)
			VMOVDQU(tables.Offset(mask), nibbles)
			for octet := range 4 {
				for v := range vectors {
					x, y := YMM(), YMM()
					VMOVDQU(Mem{Base: w, Disp: octet*q4Octet + 32*v}, x)
					VPAND(nibbles, x, y)
					VPSHUFB(y, table, y)
					body(2*octet, v, y)
					VPSRLW(U8(4), x, x)
					VPAND(nibbles, x, x)
					VPSHUFB(x, table, x)
					body(2*octet+1, v, x)
				}
			}
		},
	})
}
