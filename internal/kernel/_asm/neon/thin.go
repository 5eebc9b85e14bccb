package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

const (
	thinRows    = 8 // of the tallest tile
	thinVectors = 2 // of a row of b
)

// thin emits the matrix product with eight columns.
func thin(file *arm64.File) {
	for m := 1; m <= thinRows; m++ {
		thinTile(file, m)
	}
}

// thinTile emits a tile of m rows. The rows of a are read once and then not again, so
// that what limits the speed is how fast they come: those of the next tile, which mostly
// follow, are fetched ahead.
func thinTile(file *arm64.File, m int) {
	f := file.Func(fmt.Sprintf("gemmThin%dNEON", m), "func(k int, a *float32, lda int, b, c *float32, ldc int, add bool)",
		fmt.Sprintf("computes c[i*ldc+j] (+)= Σ a[i*lda+p]·b[p*8+j] for i < %d and j < 8.", m))
	const width = thinVectors * vector
	k, b := f.Load("k"), f.Load("b")
	rows := rowPointers(f, "a", "lda", m+1)
	rows, next := rows[:m], rows[m]
	acc := make([][]vec, m)
	for i := range acc {
		acc[i] = []vec{f.Zero(), f.Zero()}
	}
	step := func(x []vec, lane, u int) {
		w0, w1 := f.ReadPair(mem{Base: b, Off: u * width})
		for i := range acc {
			f.MulAddLane(w0, x[i], lane, acc[i][0])
			f.MulAddLane(w1, x[i], lane, acc[i][1])
		}
	}
	read := func(one func(p reg) vec) (x []vec) {
		for _, r := range rows {
			x = append(x, one(r))
		}
		return x
	}
	byRows(f, k, "k", func(count int) {
		if count == 1 {
			step(read(f.Read1Next), 0, 0)
		} else {
			for at := 0; at < m*vector; at += lineBytes {
				f.Prefetch(mem{Base: next, Off: at})
			}
			f.ADDI(m*vector, next)
			x := read(f.ReadNext)
			for u := range count {
				step(x, u, u)
			}
		}
		f.ADDI(count*width, b)
	})
	gemmStore(f, acc)
}
