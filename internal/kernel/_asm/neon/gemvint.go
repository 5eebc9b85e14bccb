package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// The parts of a block of 32 elements that are split into digits: each four have four
// lower and four upper digits of 16 bits.
const (
	splitBytes = 144
	splitQuad  = 16
	splitUnit  = 128
)

// split emits the kernel that splits blocks of 32 elements, each as splitBlock in package
// kernel does.
func split(file *arm64.File) {
	f := file.Func("splitNEON", "func(blocks int, dst *byte, a *float32)", "splits blocks of 32 elements into digits; blocks is not 0.")
	blocks, dst, a := f.Load("blocks"), f.Load("dst"), f.Load("a")
	f.Preload()
	half := f.Bits(1 << 14)
	carry, least, up, down, finite, nan := f.R(), f.R(), f.R(), f.R(), f.R(), f.R()
	f.MOVI(0x10002, carry)
	f.MOVI(22, least)
	f.MOVI(21<<23, up)
	f.MOVI(275<<23, down)
	f.MOVI(0x7f7fffff, finite)
	f.MOVI(0x7fc00000, nan)
	f.Loop("block", blocks, func() {
		x := make([]vec, panelVectors)
		m := make([]vec, panelVectors)
		for i := 0; i < panelVectors; i += 2 {
			x[i], x[i+1] = f.ReadPair(mem{Base: a, Off: i * vector})
			m[i], m[i+1] = f.Abs(x[i]), f.Abs(x[i+1])
		}
		for n := panelVectors / 2; n > 0; n /= 2 {
			for i := range n {
				m[i] = f.Max(m[i], m[i+n])
			}
		}
		largest := f.BitsOf(f.MaxAcross(m[0]))
		e, unit, inverse := f.R(), f.R(), f.R()
		f.ADDTo(largest, carry, e)
		f.LSR(23, e)
		exponent := f.R()
		f.LargerTo(e, least, exponent)
		f.LSL(23, exponent)
		f.SUBTo(exponent, up, unit)
		f.SUBTo(down, exponent, inverse)
		known := f.R()
		f.LessOrEqual(largest, finite, unit, nan, known)
		f.Store4(known, mem{Base: dst, Off: splitUnit})
		times := f.FillInt(inverse)
		for i := range x {
			v := f.RoundToInt(f.Mul(x[i], times))
			upper := f.ShiftRight(f.AddInt(v, half), 15)
			lower := f.SubInt(v, f.ShiftLeft(upper, 15))
			f.Write(f.Narrow(lower, upper), mem{Base: dst, Off: splitQuad * i})
		}
		f.ADDI(4*panelColumns, a)
		f.ADDI(splitBytes, dst)
	})
	f.RET()
}

// scaleDropped is how many bits the fraction of a scale has less than that of a float32.
const scaleDropped = 13

