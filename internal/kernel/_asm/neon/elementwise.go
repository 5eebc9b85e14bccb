package main

import (
	"strings"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// An elementwise describes a function that computes dst from up to three inputs x, y
// and z, element by element, and, if scalar is set, from a number s.
type elementwise struct {
	name, doc string
	inputs    int
	scalar    bool
	preload   []float32 // constants to keep in registers
	body      func(f *asm, in []vec, s vec) vec
}

// emit writes the function. It takes two vectors at a time, whose instructions
// alternate, then one, then a part of one.
func (e elementwise) emit(file *arm64.File) {
	params := []string{"x", "y", "z"}[:e.inputs]
	signature := "func(n int, dst, " + strings.Join(params, ", ") + " *float32"
	if e.scalar {
		signature += ", s float32"
	}
	f := file.Func(e.name+"NEON", signature+")", e.doc)
	n, dst := f.Load("n"), f.Load("dst")
	var src []reg
	for _, p := range params {
		src = append(src, f.Load(p))
	}
	var s vec
	if e.scalar {
		s = f.FillV(f.LoadScalar("s"))
	}
	f.Preload(e.preload...)

	pairs := f.R()
	f.LSRTo(3, n, pairs)
	f.CBZ(pairs, "single")
	f.Loop("pair", pairs, func() {
		var in [2][]vec
		for _, p := range src {
			x, y := f.ReadPair(mem{Base: p})
			in[0], in[1] = append(in[0], x), append(in[1], y)
		}
		var out [2]vec
		f.Interleave(
			func() { out[0] = e.body(f, in[0], s) },
			func() { out[1] = e.body(f, in[1], s) },
		)
		f.WritePair(out[0], out[1], mem{Base: dst})
		advance(f, 2*vector, append(src, dst)...)
	})
	f.Label("single")
	f.TBZ(2, n, "tail")
	var in []vec
	for _, p := range src {
		in = append(in, f.Read(mem{Base: p}))
	}
	f.Write(e.body(f, in, s), mem{Base: dst})
	advance(f, vector, append(src, dst)...)

	f.Label("tail")
	rest := f.R()
	f.ANDTo(arm64.Lanes-1, n, rest)
	f.CBZ(rest, "done")
	in = nil
	for i, p := range src {
		in = append(in, f.ReadPart(params[i], p, rest))
	}
	f.WritePart("dst", e.body(f, in, s), dst, rest)
	f.Label("done")
	f.RET()
}

// advance moves pointers on.
func advance(f *asm, bytes int, pointers ...reg) {
	for _, p := range pointers {
		f.ADDI(bytes, p)
	}
}

// A reduction describes a function that adds up, or otherwise collects, n elements of
// up to two inputs in 32 partial results, which Go puts together. n is a multiple of 32
// and not 0.
type reduction struct {
	name, doc string
	inputs    int
	start     func(f *asm) vec
	body      func(f *asm, in []vec, acc vec)
}

func (r reduction) emit(file *arm64.File) {
	const partials = 8 // vectors
	params := []string{"x", "y"}[:r.inputs]
	f := file.Func(r.name+"NEON", "func(n int, "+strings.Join(params, ", ")+", out *float32)", r.doc)
	n := f.Load("n")
	var src []reg
	for _, p := range params {
		src = append(src, f.Load(p))
	}
	f.Preload()
	var acc [partials]vec
	for i := range acc {
		acc[i] = r.start(f)
	}
	rounds := f.R()
	f.LSRTo(5, n, rounds)
	f.Loop("loop", rounds, func() {
		for i := 0; i < partials; i += 2 {
			var in [2][]vec
			for _, p := range src {
				x, y := f.ReadPair(mem{Base: p, Off: i * vector})
				in[0], in[1] = append(in[0], x), append(in[1], y)
			}
			r.body(f, in[0], acc[i])
			r.body(f, in[1], acc[i+1])
		}
		advance(f, partials*vector, src...)
	})
	out := f.Load("out")
	for i := 0; i < partials; i += 2 {
		f.WritePair(acc[i], acc[i+1], mem{Base: out, Off: i * vector})
	}
	f.RET()
}
