package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// The places of a trace: the exponential, the state, and sums for the gradients of B
// and C.
const (
	decayAt = iota * blockBytes
	stateAt
	dbAt
	dcAt
	traceBytes
	traceShift = 8 // traceBytes is 1<<traceShift
)

// scanForth emits the way of a gradient forth through a segment.
func scanForth(file *arm64.File) {
	f := file.Func("scanForthNEON", "func(l, n int, u, delta *float32, ldu, ldd int, a, b *float32, ldb int, trace *float32)", "is scanForthGeneric.")
	f.Preload(exp2Consts...)
	n, u, delta, a, b := f.Load("n"), f.Load("u"), f.Load("delta"), f.Load("a"), f.Load("b")
	ldu, ldd, ldb := f.LoadBytes("ldu"), f.LoadBytes("ldd"), f.LoadBytes("ldb")
	before := f.Load("trace")
	at := copyOf(f, before)
	f.ADDShifted(n, traceShift, at)
	f.Loop("position", f.Load("l"), func() {
		var dt, dx [blockVectors]vec
		for i := range dt {
			d := f.Read(mem{Base: delta, Off: i * vector})
			dx[i] = f.Mul(d, f.Read(mem{Base: u, Off: i * vector}))
			dt[i] = f.Min(d, f.Const(maxDelta))
		}
		rate, factors := copyOf(f, a), copyOf(f, b)
		f.Loop("state", copyOf(f, n), func() {
			factor := f.Read1Next(factors)
			one := func(i int) func() {
				return func() {
					place := func(p reg, which int) mem { return mem{Base: p, Off: which + i*vector} }
					decay := exp2(f, f.Mul(dt[i], f.Read(place(rate, 0))))
					h := f.MulLane(dx[i], factor, 0)
					f.MulAdd(f.Read(place(before, stateAt)), decay, h)
					f.Write(decay, place(at, decayAt))
					f.Write(h, place(at, stateAt))
				}
			}
			for i := 0; i < blockVectors; i += 2 {
				f.Interleave(one(i), one(i+1))
			}
			advance(f, traceBytes, before, at)
			f.ADDI(blockBytes, rate)
		})
		f.ADD(ldu, u)
		f.ADD(ldd, delta)
		f.ADD(ldb, b)
	})
	f.RET()
}

// scanBack emits the way back.
func scanBack(file *arm64.File) {
	f := file.Func("scanBackNEON", "func(l, n int, u, delta, dy, du, ddelta *float32, ldu, ldd, lddy, lddu, ldddelta int, a, b, c *float32, ldb, ldc int, d, dd, trace, grad, da *float32)",
		"is scanBackGeneric. What is given for a position is that for the last.")
	f.Preload()
	n, at := f.Load("n"), f.Load("trace")
	size, before := f.R(), copyOf(f, at)
	f.MOVI(traceBytes, size)
	f.Multiply(n, size, size)
	f.SUB(size, before)
	f.Loop("position", f.Load("l"), func() {
		u, delta, dy, dd := f.Load("u"), f.Load("delta"), f.Load("dy"), f.Load("dd")
		var dt, dx, out, in, rates [blockVectors]vec
		for i := range dt {
			o := i * vector
			dt[i], out[i], in[i], rates[i] = f.Read(mem{Base: delta, Off: o}), f.Read(mem{Base: dy, Off: o}), f.Zero(), f.Zero()
			x, sum := f.Read(mem{Base: u, Off: o}), f.Read(mem{Base: dd, Off: o})
			f.MulAdd(x, out[i], sum)
			f.Write(sum, mem{Base: dd, Off: o})
			dx[i] = f.Mul(x, dt[i])
		}
		a, grad, da, b, c := f.Load("a"), f.Load("grad"), f.Load("da"), f.Load("b"), f.Load("c")
		f.Loop("state", copyOf(f, n), func() {
			bn, cn := f.Read1Next(b), f.Read1Next(c)
			for i := range dt {
				place := func(p reg, which int) mem { return mem{Base: p, Off: which + i*vector} }
				addTo := func(m mem, x, y vec) {
					sum := f.Read(m)
					f.MulAdd(x, y, sum)
					f.Write(sum, m)
				}
				g := f.Read(place(grad, 0))
				f.MulAddLane(out[i], cn, 0, g)
				addTo(place(at, dbAt), dx[i], g)
				addTo(place(at, dcAt), f.Read(place(at, stateAt)), out[i])
				f.MulAddLane(g, bn, 0, in[i])
				g = f.Mul(g, f.Read(place(at, decayAt)))
				f.Write(g, place(grad, 0))
				through := f.Mul(g, f.Read(place(before, stateAt)))
				f.MulAdd(f.Read(place(a, 0)), through, rates[i])
				addTo(place(da, 0), dt[i], through)
			}
			advance(f, traceBytes, at, before)
			advance(f, blockBytes, a, grad, da)
		})
		// Both are behind their position now.
		for _, p := range []reg{at, before} {
			f.SUB(size, p)
			f.SUB(size, p)
		}
		u, d, du, ddelta := f.Load("u"), f.Load("d"), f.Load("du"), f.Load("ddelta")
		for i := range dt {
			o := i * vector
			x, input := f.Read(mem{Base: u, Off: o}), f.Mul(out[i], f.Read(mem{Base: d, Off: o}))
			f.MulAdd(in[i], dt[i], input)
			step := f.Mul(rates[i], f.Const(ln2))
			f.MulAdd(x, in[i], step)
			f.Write(input, mem{Base: du, Off: o})
			f.Write(step, mem{Base: ddelta, Off: o})
		}
		for _, s := range [][2]string{{"u", "ldu"}, {"delta", "ldd"}, {"dy", "lddy"}, {"du", "lddu"}, {"ddelta", "ldddelta"}, {"b", "ldb"}, {"c", "ldc"}} {
			p := f.Load(s[0])
			f.SUB(f.LoadBytes(s[1]), p)
			f.Set(s[0], p)
		}
	})
	f.RET()
}

// scanFold emits the sums over lanes.
func scanFold(file *arm64.File) {
	f := file.Func("scanFoldNEON", "func(count int, trace, db, dc *float32)", "is scanFoldGeneric for a multiple of 4 places, in another order.")
	count, at, outs := f.R(), f.Load("trace"), []reg{f.Load("db"), f.Load("dc")}
	f.LSRTo(2, f.Load("count"), count)
	zero := f.Zero()
	f.Loop("places", count, func() {
		for which, out := range outs {
			var sums [arm64.Lanes]vec
			for k := range sums {
				place := mem{Base: at, Off: k*traceBytes + dbAt + which*blockBytes}
				var x [blockVectors]vec
				for i := range x {
					x[i] = f.Read(place.Plus(i * vector))
					f.Write(zero, place.Plus(i*vector))
				}
				sums[k] = f.Add(f.Add(x[0], x[1]), f.Add(x[2], x[3]))
			}
			f.Write(f.AddPairs(f.AddPairs(sums[0], sums[1]), f.AddPairs(sums[2], sums[3])), mem{Base: out})
			f.ADDI(vector, out)
		}
		f.ADDI(arm64.Lanes*traceBytes, at)
	})
	f.RET()
}
