package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// A dplrKernel takes a block of a filter whose matrix is diagonal plus low rank through
// positions. Rows have an element for each of the 16 channels.
type dplrKernel struct {
	*asm
	states, rank, h, sigma reg

	rows reg // where the walk through them has come to
}

func dplr(file *arm64.File) {
	f := file.Func("dplrStepsNEON", "func(n, states, rank int, y, u, rows, h, sigma *float32)", "is dplrStepsGeneric.")
	n, y, u, rows := f.Load("n"), f.Load("y"), f.Load("u"), f.Load("rows")
	k := &dplrKernel{asm: f, states: f.Load("states"), rank: f.Load("rank"), h: f.Load("h"), sigma: f.Load("sigma")}
	f.Preload(0, smallest)
	f.Loop("position", n, func() {
		k.rows = copyOf(f, rows)
		k.sums()
		k.advance(u, y)
		advance(f, blockBytes, u, y)
	})
	p := copyOf(f, k.h)
	f.Loop("flush", copyOf(f, k.states), func() {
		for i := range 2 * blockVectors {
			at := mem{Base: p, Off: i * vector}
			f.Write(flushed(f, f.Read(at)), at)
		}
		f.ADDI(2*blockBytes, p)
	})
	f.RET()
}

// in returns vector i of a row after a pointer.
func in(base reg, row, i int) mem { return mem{Base: base, Off: row*blockBytes + i*vector} }

// sums computes σ of each rank, two states at a time.
func (k *dplrKernel) sums() {
	const rows = 4 // of two states
	k.CBZ(k.rank, "summed")
	sigma := copyOf(k.asm, k.sigma)
	k.Loop("rank", copyOf(k.asm, k.rank), func() {
		h, pairs := copyOf(k.asm, k.h), k.R()
		k.LSRTo(1, k.states, pairs)
		var sum [rows][blockVectors]vec
		for r := range sum {
			for i := range sum[r] {
				sum[r][i] = k.Zero()
			}
		}
		k.Loop("sum", pairs, func() {
			for r := range sum {
				for i := range sum[r] {
					k.MulAdd(k.Read(in(k.rows, r, i)), k.Read(in(h, r, i)), sum[r][i])
				}
			}
			advance(k.asm, rows*blockBytes, k.rows, h)
		})
		for i := range blockVectors {
			s := k.Add(k.Add(sum[0][i], sum[1][i]), k.Add(sum[2][i], sum[3][i]))
			k.Write(s, in(sigma, 0, i))
		}
		k.ADDI(blockBytes, sigma)
	})
	k.Label("summed")
}

// advance takes all states through a position and adds to y what they make of u.
func (k *dplrKernel) advance(u, y reg) {
	h := copyOf(k.asm, k.h)
	var x, out, re, im [blockVectors]vec
	for i := range x {
		x[i], out[i] = k.Read(in(u, 0, i)), k.Read(in(y, 0, i))
	}
	k.Loop("state", copyOf(k.asm, k.states), func() {
		for i := range x {
			gr, gi := k.Read(in(k.rows, 0, i)), k.Read(in(k.rows, 1, i))
			oldRe, oldIm := k.Read(in(h, 0, i)), k.Read(in(h, 1, i))
			re[i], im[i] = k.Mul(k.Read(in(k.rows, 2, i)), x[i]), k.Mul(k.Read(in(k.rows, 3, i)), x[i])
			k.MulAdd(gr, oldRe, re[i])
			k.MulAdd(gr, oldIm, im[i])
			k.MulSub(gi, oldIm, re[i])
			k.MulAdd(gi, oldRe, im[i])
		}
		k.corrections(re, im)
		for i := range x {
			newRe, newIm := k.Add(k.Read(in(h, 0, i)), re[i]), k.Add(k.Read(in(h, 1, i)), im[i])
			k.Write(newRe, in(h, 0, i))
			k.Write(newIm, in(h, 1, i))
			k.MulAdd(k.Read(in(k.rows, 4, i)), newRe, out[i])
			k.MulAdd(k.Read(in(k.rows, 5, i)), newIm, out[i])
		}
		k.ADDI(2*blockBytes, h)
		k.ADDI(6*blockBytes, k.rows)
		k.ADDShifted(k.rank, 7, k.rows) // two rows for each rank
	})
	for i, o := range out {
		k.Write(o, in(y, 0, i))
	}
}

// corrections subtracts p·σ of all ranks.
func (k *dplrKernel) corrections(re, im [blockVectors]vec) {
	k.CBZ(k.rank, "corrected")
	rows, sigma := copyOf(k.asm, k.rows), copyOf(k.asm, k.sigma)
	k.Loop("correction", copyOf(k.asm, k.rank), func() {
		for i := range re {
			s := k.Read(in(sigma, 0, i))
			k.MulSub(k.Read(in(rows, 6, i)), s, re[i])
			k.MulSub(k.Read(in(rows, 7, i)), s, im[i])
		}
		k.ADDI(2*blockBytes, rows)
		k.ADDI(blockBytes, sigma)
	})
	k.Label("corrected")
}