// quantizeQ8 emits the rounding of blocks to int8, in the order of operations that
// quantizeBlock in package kernel has.
func quantizeQ8(file *arm64.File) {
	f := file.Func("quantizeQ8NEON", "func(blocks int, q *int8, scales *uint16, w *float32) int", "rounds blocks of 32 elements to int8, until there is one that has no element of an ordinary magnitude, or one of another. It returns the number of those that are left; blocks is not 0.")
	blocks, q, scales, w := f.Load("blocks"), f.Load("q"), f.Load("scales"), f.Load("w")
	f.Preload()
	most := f.Const(127)
	least, greatest, base := f.R(), f.R(), f.R()
	f.MOVI((127-40)<<(23-scaleDropped), base)
	f.MOVI(int(math.Float32bits(0x1p-32)), least)
	f.MOVI(int(math.Float32bits(0x1p29)), greatest)
	f.Label("block")
	x, m := make([]vec, panelVectors), make([]vec, panelVectors)
	for i := 0; i < panelVectors; i += 2 {
		x[i], x[i+1] = f.ReadPair(mem{Base: w, Off: i * vector})
		m[i], m[i+1] = f.Abs(x[i]), f.Abs(x[i+1])
	}
	for n := panelVectors / 2; n > 0; n /= 2 {
		for i := range n {
			m[i] = f.Max(m[i], m[i+n])
		}
	}
	largest := f.MaxAcross(m[0])
	bits := f.BitsOf(largest)
	f.CMP(bits, least)
	f.BLT("done")
	f.CMP(greatest, bits)
	f.BLT("done")
	scale, odd, code := f.BitsOf(f.Div(largest, most)), f.R(), f.R()
	f.LSRTo(scaleDropped, scale, odd)
	f.ANDTo(1, odd, odd)
	f.ADD(odd, scale)
	f.ADDI(1<<(scaleDropped-1)-1, scale)
	f.LSR(scaleDropped, scale)
	f.SUBTo(scale, base, code)
	f.Store2(code, mem{Base: scales})
	f.LSL(scaleDropped, scale)
	wide := f.WidenLowFloat(f.FillInt(scale))
	round := func(x vec) vec {
		return f.Narrow64(f.RoundToInt64(f.Div64(f.WidenLowFloat(x), wide)), f.RoundToInt64(f.Div64(f.WidenHighFloat(x), wide)))
	}
	for i := 0; i < panelVectors; i += 4 {
		low := f.Narrow(round(x[i]), round(x[i+1]))
		high := f.Narrow(round(x[i+2]), round(x[i+3]))
		f.Write(f.Narrow16(low, high), mem{Base: q, Off: 4 * i})
	}
	f.ADDI(panelColumns, q)
	f.ADDI(2, scales)
	f.ADDI(4*panelColumns, w)
	f.SUBS(1, blocks)
	f.BNE("block")
	f.Label("done")
	f.Set("ret", blocks)
	f.RET()
}

// The blocks of an int8 panel: 8 quads of k by 32 columns, then the scales.
const (
	quad     = 4 * panelColumns
	q8Scales = 8 * quad
	q8Block  = q8Scales + 2*panelColumns
)

// A scaleFormat of package kernel: eight equal lanes each.
const (
	scaleShift  = 0
	scaleBias   = 32
	scaleFactor = 64
)

const tileSignature = "func(blocks int, x *byte, ldx int, b *byte, c *float32, ldc int, scales *uint32, add bool)"

