package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// taylor emits the kernels of Taylor linear attention.
func taylor(file *arm64.File) {
	taylorRows(file)
	taylorColumns(file)
	taylorWeights(file)
	rowDots(file)
	scaleRows(file)
	taylorWeightsGrad(file)
}

var sqrtHalf = float32(math.Sqrt(0.5))

// vectorsOf returns how many vectors it takes for n elements.
func vectorsOf(f *asm, n reg) reg {
	count := copyOf(f, n)
	f.ADDI(arm64.Lanes-1, count)
	f.LSR(2, count)
	return count
}

func taylorRows(file *arm64.File) {
	f := file.Func("taylorRowsNEON", "func(dst *float32, ldd int, src *float32, lds, rows, f int)",
		"is taylorRowsGeneric, but that it writes whole vectors.")
	dst, ldd, src, lds, n := f.Load("dst"), f.LoadBytes("ldd"), f.Load("src"), f.LoadBytes("lds"), f.Load("f")
	f.Preload(1, sqrtHalf)
	f.Loop("row", f.Load("rows"), func() {
		f.Write1(f.Const(1), mem{Base: dst})
		out := copyOf(f, dst)
		f.ADDI(4, out)
		// each writes count elements, which body makes of those of src.
		each := func(label string, count reg, body func(x vec) vec) {
			p, q := copyOf(f, src), copyOf(f, out)
			f.Loop(label, vectorsOf(f, count), func() {
				f.Write(body(f.ReadNext(p)), mem{Base: q})
				f.ADDI(vector, q)
			})
			f.ADDShifted(count, 2, out)
		}
		each("linear", n, func(x vec) vec { return x })
		each("square", n, func(x vec) vec { return f.Mul(f.Mul(x, f.Const(sqrtHalf)), x) })
		i, factor := f.R(), copyOf(f, src)
		f.MOVI(1, i)
		f.Label("pairs")
		f.CMP(i, n)
		f.BGE("next")
		f.ADDI(4, factor)
		w := f.Read1(mem{Base: factor})
		each("pair", i, func(x vec) vec { return f.MulLane(x, w, 0) })
		f.ADDI(1, i)
		f.B("pairs")
		f.Label("next")
		f.ADD(ldd, dst)
		f.ADD(lds, src)
	})
	f.RET()
}

func taylorColumns(file *arm64.File) {
	f := file.Func("taylorColumnsNEON", "func(dst *float32, ldd int, panel *float32, f int)", "is taylorColumnsGeneric.")
	dst, ldd, panel, n := f.Load("dst"), f.LoadBytes("ldd"), f.Load("panel"), f.Load("f")
	f.Preload(1, sqrtHalf)
	for i := range panelVectors {
		f.Write(f.Const(1), mem{Base: dst, Off: i * vector})
	}
	f.ADD(ldd, dst)
	// rows writes count rows, which body makes of the vectors of those of the panel.
	rows := func(label string, count reg, body func(i int, x vec) vec) {
		p := copyOf(f, panel)
		f.Loop(label, copyOf(f, count), func() {
			for i := 0; i < panelVectors; i += 2 {
				x, y := f.ReadPair(mem{Base: p, Off: i * vector})
				f.WritePair(body(i, x), body(i+1, y), mem{Base: dst, Off: i * vector})
			}
			f.ADDI(panelBytes, p)
			f.ADD(ldd, dst)
		})
	}
	rows("linear", n, func(_ int, x vec) vec { return x })
	rows("square", n, func(_ int, x vec) vec { return f.Mul(f.Mul(x, f.Const(sqrtHalf)), x) })
	i, row := f.R(), copyOf(f, panel)
	f.MOVI(1, i)
	f.Label("pairs")
	f.CMP(i, n)
	f.BGE("done")
	f.ADDI(panelBytes, row)
	var factors []vec
	for i := range panelVectors {
		factors = append(factors, f.Read(mem{Base: row, Off: i * vector}))
	}
	rows("pair", i, func(i int, x vec) vec { return f.Mul(x, factors[i]) })
	f.ADDI(1, i)
	f.B("pairs")
	f.Label("done")
	f.RET()
}

// addLanes leaves the sum of 16 lanes in the first one, adding halves to each other.
func addLanes(f *asm, acc [blockVectors]vec) vec {
	x := f.Add(f.Add(acc[0], acc[2]), f.Add(acc[1], acc[3]))
	x = f.Add(x, f.HighHalves(x, x))
	return f.Add(x, f.SwapNeighbours(x))
}

