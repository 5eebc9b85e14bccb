package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// convRow emits the sum of one position of a long convolution for any number of blocks
// of 16 channels, four at a time as long as there are so many.
func convRow(file *arm64.File) {
	f := file.Func("convRowNEON", "func(dst, add, x *float32, ldx int, h *float32, ldh, n, blocks int)",
		"is convRowGeneric for whole blocks of 16 channels and n > 0. h points to the last row of taps.")
	dst, add, x, h := f.Load("dst"), f.Load("add"), f.Load("x"), f.Load("h")
	ldx, ldh, n := f.LoadBytes("ldx"), f.LoadBytes("ldh"), f.Load("n")
	sums := func(label string, blocks int) {
		acc := make([]vec, blocks*blockVectors)
		for i := range acc {
			acc[i] = f.Read(mem{Base: add, Off: i * vector})
		}
		px, ph := copyOf(f, x), copyOf(f, h)
		f.Loop(label, copyOf(f, n), func() {
			for i := 0; i < len(acc); i += 2 {
				x0, x1 := f.ReadPair(mem{Base: px, Off: i * vector})
				h0, h1 := f.ReadPair(mem{Base: ph, Off: i * vector})
				f.MulAdd(x0, h0, acc[i])
				f.MulAdd(x1, h1, acc[i+1])
			}
			f.ADD(ldx, px)
			f.SUB(ldh, ph)
		})
		for i, a := range acc {
			f.Write(a, mem{Base: dst, Off: i * vector})
		}
		advance(f, blocks*blockBytes, dst, add, x, h)
	}
	byRows(f, f.Load("blocks"), "blocks", func(blocks int) { sums(fmt.Sprintf("row%d", blocks), blocks) })
	f.RET()
}
