package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// normRows emits the norms of rows and their gradients. A row is gone through several
// times: for the mean, for the scale, and for the result.
func normRows(file *arm64.File) {
	for _, centred := range []bool{true, false} {
		norm(file, centred)
		normGrad(file, centred)
	}
}

// A rowPass goes through rows of n elements, n being a multiple of 8.
type rowPass struct {
	*asm
	pairs, bytes reg
}

// run emits body for each pair of vectors of the rows at the pointers. body gets where
// they are.
func (p rowPass) run(label string, rows []reg, body func(at []mem)) {
	var at []mem
	var moving []reg
	for _, r := range rows {
		moving = append(moving, copyOf(p.asm, r))
		at = append(at, mem{Base: moving[len(moving)-1]})
	}
	p.Loop(label, copyOf(p.asm, p.pairs), func() {
		body(at)
		advance(p.asm, 2*vector, moving...)
	})
}

// total returns the sum of all lanes in all lanes.
func (p rowPass) total(acc [2]vec) vec {
	s := p.Add(acc[0], acc[1])
	s = p.AddPairs(s, s)
	return p.AddPairs(s, s)
}

func (p rowPass) sums() [2]vec { return [2]vec{p.Zero(), p.Zero()} }

// read returns a pair of vectors, less the mean if the norm has one.
func (p rowPass) read(at mem, mean *vec) [2]vec {
	a, b := p.ReadPair(at)
	if mean != nil {
		a, b = p.Sub(a, *mean), p.Sub(b, *mean)
	}
	return [2]vec{a, b}
}

// scalars are the arguments of all functions.
type normScalars struct{ inverse, inside, outside vec }

func normHead(file *arm64.File, name, doc, pointers string, centred bool) (*asm, rowPass, normScalars) {
	names := "inverse, inside"
	if !centred {
		names += ", outside"
	}
	f := file.Func(name+"NEON", "func(rows, n int, "+pointers+" *float32, "+names+" float32)", doc)
	p := rowPass{asm: f, pairs: f.R(), bytes: f.LoadBytes("n")}
	f.LSRTo(5, p.bytes, p.pairs)
	f.Preload()
	s := normScalars{inverse: f.FillV(f.LoadScalar("inverse")), inside: f.FillV(f.LoadScalar("inside"))}
	if !centred {
		s.outside = f.FillV(f.LoadScalar("outside"))
	}
	return f, p, s
}

// root returns the root of the mean square, and the reciprocal of it and outside.
func (s normScalars) root(f *asm, squares vec, centred bool) (root, scale vec) {
	sum := f.Copy(s.inside)
	f.MulAdd(squares, s.inverse, sum)
	root = f.Sqrt(sum)
	below := root
	if !centred {
		below = f.Add(root, s.outside)
	}
	return root, f.Div(f.Const(1), below)
}

func norm(file *arm64.File, centred bool) {
	name, doc, pointers := "rmsNorm", "computes dst = x·scale·weight for all rows.", "dst, x, weight"
	if centred {
		name, doc, pointers = "layerNorm", "computes dst = (x - mean)·scale·weight + bias for all rows.", pointers+", bias"
	}
	f, p, s := normHead(file, name, doc, pointers, centred)
	rows, dst, x, weight := f.Load("rows"), f.Load("dst"), f.Load("x"), f.Load("weight")
	in := []reg{dst, x, weight}
	if centred {
		in = append(in, f.Load("bias"))
	}
	f.Loop("row", rows, func() {
		var mean *vec
		if centred {
			sum := p.sums()
			p.run("mean", []reg{x}, func(at []mem) {
				for k, v := range p.read(at[0], nil) {
					f.AddTo(sum[k], v, sum[k])
				}
			})
			m := f.Mul(p.total(sum), s.inverse)
			mean = &m
		}
		squares := p.sums()
		p.run("squares", []reg{x}, func(at []mem) {
			for k, d := range p.read(at[0], mean) {
				f.MulAdd(d, d, squares[k])
			}
		})
		_, scale := s.root(f, p.total(squares), centred)
		p.run("result", in, func(at []mem) {
			d, w := p.read(at[1], mean), p.read(at[2], nil)
			var out [2]vec
			for k := range out {
				out[k] = f.Mul(f.Mul(d[k], scale), w[k])
			}
			if centred {
				for k, b := range p.read(at[3], nil) {
					out[k] = f.Add(out[k], b)
				}
			}
			f.WritePair(out[0], out[1], at[0])
		})
		f.ADD(p.bytes, x)
		f.ADD(p.bytes, dst)
	})
	f.RET()
}

