package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// probe emits the loops that measure what the machine can do.
func probe(file *arm64.File) {
	f := file.Func("probeFMANEON", "func(n int)", "runs n rounds of 48 vector multiply-adds.")
	n, x := f.Load("n"), f.Zero()
	acc := make([]vec, 24)
	for i := range acc {
		acc[i] = f.Zero()
	}
	f.Loop("loop", n, func() {
		for range 2 {
			for _, a := range acc {
				f.MulAdd(x, x, a)
			}
		}
	})
	f.RET()

	f = file.Func("probeReadNEON", "func(p *float32, rounds int)", "loads rounds times 8 vectors from p on.")
	p := f.Load("p")
	f.Loop("loop", f.Load("rounds"), func() {
		for i := 0; i < 8; i += 2 {
			f.ReadPair(mem{Base: p, Off: i * vector})
			if i%4 == 0 {
				f.Prefetch(mem{Base: p, Off: i*vector + 4096})
			}
		}
		f.ADDI(8*vector, p)
	})
	f.RET()
}
