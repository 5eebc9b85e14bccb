package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// attn emits the kernels of attention.
func attn(file *arm64.File) {
	onlineSoftmax(file)
	rotateHalves(file)
	rotatePairs(file)
	packKeys(file)
}

// least is where the exponential of the softmax ends: below it counts as 0. e^least is
// a normal number.
const least = -87

// onlineSoftmax emits the running softmax. For each row: the maximum; if it is a new
// one, what has been summed up is scaled down to it; the exponentials.
func onlineSoftmax(file *arm64.File) {
	f := file.Func("onlineSoftmaxNEON", "func(s *float32, lds int, o *float32, ldo int, max, sum *float32, rows, n, cols int)",
		"is onlineSoftmaxGeneric; n and cols are multiples of 16, n and rows positive.")
	s, lds, o, ldo := f.Load("s"), f.LoadBytes("lds"), f.Load("o"), f.LoadBytes("ldo")
	maxima, sum := f.Load("max"), f.Load("sum")
	rows, groups, columns := f.Load("rows"), f.R(), f.R()
	f.LSRTo(4, f.Load("n"), groups)
	f.LSRTo(4, f.Load("cols"), columns)
	f.Preload(append(expConsts, least, 0)...)

	f.Loop("row", rows, func() {
		old := f.Read1(mem{Base: maxima})
		top := f.Max(rowMax(f, s, groups), old)
		f.Write1(top, mem{Base: maxima})
		m := f.FillV(top)
		var acc [blockVectors]vec
		for i := range acc {
			acc[i] = f.Read(mem{Base: sum, Off: i * vector})
		}
		f.CompareScalars(old, top)
		f.BVS("rescale") // NaN
		f.BEQ("exponentials")

		f.Label("rescale")
		c := expNegative(f, f.Sub(f.FillV(old), m))
		for _, a := range acc {
			f.MulTo(a, c, a)
		}
		f.CBZ(columns, "exponentials")
		p := copyOf(f, o)
		f.Loop("column", copyOf(f, columns), func() {
			for i := 0; i < blockVectors; i += 2 {
				at := mem{Base: p, Off: i * vector}
				x, y := f.ReadPair(at)
				f.WritePair(f.Mul(x, c), f.Mul(y, c), at)
			}
			f.ADDI(blockBytes, p)
		})

		f.Label("exponentials")
		p = copyOf(f, s)
		f.Loop("exponential", copyOf(f, groups), func() {
			one := func(i int) func() {
				return func() {
					at := mem{Base: p, Off: i * vector}
					x := expNegative(f, f.Sub(f.Read(at), m))
					f.AddTo(acc[i], x, acc[i])
					f.Write(x, at)
				}
			}
			for i := 0; i < blockVectors; i += 2 {
				f.Interleave(one(i), one(i+1))
			}
			f.ADDI(blockBytes, p)
		})
		for i, a := range acc {
			f.Write(a, mem{Base: sum, Off: i * vector})
		}
		f.ADD(lds, s)
		f.ADD(ldo, o)
		f.ADDI(4, maxima)
		f.ADDI(blockBytes, sum)
	})
	f.RET()
}

// rowMax returns the largest of so many groups of 16 elements from s on in the first
// lane.
func rowMax(f *asm, s, groups reg) vec {
	var acc [blockVectors]vec
	for i := range acc {
		acc[i] = f.Read(mem{Base: s, Off: i * vector})
	}
	p := copyOf(f, s)
	f.Loop("maximum", copyOf(f, groups), func() {
		for i, a := range acc {
			f.MaxTo(a, f.Read(mem{Base: p, Off: i * vector}), a)
		}
		f.ADDI(blockBytes, p)
	})
	return f.MaxAcross(f.Max(f.Max(acc[0], acc[1]), f.Max(acc[2], acc[3])))
}

// expNegative returns e^x for x ≤ 0, and 0 below least. It uses x up.
func expNegative(f *asm, x vec) vec {
	below := f.Greater(f.Const(least), x)
	p, t := expReduced(f, x)
	// 2^n is a normal number: n is in the low bits of t.
	p = f.Mul(p, f.AddInt(f.ShiftLeft(t, 23), f.Const(1)))
	return f.Select(below, f.Const(0), p)
}