// normGrad emits, with d = x - mean and g = weight·dy,
//
//	dx = scale·g - scale·mean(g) - d·(Σ g·d / root · scale²/n)
//	dweight += dy·d·scale    dbias += dy
func normGrad(file *arm64.File, centred bool) {
	name, doc, pointers := "rmsNormGrad", "computes dx and adds to dweight for all rows.", "dx, dy, x, weight, dweight"
	if centred {
		name, doc, pointers = "layerNormGrad", "computes dx and adds to dweight and dbias for all rows.", pointers+", dbias"
	}
	f, p, s := normHead(file, name, doc, pointers, centred)
	rows, dx, dy, x, weight := f.Load("rows"), f.Load("dx"), f.Load("dy"), f.Load("x"), f.Load("weight")
	all := []reg{dx, dy, x, weight, f.Load("dweight")}
	if centred {
		all = append(all, f.Load("dbias"))
	}
	f.Loop("row", rows, func() {
		var mean *vec
		var gmean vec
		if centred {
			sum, gsum := p.sums(), p.sums()
			p.run("means", []reg{x, dy, weight}, func(at []mem) {
				e, w := p.read(at[1], nil), p.read(at[2], nil)
				for k, v := range p.read(at[0], nil) {
					f.AddTo(sum[k], v, sum[k])
					f.MulAdd(e[k], w[k], gsum[k])
				}
			})
			m := f.Mul(p.total(sum), s.inverse)
			mean, gmean = &m, f.Mul(p.total(gsum), s.inverse)
		}
		squares, products := p.sums(), p.sums()
		p.run("squares", []reg{x, dy, weight}, func(at []mem) {
			e, w := p.read(at[1], nil), p.read(at[2], nil)
			for k, d := range p.read(at[0], mean) {
				f.MulAdd(d, d, squares[k])
				f.MulAdd(f.Mul(e[k], w[k]), d, products[k])
			}
		})
		root, scale := s.root(f, p.total(squares), centred)
		// If the row is 0, so is the sum, whatever it is divided by.
		along := f.Div(p.total(products), f.Max(root, f.Fresh(0x1p-126)))
		slope := f.Mul(f.Mul(f.Mul(along, scale), scale), s.inverse)
		if centred {
			gmean = f.Mul(gmean, scale)
		}
		p.run("result", all, func(at []mem) {
			e, d, w, dw := p.read(at[1], nil), p.read(at[2], mean), p.read(at[3], nil), p.read(at[4], nil)
			var g [2]vec
			for k := range g {
				g[k] = f.Mul(f.Mul(e[k], w[k]), scale)
				if centred {
					g[k] = f.Sub(g[k], gmean)
				}
				f.MulSub(d[k], slope, g[k])
				f.MulAdd(f.Mul(d[k], scale), e[k], dw[k])
			}
			f.WritePair(g[0], g[1], at[0])
			f.WritePair(dw[0], dw[1], at[4])
			if centred {
				db := p.read(at[5], nil)
				f.WritePair(f.Add(db[0], e[0]), f.Add(db[1], e[1]), at[5])
			}
		})
		advanceBy(f, p.bytes, x, dx, dy)
	})
	f.RET()
}

// advanceBy moves pointers on by so many bytes.
func advanceBy(f *asm, bytes reg, pointers ...reg) {
	for _, p := range pointers {
		f.ADD(bytes, p)
	}
}