func taylorWeights(file *arm64.File) {
	f := file.Func("taylorWeightsNEON", "func(s *float32, lds int, sum *float32, rows, n, first int)", "is taylorWeightsGeneric.")
	s, lds, sum, n, visible := f.Load("s"), f.LoadBytes("lds"), f.Load("sum"), f.Load("n"), f.Load("first")
	f.Preload(0.5)
	var places [blockVectors]vec // 0 to 15
	for i := range places {
		var lanes [arm64.Lanes]float32
		for j := range lanes {
			lanes[j] = float32(arm64.Lanes*i + j)
		}
		places[i] = f.FreshLanes(lanes)
	}
	zero := f.Zero()
	f.Loop("row", f.Load("rows"), func() {
		var acc [blockVectors]vec
		for i := range acc {
			acc[i] = f.Zero()
		}
		p, end := copyOf(f, s), copyOf(f, s)
		f.ADDShifted(n, 2, end)
		// group computes 16 weights. keep returns what remains of one.
		group := func(keep func(i int, w vec) vec) {
			for i := range acc {
				at := mem{Base: p, Off: i * vector}
				x, half, w := f.Read(at), f.Fresh(1), f.Fresh(1)
				f.MulAdd(x, f.Const(0.5), half)
				f.MulAdd(x, half, w)
				w = keep(i, w)
				f.AddTo(acc[i], w, acc[i])
				f.Write(w, at)
			}
			f.ADDI(blockBytes, p)
		}
		count, whole, rest := f.R(), f.R(), f.R()
		f.ADDI(1, visible)
		f.MinTo(visible, n, count)
		f.LSRTo(4, count, whole)
		f.CBZ(whole, "rest")
		f.Loop("whole", whole, func() { group(func(_ int, w vec) vec { return w }) })
		f.Label("rest")
		f.ANDTo(15, count, rest)
		f.CBZ(rest, "hidden")
		seen := f.FromInt(f.FillInt(rest))
		group(func(i int, w vec) vec { return f.And(w, f.Greater(seen, places[i])) })

		f.Label("hidden")
		// p is where the groups seen end.
		left := copyOf(f, end)
		f.SUB(p, left)
		f.CBZ(left, "sum")
		f.LSR(6, left)
		f.Loop("zero", left, func() {
			for i := 0; i < blockVectors; i += 2 {
				f.WritePair(zero, zero, mem{Base: p, Off: i * vector})
			}
			f.ADDI(blockBytes, p)
		})
		f.Label("sum")
		f.Write1(addLanes(f, acc), mem{Base: sum})
		f.ADDI(4, sum)
		f.ADD(lds, s)
	})
	f.RET()
}

// rowDots emits the products of four rows at a time and then of single ones.
func rowDots(file *arm64.File) {
	f := file.Func("rowDotsNEON", "func(y, a *float32, lda int, x *float32, m, n int, add bool)", "is rowDotsGeneric for n > 0.")
	y, a, lda, x, n, add := f.Load("y"), f.Load("a"), f.LoadBytes("lda"), f.Load("x"), f.Load("n"), f.Load("add")
	byRows(f, f.Load("m"), "rows", func(rows int) {
		name := func(s string) string { return fmt.Sprintf("%s%d", s, rows) }
		d := &dots{asm: f, pointers: []reg{copyOf(f, x)}, acc: make([][blockVectors]vec, rows)}
		for r := range rows {
			d.pointers = append(d.pointers, f.R())
			if r == 0 {
				f.MOV(a, d.pointers[1])
			} else {
				f.ADDTo(d.pointers[r], lda, d.pointers[r+1])
			}
		}
		f.ADDTo(d.pointers[rows], lda, a)
		for r := range d.acc {
			for i := range d.acc[r] {
				d.acc[r][i] = f.Zero()
			}
		}
		whole := f.R()
		f.LSRTo(4, n, whole)
		f.CBZ(whole, name("rest"))
		f.Loop(name("whole"), whole, func() {
			for i := range blockVectors {
				d.products(i, func(p reg) vec { return f.Read(mem{Base: p, Off: i * vector}) })
			}
			advance(f, blockBytes, d.pointers...)
		})
		f.Label(name("rest"))
		d.rest(n, name)
		for r, acc := range d.acc {
			s := addLanes(f, acc)
			f.CBZ(add, fmt.Sprintf("%sStore%d", name("row"), r))
			f.AddTo(s, f.Read1(mem{Base: y, Off: 4 * r}), s)
			f.Label(fmt.Sprintf("%sStore%d", name("row"), r))
			f.Write1(s, mem{Base: y, Off: 4 * r})
		}
		f.ADDI(4*rows, y)
	})
	f.RET()
}

// dots holds the partial sums of some rows.
type dots struct {
	*asm
	pointers []reg // into x and the rows
	acc      [][blockVectors]vec
}