// rotation emits a rotation of the first elements of vectors, whose loops over vectors
// are the same for both kinds.
func rotation(file *arm64.File, name string, body func(f *asm, x, cos, sin, n reg)) {
	f := file.Func(name+"NEON", "func(x *float32, dim, vectors int, cos, sin *float32, n int)",
		"is "+name+"Generic with tables of n elements, for so many vectors of dim elements; all are positive.")
	x, dim, cos, sin, n := f.Load("x"), f.LoadBytes("dim"), f.Load("cos"), f.Load("sin"), f.Load("n")
	f.Loop("vector", f.Load("vectors"), func() {
		body(f, copyOf(f, x), copyOf(f, cos), copyOf(f, sin), n)
		f.ADD(dim, x)
	})
	f.RET()
}

// rotateHalves turns elements of the first half with those of the second.
func rotateHalves(file *arm64.File) {
	rotation(file, "rotateHalves", func(f *asm, x, cos, sin, n reg) {
		half := copyOf(f, x)
		f.ADDShifted(n, 2, half)
		turn := func(a, b, c, s vec) (vec, vec) {
			u, v := f.Mul(a, c), f.Mul(b, c)
			f.MulSub(b, s, u)
			f.MulAdd(a, s, v)
			return u, v
		}
		whole, rest := f.R(), f.R()
		f.LSRTo(2, n, whole)
		f.CBZ(whole, "rest")
		f.Loop("whole", whole, func() {
			u, v := turn(f.Read(mem{Base: x}), f.Read(mem{Base: half}), f.ReadNext(cos), f.ReadNext(sin))
			f.Write(u, mem{Base: x})
			f.Write(v, mem{Base: half})
			advance(f, vector, x, half)
		})
		f.Label("rest")
		f.ANDTo(arm64.Lanes-1, n, rest)
		f.CBZ(rest, "next")
		u, v := turn(f.ReadPart("a", x, rest), f.ReadPart("b", half, rest), f.ReadPart("cos", cos, rest), f.ReadPart("sin", sin, rest))
		f.WritePart("u", u, x, rest)
		f.WritePart("v", v, half, rest)
		f.Label("next")
	})
}

// rotatePairs turns neighbours.
func rotatePairs(file *arm64.File) {
	rotation(file, "rotatePairs", func(f *asm, x, cos, sin, n reg) {
		turn := func(a, c, s vec) vec {
			r := f.Mul(f.SwapNeighbours(a), s)
			f.MulAdd(a, c, r)
			return r
		}
		whole := f.R()
		f.LSRTo(2, n, whole)
		f.CBZ(whole, "rest")
		f.Loop("whole", whole, func() {
			f.Write(turn(f.Read(mem{Base: x}), f.ReadNext(cos), f.ReadNext(sin)), mem{Base: x})
			f.ADDI(vector, x)
		})
		f.Label("rest")
		f.TBZ(1, n, "next") // there is no half of a pair
		f.Write2(turn(f.Read2(mem{Base: x}), f.Read2(mem{Base: cos}), f.Read2(mem{Base: sin})), mem{Base: x})
		f.Label("next")
	})
}

// packKeys emits the transposition of four rows, four columns at a time.
func packKeys(file *arm64.File) {
	f := file.Func("packKeysNEON", "func(panel, src *float32, lds, blocks int)", "computes panel[p*32+i] = src[i*lds+p] for i < 4 and p < 4·blocks.")
	panel, rows := f.Load("panel"), rowPointers(f, "src", "lds", 4)
	f.Loop("block", f.Load("blocks"), func() {
		var r []vec
		for _, p := range rows {
			r = append(r, f.ReadNext(p))
		}
		for i, column := range transposed(f, r) {
			f.Write(column, mem{Base: panel, Off: i * panelBytes})
		}
		f.ADDI(4*panelBytes, panel)
	})
	f.RET()
}
