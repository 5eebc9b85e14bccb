package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// panelVectors make the 32 columns of a panel.
const panelVectors = panelBytes / vector

// gemv emits the kernels for weights in bfloat16, int8 and int4: for the first the product
// of one row, and the conversion of a panel to float32, for the others the products of
// rows that are split into digits.
func gemv(file *arm64.File) {
	rowBF16(file)
	widenBF16(file)
	for _, full := range []bool{false, true} {
		rowCompact(file, full)
		widenCompact(file, full)
		spansCompact(file, full)
		packCompact(file, full)
	}
	split(file)
	tilesQ8(file)
	tileQ4(file)
	expandQ4(file)
	quantizeQ8(file)
	roundQ4(file)
}

// panelSums returns the sums of the columns, which begin with zero.
func panelSums(f *asm) []vec {
	acc := make([]vec, panelVectors)
	for i := range acc {
		acc[i] = f.Zero()
	}
	return acc
}

// pairsOf emits a loop over pairs of k, and what is to be done for a last single one.
func pairsOf(f *asm, k reg, pair, single func()) {
	pairs := f.R()
	f.LSRTo(1, k, pairs)
	f.CBZ(pairs, "last")
	f.Loop("pair", pairs, pair)
	f.Label("last")
	f.TBZ(0, k, "done")
	single()
	f.Label("done")
}

// eachPair gives out the columns of a pair of k: 32 bits hold the number of the even k
// below that of the odd one.
func eachPair(f *asm, b reg, body func(i int, both vec)) {
	for i := 0; i < panelVectors; i += 2 {
		x, y := f.ReadPair(mem{Base: b, Off: i * vector})
		body(i, x)
		body(i+1, y)
	}
}

const upperHalf = 0xffff0000 // of a float32: what is stored of it in bfloat16

func rowBF16(file *arm64.File) {
	f := file.Func("gemvBF16NEON", "func(k int, a *float32, b *uint16, c *float32, add bool)",
		"computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of a bfloat16 panel.")
	k, a, b := f.Load("k"), f.Load("a"), f.Load("b")
	acc := panelSums(f)
	f.Preload()
	mask := f.Bits(upperHalf)
	pairsOf(f, k, func() {
		x := f.Read2Next(a)
		f.Prefetch(mem{Base: b, Off: ahead})
		f.Prefetch(mem{Base: b, Off: ahead + lineBytes})
		eachPair(f, b, func(i int, both vec) {
			f.MulAddLane(f.ShiftLeft(both, 16), x, 0, acc[i])
			f.MulAddLane(f.And(both, mask), x, 1, acc[i])
		})
		f.ADDI(panelBytes, b)
	}, func() {
		x := f.Read1(mem{Base: a})
		eachPair(f, b, func(i int, both vec) { f.MulAddLane(f.ShiftLeft(both, 16), x, 0, acc[i]) })
	})
	gemmStore(f, [][]vec{acc})
}

func widenBF16(file *arm64.File) {
	f := file.Func("widenBF16NEON", "func(k int, dst *float32, b *uint16)", "converts a bfloat16 panel to a float32 panel.")
	k, dst, b := f.Load("k"), f.Load("dst"), f.Load("b")
	f.Preload()
	mask := f.Bits(upperHalf)
	pairsOf(f, k, func() {
		eachPair(f, b, func(i int, both vec) {
			f.Write(f.ShiftLeft(both, 16), mem{Base: dst, Off: i * vector})
			f.Write(f.And(both, mask), mem{Base: dst, Off: panelBytes + i*vector})
		})
		f.ADDI(panelBytes, b)
		f.ADDI(2*panelBytes, dst)
	}, func() {
		eachPair(f, b, func(i int, both vec) { f.Write(f.ShiftLeft(both, 16), mem{Base: dst, Off: i * vector}) })
	})
	f.RET()
}
