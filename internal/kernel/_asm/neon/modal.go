package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// modal emits the modal filter, with enough poles at a time to hide that each position
// waits for the one before.
func modal(file *arm64.File) {
	modalBegin(file)
	modalEnd(file)
	modalPoles(file, "Pairs", "pairs", []int{4, 2, 1}, func() modalPole { return new(modalPair) })
	modalPoles(file, "Reals", "reals", []int{8, 4, 1}, func() modalPole { return new(modalReal) })
}

// modalBegin copies a block of src to u and multiplies it by d.
func modalBegin(file *arm64.File) {
	f := file.Func("modalBeginNEON", "func(n int, y, u, src *float32, lds int, d *float32)", "is modalBeginGeneric for a whole block.")
	n, y, u, src, lds, d := f.Load("n"), f.Load("y"), f.Load("u"), f.Load("src"), f.LoadBytes("lds"), f.Load("d")
	var skip [blockVectors]vec
	for i := range skip {
		skip[i] = f.Read(mem{Base: d, Off: i * vector})
	}
	f.Loop("position", n, func() {
		for i, s := range skip {
			x := f.Read(mem{Base: src, Off: i * vector})
			f.Write(x, mem{Base: u, Off: i * vector})
			f.Write(f.Mul(x, s), mem{Base: y, Off: i * vector})
		}
		f.ADD(lds, src)
		advance(f, blockBytes, u, y)
	})
	f.RET()
}

// modalEnd copies y to a block of dst.
func modalEnd(file *arm64.File) {
	f := file.Func("modalEndNEON", "func(n int, dst *float32, ldd int, y *float32)", "is modalEndGeneric for a whole block.")
	n, dst, ldd, y, packed := f.Load("n"), f.Load("dst"), f.LoadBytes("ldd"), f.Load("y"), f.R()
	f.MOVI(blockBytes, packed)
	copyRows(f, "position", dst, ldd, y, packed, n)
	f.RET()
}

// A modalPole is what a group of them holds of one in registers.
type modalPole interface {
	rows() (poles, state int)
	load(f *asm, poles, state func(row int) mem)
	step(f *asm, u mem, y vec) // takes it through a position
	state() []vec
}

// modalPoles emits the function that takes a block through positions, some poles at a
// time. sizes are those of the groups of poles.
func modalPoles(file *arm64.File, kind, count string, sizes []int, pole func() modalPole) {
	f := file.Func("modal"+kind+"NEON", "func(n, "+count+" int, y, u, poles, h *float32)", "is modal"+kind+"Generic.")
	n, left, y, u, poles, h := f.Load("n"), f.Load(count), f.Load("y"), f.Load("u"), f.Load("poles"), f.Load("h")
	f.Preload(0, smallest)
	poleRows, stateRows := pole().rows()
	for _, size := range sizes {
		begin, fewer := fmt.Sprintf("group%d", size), fmt.Sprintf("fewer%d", size)
		f.Label(begin)
		f.CMPI(left, size)
		f.BLT(fewer)
		for i := range blockVectors {
			rows := func(p reg, first int) func(row int) mem {
				return func(row int) mem { return mem{Base: p, Off: (first+row)*blockBytes + i*vector} }
			}
			group := make([]modalPole, size)
			for k := range group {
				group[k] = pole()
				group[k].load(f, rows(poles, k*poleRows), rows(h, k*stateRows))
			}
			py, pu := copyOf(f, y), copyOf(f, u)
			f.Loop(fmt.Sprintf("%sVector%d", begin, i), copyOf(f, n), func() {
				out := f.Read(mem{Base: py, Off: i * vector})
				for _, p := range group {
					p.step(f, mem{Base: pu, Off: i * vector}, out)
				}
				f.Write(out, mem{Base: py, Off: i * vector})
				advance(f, blockBytes, py, pu)
			})
			for k, p := range group {
				at := rows(h, k*stateRows)
				for row, x := range p.state() {
					f.Write(flushed(f, x), at(row))
				}
			}
		}
		f.ADDI(size*poleRows*blockBytes, poles)
		f.ADDI(size*stateRows*blockBytes, h)
		f.SUBI(size, left)
		f.B(begin)
		f.Label(fewer)
	}
	f.RET()
}

const smallest = 0x1p-126 // normal number

// flushed returns x with zero for denormal numbers.
func flushed(f *asm, x vec) vec {
	return f.Select(f.AbsGreater(f.Const(smallest), x), f.Const(0), x)
}

// A modalPair of complex poles.
type modalPair struct{ er, ei, cr, ci, re, im vec }

func (*modalPair) rows() (poles, state int) { return 4, 2 }

func (p *modalPair) load(f *asm, poles, state func(row int) mem) {
	p.er, p.ei, p.cr, p.ci = f.Read(poles(0)), f.Read(poles(1)), f.Read(poles(2)), f.Read(poles(3))
	p.re, p.im = f.Read(state(0)), f.Read(state(1))
}

func (p *modalPair) step(f *asm, u mem, y vec) {
	r, i := f.Read(u), f.Mul(p.im, p.er)
	f.MulAdd(p.re, p.er, r)
	f.MulAdd(p.re, p.ei, i)
	f.MulSub(p.im, p.ei, r)
	f.AddTo(p.im, i, p.im)
	f.AddTo(p.re, r, p.re)
	f.MulAdd(p.re, p.cr, y)
	f.MulAdd(p.im, p.ci, y)
}

func (p *modalPair) state() []vec { return []vec{p.re, p.im} }

// A modalReal is a real pole.
type modalReal struct{ e, c, h vec }

func (*modalReal) rows() (poles, state int) { return 2, 1 }

func (p *modalReal) load(f *asm, poles, state func(row int) mem) {
	p.e, p.c, p.h = f.Read(poles(0)), f.Read(poles(1)), f.Read(state(0))
}

func (p *modalReal) step(f *asm, u mem, y vec) {
	r := f.Read(u)
	f.MulAdd(p.h, p.e, r)
	f.AddTo(p.h, r, p.h)
	f.MulAdd(p.h, p.c, y)
}

func (p *modalReal) state() []vec { return []vec{p.h} }
