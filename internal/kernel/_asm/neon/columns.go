package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// columns emits the sums of columns, and those of the products of two matrices.
func columns(file *arm64.File) {
	columnFunc(file, "columnSums", "func(sum, x *float32, ldx, rows, n int)", false)
	columnFunc(file, "columnDots", "func(sum, x *float32, ldx int, y *float32, ldy, rows, n int)", true)
}

// columnFunc emits a function that takes four vectors at a time, then one, then a part of
// one.
func columnFunc(file *arm64.File, name, signature string, dots bool) {
	f := file.Func(name+"NEON", signature, "is "+name+"Generic for rows > 0.")
	n, rows, sum := f.Load("n"), f.Load("rows"), f.Load("sum")
	in, distance := []reg{f.Load("x")}, []reg{f.LoadBytes("ldx")}
	if dots {
		in, distance = append(in, f.Load("y")), append(distance, f.LoadBytes("ldy"))
	}
	// add returns the sums of some vectors of columns, of which read reads one.
	add := func(label string, vectors int, read func(name string, p reg, i int) vec) []vec {
		acc := make([]vec, vectors)
		for i := range acc {
			acc[i] = f.Zero()
		}
		var at []reg
		for _, p := range in {
			at = append(at, copyOf(f, p))
		}
		f.Loop(label, copyOf(f, rows), func() {
			for i, a := range acc {
				x := read("x", at[0], i)
				if dots {
					f.MulAdd(x, read("y", at[1], i), a)
				} else {
					f.AddTo(a, x, a)
				}
			}
			for i, p := range at {
				f.ADD(distance[i], p)
			}
		})
		for i, a := range acc {
			f.AddTo(a, read("sum", sum, i), a)
		}
		return acc
	}
	whole := func(_ string, p reg, i int) vec { return f.Read(mem{Base: p, Off: i * vector}) }
	for _, vectors := range []int{4, 1} {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, vectors) }
		f.Label(label("columns"))
		f.CMPI(n, vectors*arm64.Lanes)
		f.BLT(label("done"))
		for i, a := range add(label("row"), vectors, whole) {
			f.Write(a, mem{Base: sum, Off: i * vector})
		}
		advance(f, vectors*vector, append(in, sum)...)
		f.SUBI(vectors*arm64.Lanes, n)
		f.B(label("columns"))
		f.Label(label("done"))
	}
	f.CBZ(n, "end")
	for _, a := range add("rowPart", 1, func(name string, p reg, _ int) vec { return f.ReadPart(name, p, n) }) {
		f.WritePart("out", a, sum, n)
	}
	f.Label("end")
	f.RET()
}