// tile emits the product of m rows, split into digits, and a panel of weights. The sums of
// products within a block are integers and exact, so that their order, and so the bits of
// the result, are not a matter of the instruction set. Columns are done as many at a time
// as there are registers for: a column has four sums of each digit, of one k of four each.
//
// weights calls body for the weights of each quad of k by four columns at w, of so many
// vectors of them, in order of the quads. scales returns the scales of these columns.
func tile(f *asm, m, block int, weights func(w reg, vectors int, body func(q, j int, four vec)), scales func(s reg, vectors int) []vec) {
	vectors := 1
	if m == 1 {
		vectors = 2
	}
	blocks, x, b := f.Load("blocks"), f.Load("x"), f.Load("b")
	rows := []reg{x}
	if m > 1 {
		rows = rowsFrom(f, x, f.Load("ldx"), m)
	}
	total := f.Local(m * panelBytes)
	zero := f.Zero()
	for i := range m * panelVectors {
		f.Write(zero, mem{Base: total, Off: i * vector})
	}
	power := f.FreshBits(0x47000000) // 2^15, by which upper digits count more
	f.Loop("block", blocks, func() {
		w, s, t := copyOf(f, b), copyOf(f, b), copyOf(f, total)
		f.ADDI(block-2*panelColumns, s)
		// Few lines at a time are fetched ahead: many at once wait for each other.
		next := copyOf(f, b)
		f.ADDI(ahead, next)
		lines := (block/lineBytes*vectors + panelVectors - 1) / panelVectors
		groups := f.R()
		f.MOVI(panelVectors/vectors, groups)
		f.Loop("group", groups, func() {
			for i := range lines {
				f.Prefetch(mem{Base: next, Off: i * lineBytes})
			}
			f.ADDI(lines*lineBytes, next)
			sums := make([][][2][4]vec, m) // by row, vector of columns, digit and column
			for i := range sums {
				sums[i] = make([][2][4]vec, vectors)
			}
			weights(w, vectors, func(q, j int, four vec) {
				pairs := []vec{f.WidenLow8(four), f.WidenHigh8(four)}
				for i, r := range rows {
					x := f.Read(mem{Base: r, Off: q * splitQuad})
					y := f.ExchangeHalves(x)
					sum := &sums[i][j]
					for c, pair := range pairs {
						if q == 0 {
							sum[0][2*c], sum[1][2*c] = f.MulWideLow(pair, x), f.MulWideLow(pair, y)
							sum[1][2*c+1], sum[0][2*c+1] = f.MulWideHigh(pair, x), f.MulWideHigh(pair, y)
							continue
						}
						f.MulAddWideLow(pair, x, sum[0][2*c])
						f.MulAddWideLow(pair, y, sum[1][2*c])
						f.MulAddWideHigh(pair, x, sum[1][2*c+1])
						f.MulAddWideHigh(pair, y, sum[0][2*c+1])
					}
				}
			})
			scale := scales(s, vectors)
			for i, r := range rows {
				unit := f.Read1(mem{Base: r, Off: splitUnit})
				for j := range vectors {
					var both [2]vec
					for d, sum := range sums[i][j] {
						both[d] = f.FromInt(f.AddPairsInt(f.AddPairsInt(sum[0], sum[1]), f.AddPairsInt(sum[2], sum[3])))
					}
					f.MulAdd(both[1], power, both[0])
					at := mem{Base: t, Off: i*panelBytes + j*vector}
					old := f.Read(at)
					f.MulAdd(f.MulLane(both[0], unit, 0), scale[j], old)
					f.Write(old, at)
				}
			}
			f.ADDI(vectors*vector, w)
			f.ADDI(vectors*arm64.Lanes*2, s)
			f.ADDI(vectors*vector, t)
		})
		for _, r := range rows {
			f.ADDI(splitBytes, r)
		}
		f.ADDI(block, b)
	})
	c, ldc := f.Load("c"), f.LoadBytes("ldc")
	add := f.Load("add")
	for i := range m {
		var y []vec
		for j := range panelVectors {
			y = append(y, f.Read(mem{Base: total, Off: i*panelBytes + j*vector}))
		}
		store := fmt.Sprintf("store%d", i)
		f.CBZ(add, store)
		for j, v := range y {
			f.AddTo(v, f.Read(mem{Base: c, Off: j * vector}), v)
		}
		f.Label(store)
		for j, v := range y {
			f.Write(v, mem{Base: c, Off: j * vector})
		}
		f.ADD(ldc, c)
	}
	f.RET()
}

// scalesOf returns the scales at s, in the given format, of one or two vectors of columns.
func scalesOf(f *asm, s, format reg, vectors int) []vec {
	zero := f.Zero()
	halves := f.Read2(mem{Base: s})
	scales := []vec{f.ZipLowHalves(halves, zero)}
	if vectors > 1 {
		halves = f.Read2(mem{Base: s, Off: vector / 2})
		scales = append(scales, f.ZipLowHalves(halves, zero))
	}
	for i, x := range scales {
		x = f.ShiftLeftBy(x, f.Read(mem{Base: format, Off: scaleShift}))
		x = f.AddInt(x, f.Read(mem{Base: format, Off: scaleBias}))
		scales[i] = f.Mul(x, f.Read(mem{Base: format, Off: scaleFactor}))
	}
	return scales
}

func tilesQ8(file *arm64.File) {
	for m := 1; m <= 3; m++ {
		f := file.Func(fmt.Sprintf("tileQ8x%dNEON", m), tileSignature, fmt.Sprintf("multiplies %d rows of digits by an int8 panel; blocks is not 0.", m))
		f.Preload()
		format := f.Load("scales")
		tile(f, m, q8Block, func(w reg, vectors int, body func(q, j int, four vec)) {
			for q := range 8 {
				for j := range vectors {
					body(q, j, f.Read(mem{Base: w, Off: q*quad + vector*j}))
				}
			}
		}, func(s reg, vectors int) []vec { return scalesOf(f, s, format, vectors) })
	}
}
