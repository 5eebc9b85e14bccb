package main

import (
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/int4"
)

// roundQ4 emits the rounding of eight blocks with given scales, four at a time, one in each
// lane, in the order of operations that fit4.try in package kernel has.
func roundQ4(file *arm64.File) {
	f := file.Func("roundQ4NEON", "func(w, inverse *float32, codes *byte, sums *float32)",
		"is roundQ4 of package kernel: elements i of eight blocks are the eight from w[8*i] on.")
	inverses, sums := f.Load("inverse"), f.Load("sums")
	f.Preload()
	values := f.FreshBytes(codeBytes())
	two, middle := f.Const(2), f.Const(256)
	var borders []vec // where 2x+256 is at the least for the next code
	for _, i := range int4.Borders() {
		borders = append(borders, f.Const(float32(i)))
	}
	for half, name := range []string{"first", "second"} {
		w, codes, left := f.Load("w"), f.Load("codes"), f.R()
		inverse := f.Read(mem{Base: inverses, Off: half * vector})
		total := []vec{f.Zero(), f.Zero(), f.Zero(), f.Zero()}
		f.MOVI(32, left)
		f.Loop(name, left, func() {
			x := f.Mul(f.Read(mem{Base: w, Off: half * vector}), inverse)
			at := f.Copy(middle)
			f.MulAdd(x, two, at)
			code := f.Zero()
			for _, b := range borders {
				code = f.SubInt(code, f.AtLeast(at, b))
			}
			c := f.FromInt(f.ShiftRight(f.ShiftLeft(f.LookUp(values, code), 24), 24))
			d := f.Sub(x, c)
			d = f.Mul(d, d)
			f.AddTo(total[0], d, total[0])
			f.MaxTo(total[1], d, total[1])
			f.AddTo(total[2], f.Mul(x, c), total[2])
			f.AddTo(total[3], f.Mul(c, c), total[3])
			n := f.Narrow(code, code)
			f.Write1(f.Narrow16(n, n), mem{Base: codes, Off: half * arm64.Lanes})
			f.ADDI(2*vector, w)
			f.ADDI(2*arm64.Lanes, codes)
		})
		for i, s := range total {
			f.Write(s, mem{Base: sums, Off: i*2*vector + half*vector})
		}
	}
	f.RET()
}