// products adds the products of what read gives of x and the rows to partial sums i.
func (d *dots) products(i int, read func(p reg) vec) {
	x := read(d.pointers[0])
	for r, p := range d.pointers[1:] {
		d.MulAdd(x, read(p), d.acc[r][i])
	}
}

// rest adds the products of the last n%16 elements: up to three vectors, and a part of
// one.
func (d *dots) rest(n reg, name func(string) string) {
	whole, part := d.R(), d.R()
	d.ANDTo(15, n, whole)
	d.LSR(2, whole)
	d.ANDTo(3, n, part)
	for i := range blockVectors - 1 {
		d.CMPI(whole, i)
		d.BEQ(name("part"))
		d.products(i, d.ReadNext)
	}
	d.Label(name("part"))
	d.CBZ(part, name("sum"))
	var read []vec
	for i, p := range d.pointers {
		read = append(read, d.ReadPart(name(fmt.Sprintf("part%dOf", i)), p, part))
	}
	for i := range blockVectors {
		other := name(fmt.Sprintf("not%dOf", i))
		d.CMPI(whole, i)
		d.BNE(other)
		for r, v := range read[1:] {
			d.MulAdd(read[0], v, d.acc[r][i])
		}
		d.Label(other)
	}
	d.Label(name("sum"))
}

// scaleRows emits the product of rows with a factor each.
func scaleRows(file *arm64.File) {
	f := file.Func("scaleRowsNEON", "func(dst *float32, ldd int, src *float32, lds int, factors *float32, m, n int)", "is scaleRowsGeneric for m, n > 0.")
	dst, ldd, src, lds, factors, n := f.Load("dst"), f.LoadBytes("ldd"), f.Load("src"), f.LoadBytes("lds"), f.Load("factors"), f.Load("n")
	f.Loop("row", f.Load("m"), func() {
		w, p, q := f.Read1Next(factors), copyOf(f, src), copyOf(f, dst)
		pairs, rest := f.R(), f.R()
		f.LSRTo(3, n, pairs)
		f.CBZ(pairs, "single")
		f.Loop("pair", pairs, func() {
			x, y := f.ReadPair(mem{Base: p})
			f.WritePair(f.MulLane(x, w, 0), f.MulLane(y, w, 0), mem{Base: q})
			advance(f, 2*vector, p, q)
		})
		f.Label("single")
		f.TBZ(2, n, "part")
		f.Write(f.MulLane(f.ReadNext(p), w, 0), mem{Base: q})
		f.ADDI(vector, q)
		f.Label("part")
		f.ANDTo(arm64.Lanes-1, n, rest)
		f.CBZ(rest, "next")
		f.WritePart("dst", f.MulLane(f.ReadPart("src", p, rest), w, 0), q, rest)
		f.Label("next")
		f.ADD(ldd, dst)
		f.ADD(lds, src)
	})
	f.RET()
}

// taylorWeightsGrad emits the weights of products, and the gradients of these.
func taylorWeightsGrad(file *arm64.File) {
	f := file.Func("taylorWeightsGradNEON", "func(s *float32, lds int, ds *float32, ldd, m, n int)", "is taylorWeightsGradGeneric for m, n > 0.")
	s, lds, ds, ldd, n := f.Load("s"), f.LoadBytes("lds"), f.Load("ds"), f.LoadBytes("ldd"), f.Load("n")
	f.Preload(1, 0.5)
	step := func(x, y vec) (vec, vec) {
		t, w := f.Add(x, f.Const(1)), f.Copy(f.Const(0.5))
		f.MulAdd(f.Mul(t, t), f.Const(0.5), w)
		return w, f.Mul(y, t)
	}
	f.Loop("row", f.Load("m"), func() {
		p, q := copyOf(f, s), copyOf(f, ds)
		vectors, rest := f.R(), f.R()
		f.LSRTo(2, n, vectors)
		f.CBZ(vectors, "part")
		f.Loop("vector", vectors, func() {
			x, y := step(f.Read(mem{Base: p}), f.Read(mem{Base: q}))
			f.Write(x, mem{Base: p})
			f.Write(y, mem{Base: q})
			advance(f, vector, p, q)
		})
		f.Label("part")
		f.ANDTo(arm64.Lanes-1, n, rest)
		f.CBZ(rest, "next")
		x, y := step(f.ReadPart("s", p, rest), f.ReadPart("ds", q, rest))
		f.WritePart("weights", x, p, rest)
		f.WritePart("gradients", y, q, rest)
		f.Label("next")
		f.ADD(lds, s)
		f.ADD(ldd, ds)
	})
	f.RET()
}
