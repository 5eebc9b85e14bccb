package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// A scanKernel is a scan over blocks of 16 channels, positions and states.
type scanKernel struct {
	*asm
	n                reg
	a, h             reg // of the block
	b, c             reg // of the position
	bChannels        reg // whether b has an element for each channel
	cChannels        reg
	delta, dx, total [blockVectors]vec
}

// scan emits the selective scan and its gradient.
func scan(file *arm64.File) {
	scanStates(file)
	scanForth(file)
	scanBack(file)
	scanFold(file)
}

func scanStates(file *arm64.File) {
	f := file.Func("scanNEON", "func(l, n, blocks int, y, u, delta *float32, ldy, ldu, ldd int, a, h, b, c, d *float32, ldb, ldc, bBlock, cBlock, dStep int, bChannels, cChannels bool)",
		"is scanBlocksGeneric.")
	f.Preload(exp2Consts...)
	k := &scanKernel{asm: f, n: f.Load("n"), a: f.Load("a"), h: f.Load("h")}
	k.bChannels, k.cChannels = f.Load("bChannels"), f.Load("cChannels")
	ldy, ldu, ldd := f.LoadBytes("ldy"), f.LoadBytes("ldu"), f.LoadBytes("ldd")
	ldb, ldc := f.LoadBytes("ldb"), f.LoadBytes("ldc")

	f.Label("block")
	y, u, delta, d, t := f.Load("y"), f.Load("u"), f.Load("delta"), f.Load("d"), f.Load("l")
	k.b, k.c = f.Load("b"), f.Load("c")
	f.Loop("position", t, func() {
		k.position(u, delta, d)
		k.states()
		for i, s := range k.total {
			f.Write(s, mem{Base: y, Off: i * vector})
		}
		f.ADD(ldy, y)
		f.ADD(ldu, u)
		f.ADD(ldd, delta)
		f.ADD(ldb, k.b)
		f.ADD(ldc, k.c)
	})
	f.ADDShifted(k.n, 6, k.a) // 64 bytes for each state
	f.ADDShifted(k.n, 6, k.h)
	for _, name := range []string{"y", "u", "delta"} {
		p := f.Load(name)
		f.ADDI(blockBytes, p)
		f.Set(name, p)
	}
	for _, s := range [][2]string{{"b", "bBlock"}, {"c", "cBlock"}, {"d", "dStep"}} {
		p := f.Load(s[0])
		f.ADD(f.LoadBytes(s[1]), p)
		f.Set(s[0], p)
	}
	blocks := f.Load("blocks")
	f.SUBI(1, blocks)
	f.Set("blocks", blocks)
	f.CBNZ(blocks, "block")
	f.RET()
}

// position loads what is the same for all states.
func (k *scanKernel) position(u, delta, d reg) {
	for i := range k.delta {
		at := i * vector
		dt, x := k.Read(mem{Base: delta, Off: at}), k.Read(mem{Base: u, Off: at})
		k.dx[i] = k.Mul(x, dt)
		k.total[i] = k.Mul(x, k.Read(mem{Base: d, Off: at}))
		k.delta[i] = k.Min(dt, k.Const(maxDelta))
	}
}

// states emits one loop for each way in which b and c can be given.
func (k *scanKernel) states() {
	a, h, b, c, count := copyOf(k.asm, k.a), copyOf(k.asm, k.h), copyOf(k.asm, k.b), copyOf(k.asm, k.c), copyOf(k.asm, k.n)
	loop := func(label string, bChannels, cChannels bool) {
		k.Loop(label, count, func() { k.state(a, h, b, c, bChannels, cChannels) })
	}
	k.CBNZ(k.bChannels, "bChannels")
	k.CBNZ(k.cChannels, "cChannels")
	loop("shared", false, false)
	k.B("summed")
	k.Label("cChannels")
	loop("onlyC", false, true)
	k.B("summed")
	k.Label("bChannels")
	k.CBNZ(k.cChannels, "allChannels")
	loop("onlyB", true, false)
	k.B("summed")
	k.Label("allChannels")
	loop("both", true, true)
	k.Label("summed")
}

// state takes one state of the block through one position and moves the pointers to
// the next. If bChannels is set, b has an element for each channel, else one for all
// of them; c likewise.
func (k *scanKernel) state(a, h, b, c reg, bChannels, cChannels bool) {
	times, plus := k.factor(b, bChannels), k.factor(c, cChannels)
	one := func(i int) func() {
		return func() {
			at := i * vector
			decay := exp2(k.asm, k.Mul(k.delta[i], k.Read(mem{Base: a, Off: at})))
			x := k.Read(mem{Base: h, Off: at})
			next := times.product(k.dx[i], at)
			k.MulAdd(x, decay, next)
			k.Write(next, mem{Base: h, Off: at})
			plus.addProduct(next, at, k.total[i])
		}
	}
	for i := 0; i < blockVectors; i += 2 {
		k.Interleave(one(i), one(i+1))
	}
	advance(k.asm, blockBytes, a, h)
	if bChannels {
		k.ADDI(blockBytes, b)
	}
	if cChannels {
		k.ADDI(blockBytes, c)
	}
}

// A scanFactor is an element of b or c for all channels, or a vector for some.
type scanFactor struct {
	*asm
	p   reg
	all vec
	one bool
}

func (k *scanKernel) factor(p reg, channels bool) scanFactor {
	if channels {
		return scanFactor{asm: k.asm, p: p}
	}
	return scanFactor{asm: k.asm, all: k.Read1Next(p), one: true}
}

// product returns x times the factor for the channels from byte at of the block on.
func (s scanFactor) product(x vec, at int) vec {
	if s.one {
		return s.MulLane(x, s.all, 0)
	}
	return s.Mul(x, s.Read(mem{Base: s.p, Off: at}))
}

func (s scanFactor) addProduct(x vec, at int, sum vec) {
	if s.one {
		s.MulAddLane(x, s.all, 0, sum)
	} else {
		s.MulAdd(x, s.Read(mem{Base: s.p, Off: at}), sum)
	}
}

// exp2C are the coefficients of the polynomial for 2^x, highest power first, as in
// the portable version.
var exp2C = []float32{0.001326470054, 0.009671615437, 0.05550754815, 0.2402224243, 0.693146944, 1}

const (
	exp2Round = 3<<22 + 127 // leaves the integer part, biased as an exponent is, in the low bits
	maxDelta  = 1 << 62     // its product with a rate is finite
)

var exp2Consts = []float32{exp2Round, -127, 128}

// exp2 returns 2^x, which is 0 below 2^-126.5 and infinite from 2^127.5 on.
func exp2(f *asm, x vec) vec {
	x = clamp(f, x, -127, 128)
	n := f.Add(x, f.Const(exp2Round))
	r := f.Sub(x, f.Sub(n, f.Const(exp2Round)))
	return f.Mul(horner(f, r, exp2C...), f.ShiftLeft(n, 23))
}
