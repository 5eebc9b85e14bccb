package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

const (
	panelColumns = 32
	panelBytes   = 4 * panelColumns // one step along k in a panel
	vector       = 16               // bytes
	lineBytes    = 64               // of the cache, at least

	// ahead is how far the weights of a whole panel are fetched ahead of their use.
	ahead = 8192
)

// gemm emits tiles of up to six rows of half a panel and of up to three rows of a whole
// one. With all 24 sums of four lanes in registers, a step along k of six rows takes
// four loads of weights and one and a half of rows for 24 multiply-adds.
func gemm(file *arm64.File) {
	for m := 3; m <= 6; m++ {
		gemmTile(file, m, panelColumns/2)
	}
	for m := 1; m <= 3; m++ {
		gemmTile(file, m, panelColumns)
	}
}

// gemmTile emits a tile of m rows. Those of half a panel read every other line of it;
// what they fetch ahead is what the passes over the next panel will read, all of it and
// in order: step bytes from next on for every k.
func gemmTile(file *arm64.File, m, columns int) {
	half := columns < panelColumns
	signature := "k int, a *float32, lda int, b, c *float32, ldc int, add bool"
	if half {
		signature += ", next *float32, step int"
	}
	f := file.Func(fmt.Sprintf("gemmTile%dx%dNEON", m, columns), "func("+signature+")",
		fmt.Sprintf("computes c[i*ldc+j] (+)= Σ a[i*lda+p]·b[p*32+j] for i < %d and j < %d.", m, columns))
	k, b := f.Load("k"), f.Load("b")
	rows := rowPointers(f, "a", "lda", m)
	for _, r := range rowPointers(f, "c", "ldc", m) {
		for j := 0; j < columns; j += lineBytes / 4 {
			f.Prefetch(mem{Base: r, Off: 4 * j})
		}
	}
	var next, stride reg
	if half {
		next, stride = f.Load("next"), f.Load("step")
	}
	acc := make([][]vec, m)
	for i := range acc {
		for j := 0; j < columns/arm64.Lanes; j++ {
			acc[i] = append(acc[i], f.Zero())
		}
	}
	// step takes element lane of x, the elements of the rows, and the weights of step u.
	step := func(x []vec, lane, u int) {
		if half {
			f.PrefetchL2(mem{Base: next})
			f.ADD(stride, next)
		}
		for j := 0; j < columns/arm64.Lanes; j += 2 {
			at := mem{Base: b, Off: u*panelBytes + j*vector}
			if !half && j*vector%lineBytes == 0 {
				f.Prefetch(at.Plus(ahead))
			}
			w0, w1 := f.ReadPair(at)
			for i := range acc {
				f.MulAddLane(w0, x[i], lane, acc[i][j])
				f.MulAddLane(w1, x[i], lane, acc[i][j+1])
			}
		}
	}
	four := f.R()
	f.LSRTo(2, k, four)
	f.CBZ(four, "single")
	f.Loop("four", four, func() {
		var x []vec
		for _, r := range rows {
			x = append(x, f.ReadNext(r))
		}
		for u := 0; u < 4; u++ {
			step(x, u, u)
		}
		f.ADDI(4*panelBytes, b)
	})
	f.Label("single")
	rest := f.R()
	f.ANDTo(3, k, rest)
	f.CBZ(rest, "done")
	f.Loop("one", rest, func() {
		var x []vec
		for _, r := range rows {
			x = append(x, f.Read1Next(r))
		}
		step(x, 0, 0)
		f.ADDI(panelBytes, b)
	})
	f.Label("done")
	gemmStore(f, acc)
}

// rowPointers returns pointers to m rows.
func rowPointers(f *asm, base, ld string, m int) []reg {
	return rowsFrom(f, f.Load(base), f.LoadBytes(ld), m)
}

// rowsFrom returns pointers to m rows of which the first is at base.
func rowsFrom(f *asm, base, ld reg, m int) []reg {
	rows := []reg{base}
	for len(rows) < m {
		r := f.R()
		f.ADDTo(rows[len(rows)-1], ld, r)
		rows = append(rows, r)
	}
	return rows
}

// gemmStore adds the old content of c, if asked to, and stores the sums.
func gemmStore(f *asm, acc [][]vec) {
	add := f.Load("add")
	rows := []reg{f.Load("c")}
	if len(acc) > 1 {
		rows = rowPointers(f, "c", "ldc", len(acc))
	}
	f.CBZ(add, "store")
	for i, r := range rows {
		for j := 0; j < len(acc[i]); j += 2 {
			x, y := f.ReadPair(mem{Base: r, Off: j * vector})
			f.AddTo(acc[i][j], x, acc[i][j])
			f.AddTo(acc[i][j+1], y, acc[i][j+1])
		}
	}
	f.Label("store")
	for i, r := range rows {
		for j := 0; j < len(acc[i]); j += 2 {
			f.WritePair(acc[i][j], acc[i][j+1], mem{Base: r, Off: j * vector})
		}
	}
	f.RET()
}
