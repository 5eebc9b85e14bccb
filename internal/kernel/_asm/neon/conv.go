package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

const (
	blockBytes   = 64 // of 16 channels at one position, or in one state
	blockVectors = blockBytes / vector

	convInputs = 128 + 32 // that a block needs at most: those before, and the positions
	convRows   = 4        // positions computed together
)

const convSignature = "func(l, blocks int, dst *float32, ldd int, src *float32, lds int, w, bias *float32, biasStep int, state *float32, e"

// conv emits the short convolution.
func conv(file *arm64.File) {
	for taps := 2; taps <= 4; taps++ {
		convFew(file, taps)
	}
	convMany(file)
}

// A convBlock holds the pointers of the block that is computed.
type convBlock struct {
	*asm
	dst, src, ldd, lds    reg
	w, bias, state, e     reg
	left, step, positions reg
}

func newConvBlock(f *asm) *convBlock {
	b := &convBlock{asm: f}
	b.dst, b.src, b.ldd, b.lds = f.Load("dst"), f.Load("src"), f.LoadBytes("ldd"), f.LoadBytes("lds")
	b.w, b.bias, b.step = f.Load("w"), f.Load("bias"), f.LoadBytes("biasStep")
	b.state, b.e, b.left, b.positions = f.Load("state"), f.LoadBytes("e"), f.Load("blocks"), f.Load("l")
	return b
}

// each emits the loop over blocks. body leaves the pointers as they are.
func (b *convBlock) each(body func()) {
	b.Loop("block", b.left, func() {
		body()
		advance(b.asm, blockBytes, b.dst, b.src, b.w, b.state)
		b.ADD(b.step, b.bias)
	})
	b.RET()
}

// copyOf returns another register with the content of r.
func copyOf(f *asm, r reg) reg {
	c := f.R()
	f.MOV(r, c)
	return c
}

// convFew emits the convolution with a given number of taps. The inputs before the
// positions stay in registers; weights are read once for four positions.
func convFew(file *arm64.File, taps int) {
	f := file.Func(fmt.Sprintf("convTaps%dNEON", taps), convSignature+" int)", fmt.Sprintf("is convRowsGeneric for %d taps.", taps))
	b := newConvBlock(f)
	b.each(func() {
		weights, states := rowsFrom(f, b.w, b.e, taps), rowsFrom(f, b.state, b.e, taps-1)
		var window [blockVectors][]vec
		for i := range window {
			for _, s := range states {
				window[i] = append(window[i], f.Read(mem{Base: s, Off: i * vector}))
			}
		}
		src, dst := copyOf(f, b.src), copyOf(f, b.dst)
		positions := func(n int) {
			in, out := rowsFrom(f, src, b.lds, n), rowsFrom(f, dst, b.ldd, n)
			for i := range window {
				x := window[i]
				for _, r := range in {
					x = append(x, f.Read(mem{Base: r, Off: i * vector}))
				}
				sums := make([]vec, n)
				for t := range sums {
					sums[t] = f.Read(mem{Base: b.bias, Off: i * vector})
				}
				for j, p := range weights {
					w := f.Read(mem{Base: p, Off: i * vector})
					for t := range sums {
						f.MulAdd(w, x[t+j], sums[t])
					}
				}
				for t, r := range out {
					f.Write(sums[t], mem{Base: r, Off: i * vector})
				}
				for j, old := range window[i] {
					f.CopyTo(x[n+j], old)
				}
			}
			f.ADDTo(in[n-1], b.lds, src)
			f.ADDTo(out[n-1], b.ldd, dst)
		}
		byRows(f, b.positions, "positions", positions)
		for i := range window {
			for j, x := range window[i] {
				f.Write(x, mem{Base: states[j], Off: i * vector})
			}
		}
	})
}

// byRows emits a loop over so many rows, four at a time and then one at a time.
func byRows(f *asm, count reg, label string, body func(n int)) {
	four, rest := f.R(), f.R()
	f.LSRTo(2, count, four)
	f.CBZ(four, label+"Rest")
	f.Loop(label+"Four", four, func() { body(convRows) })
	f.Label(label + "Rest")
	f.ANDTo(convRows-1, count, rest)
	f.CBZ(rest, label+"Done")
	f.Loop(label+"One", rest, func() { body(1) })
	f.Label(label + "Done")
}

// convMany emits the convolution with any number of taps up to 129. It copies the
// inputs it needs, since the results may replace them.
func convMany(file *arm64.File) {
	f := file.Func("convTapsNEON", convSignature+", taps int)", "is convRowsGeneric for up to 129 taps and 32 positions.")
	f.Split()
	room := f.Local(convInputs * blockBytes)
	b := newConvBlock(f)
	taps, packed := f.Load("taps"), f.R()
	f.MOVI(blockBytes, packed)
	b.each(func() {
		tile, before := copyOf(f, room), copyOf(f, taps)
		f.SUBI(1, before)
		copyRows(f, "old", tile, packed, copyOf(f, b.state), b.e, before)
		copyRows(f, "input", tile, packed, copyOf(f, b.src), b.lds, b.positions)
		f.MOV(room, tile)
		dst := copyOf(f, b.dst)
		byRows(f, b.positions, "rows", func(n int) { b.sums(n, tile, taps, dst) })
		copyRows(f, "new", copyOf(f, b.state), b.e, tile, packed, before)
	})
}

// copyRows copies count rows of a block, at least one, and moves both pointers.
func copyRows(f *asm, label string, dst, ldd, src, lds, count reg) {
	f.Loop(label, copyOf(f, count), func() {
		for at := 0; at < blockBytes; at += 2 * vector {
			x, y := f.ReadPair(mem{Base: src, Off: at})
			f.WritePair(x, y, mem{Base: dst, Off: at})
		}
		f.ADD(lds, src)
		f.ADD(ldd, dst)
	})
}

// sums computes n rows of the result and moves tile and dst past them. Of four taps,
// each input is read once.
func (b *convBlock) sums(n int, tile, taps, dst reg) {
	f := b.asm
	acc := make([][blockVectors]vec, n)
	for t := range acc {
		for i := range acc[t] {
			acc[t][i] = f.Read(mem{Base: b.bias, Off: i * vector})
		}
	}
	w, x := copyOf(f, b.w), copyOf(f, tile)
	byRows(f, taps, fmt.Sprintf("taps%d", n), func(count int) {
		weights := rowsFrom(f, w, b.e, count)
		for i := 0; i < blockVectors; i++ {
			var in []vec
			for t := 0; t < n+count-1; t++ {
				in = append(in, f.Read(mem{Base: x, Off: t*blockBytes + i*vector}))
			}
			for j, p := range weights {
				v := f.Read(mem{Base: p, Off: i * vector})
				for t := range acc {
					f.MulAdd(v, in[t+j], acc[t][i])
				}
			}
		}
		f.ADDTo(weights[count-1], b.e, w)
		f.ADDI(count*blockBytes, x)
	})
	for t := range acc {
		for i := 0; i < blockVectors; i += 2 {
			f.WritePair(acc[t][i], acc[t][i+1], mem{Base: dst, Off: i * vector})
		}
		f.ADD(b.ldd, dst)
	}
	f.ADDI(n*blockBytes, tile)
}
