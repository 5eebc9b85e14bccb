package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// transposed returns the columns of a block whose four rows are r.
func transposed(f *asm, r []vec) []vec {
	even01, odd01 := f.Transpose1(r[0], r[1]), f.Transpose2(r[0], r[1])
	even23, odd23 := f.Transpose1(r[2], r[3]), f.Transpose2(r[2], r[3])
	return []vec{f.LowHalves(even01, even23), f.LowHalves(odd01, odd23), f.HighHalves(even01, even23), f.HighHalves(odd01, odd23)}
}

// transpose emits the transposition of blocks of eight rows and columns.
func transpose(file *arm64.File) {
	f := file.Func("transposeBlocksNEON", "func(n int, dst *float32, ldd, dstStep int, src *float32, lds, srcStep int)",
		"computes dst[j*ldd+i] = src[i*lds+j] for i, j < 8, n times, and moves on by dstStep and srcStep elements after each.")
	n, dst, ldd, dstStep := f.Load("n"), f.Load("dst"), f.LoadBytes("ldd"), f.LoadBytes("dstStep")
	src, lds, srcStep := f.Load("src"), f.LoadBytes("lds"), f.LoadBytes("srcStep")
	f.Loop("block", n, func() {
		rows, out := rowsFrom(f, src, lds, 8), copyOf(f, dst)
		for column := 0; column < 8; column += 4 {
			var r []vec
			for _, p := range rows {
				r = append(r, f.Read(mem{Base: p, Off: 4 * column}))
			}
			upper, lower := transposed(f, r[:4]), transposed(f, r[4:])
			for j := range upper {
				f.WritePair(upper[j], lower[j], mem{Base: out})
				f.ADD(ldd, out)
			}
		}
		f.ADD(srcStep, src)
		f.ADD(dstStep, dst)
	})
	f.RET()
}
