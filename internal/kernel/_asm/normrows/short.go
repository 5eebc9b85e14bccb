package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/simd"
)

// Short rows are computed several at a time: the sums across the lanes, the root and the
// division take longer than the passes through a short row, and those of several rows do
// not wait for one another.
//
// The bits of a row are the same as if it were alone. Norms add up as those of long rows do,
// which is what a single row is computed by. There are not enough registers to do so for
// gradients: each row has one vector of sums, and single rows have a function of their own.

// rowsTogether is how many there are registers for.
func rowsTogether(v *simd.ISA) int {
	if v.Wide() {
		return 4
	}
	return 2
}

// short goes through rows one after the other in memory. Pointers move along with a pass,
// and go back after it.
type short struct {
	*simd.ISA
	together int
	n, three reg.Register // bytes of a row, and of three
	whole    reg.Register // bytes of the whole vectors of a row
	four     reg.Register // bytes of these in groups of four, if there are so many sums
	rest     reg.Register // elements of a row that are no whole vector
	mask     reg.Register // of these
	i        reg.Register // where the pass is
}

// A spot is a vector of each of the rows, or a part of one.
type spot struct {
	*short
	k    int // of unroll
	part bool
}

func beginShort(v *simd.ISA, together int) *short {
	s := &short{ISA: v, together: together, n: args.Load("n"), whole: GP64(), rest: GP64(), i: GP64()}
	MOVQ(s.n, s.rest)
	ANDQ(U8(v.Lanes()-1), s.rest)
	// The mask takes its register apart.
	count := GP64()
	MOVQ(s.rest, count)
	s.mask = v.TailMask(count)
	MOVQ(s.n, s.whole)
	SUBQ(s.rest, s.whole)
	SHLQ(U8(2), s.n)
	SHLQ(U8(2), s.whole)
	if together == 4 {
		s.three = GP64()
		LEAQ(Mem{Base: s.n, Index: s.n, Scale: 2}, s.three)
	}
	return s
}

// pass emits body for all of the rows at the pointers.
func (s *short) pass(name string, pointers []reg.Register, body func(p spot)) {
	XORQ(s.i, s.i)
	if s.four != nil {
		s.vectors(name+"Four", pointers, s.four, unroll, body)
	}
	s.vectors(name, pointers, s.whole, 1, body)
	TESTQ(s.rest, s.rest)
	JZ(LabelRef(name + "Done"))
	body(spot{s, 0, true})
	Label(name + "Done")
	for _, p := range pointers {
		SUBQ(s.whole, p)
	}
}

// vectors emits body for so many vectors at a time, up to the given end.
func (s *short) vectors(name string, pointers []reg.Register, end reg.Register, count int, body func(p spot)) {
	CMPQ(s.i, end)
	JGE(LabelRef(name + "End"))
	Label(name)
	for k := range count {
		body(spot{s, k, false})
	}
	for _, p := range append(pointers, s.i) {
		ADDQ(I32(int32(count*s.Bytes)), p)
	}
	CMPQ(s.i, end)
	JLT(LabelRef(name))
	Label(name + "End")
}

// at returns where the pass is in row r.
func (p spot) at(base reg.Register, r int) Mem {
	m := Mem{Base: base, Disp: p.k * p.Bytes}
	switch r {
	case 1, 2:
		m.Index, m.Scale = p.n, uint8(r)
	case 3:
		m.Index, m.Scale = p.three, 1
	}
	return m
}

func (p spot) load(base reg.Register, r int) vec {
	x := p.New()
	switch {
	case !p.part:
		VMOVUPS(p.at(base, r), x)
	case p.Wide():
		VMOVUPS_Z(p.at(base, r), p.mask, x)
	default:
		VMASKMOVPS(p.at(base, r), p.mask, x)
	}
	return x
}

func (p spot) store(x vec, base reg.Register, r int) {
	switch {
	case !p.part:
		VMOVUPS(x, p.at(base, r))
	case p.Wide():
		VMOVUPS(x, p.mask, p.at(base, r))
	default:
		VMASKMOVPS(x, p.mask, p.at(base, r))
	}
}

// off takes the mean off x, and leaves zeros beyond the end of the row.
func (p spot) off(mean []vec, r int, x vec) {
	switch {
	case mean == nil:
	case !p.part:
		VSUBPS(mean[r], x, x)
	case p.Wide():
		VSUBPS_Z(mean[r], x, p.mask, x)
	default:
		VSUBPS(mean[r], x, x)
		VANDPS(p.mask.(vec), x, x)
	}
}

// sums returns a vector of sums for each row.
func (s *short) sums() []vec {
	acc := make([]vec, s.together)
	for r := range acc {
		acc[r] = s.Zero()
	}
	return acc
}

// again makes sums zero.
func (s *short) again(acc []vec) {
	for _, a := range acc {
		if s.Wide() {
			VPXORD(a, a, a)
		} else {
			VXORPS(a, a, a)
		}
	}
}

// totals returns the sums of all lanes: that of row r in lane r of a short vector.
func (s *short) totals(acc []vec) vec {
	quarters := make([]vec, len(acc))
	for r, a := range acc {
		y, x := a, XMM()
		if s.Wide() {
			y = YMM()
			VEXTRACTF64X4(U8(1), a, y)
			VADDPS(a.AsY(), y, y)
			VEXTRACTF32X4(U8(1), y, x)
		} else {
			VEXTRACTF128(U8(1), y, x)
		}
		VADDPS(y.AsX(), x, x)
		quarters[r] = x
	}
	t := XMM()
	if len(acc) == 1 {
		x := quarters[0]
		VPERMILPS(U8(0x4e), x, t)
		VADDPS(t, x, x)
		VPERMILPS(U8(0xb1), x, t)
		VADDPS(t, x, x)
		return x
	}
	var halves []vec // the sums of lanes 0 and 2 of two rows, and those of 1 and 3
	for r := 0; r < len(acc); r += 2 {
		low, high := XMM(), XMM()
		VUNPCKLPS(quarters[r+1], quarters[r], low)
		VUNPCKHPS(quarters[r+1], quarters[r], high)
		VADDPS(high, low, low)
		halves = append(halves, low)
	}
	last, x := halves[len(halves)-1], XMM()
	VMOVLHPS(last, halves[0], x)
	VMOVHLPS(halves[0], last, t)
	VADDPS(t, x, x)
	return x
}

// fill returns the lanes of x, each in all lanes of a vector.
func (s *short) fill(x vec) []vec {
	var list []vec
	for r := range s.together {
		v, lane := s.New(), x
		if r > 0 {
			lane = XMM()
			VPERMILPS(U8(0x55*r), x, lane)
		}
		VBROADCASTSS(lane, v)
		list = append(list, v)
	}
	return list
}

// mean returns the means of sums.
func (s *short) mean(acc []vec) vec {
	m := s.totals(acc)
	VMULPS(argument("inverse"), m, m)
	return m
}

// argument returns a short vector of an argument.
func argument(name string) vec {
	x := XMM()
	VBROADCASTSS(args.At(name), x)
	return x
}

// fillX returns a short vector of a number.
func fillX(bits uint32) vec {
	x, r := XMM(), GP32()
	MOVL(U32(bits), r)
	VMOVD(r, x)
	VBROADCASTSS(x, x)
	return x
}

// root returns √(squares/n + inside) and the reciprocal of it and outside.
func (s *short) root(acc []vec, centred bool) (root, scale vec) {
	squares := s.mean(acc)
	VADDPS(argument("inside"), squares, squares)
	root = XMM()
	VSQRTPS(squares, root)
	below := root
	if !centred {
		below = argument("outside")
		VADDPS(root, below, below)
	}
	scale = fillX(0x3f800000)
	VDIVPS(below, scale, scale)
	return root, scale
}

// next moves pointers on to the next rows.
func (s *short) next(pointers ...reg.Register) {
	for _, p := range pointers {
		if s.together == 4 {
			ADDQ(s.three, p)
			ADDQ(s.n, p)
			continue
		}
		for range s.together {
			ADDQ(s.n, p)
		}
	}
}

func shortHead(v *simd.ISA, name, doc string, centred bool, pointers string, together int) reg.Register {
	if together > 1 {
		doc += fmt.Sprintf(" rows is a multiple of %d.", together)
	}
	return head(v, fmt.Sprintf("%sShort%d", name, together), doc, centred, pointers)
}

func shortNorm(v *simd.ISA, centred bool) {
	name, pointers, doc := "rmsNorm", "dst, x, weight", "computes dst = x·scale·weight for all rows."
	if centred {
		name, pointers, doc = "layerNorm", pointers+", bias", "computes dst = (x - mean)·scale·weight + bias for all rows."
	}
	together := rowsTogether(v)
	count := shortHead(v, name, doc, centred, pointers, together)
	dst, x, weight := args.Load("dst"), args.Load("x"), args.Load("weight")
	all := []reg.Register{dst, x, weight}
	s := beginShort(v, together)
	s.four = GP64()
	MOVQ(s.n, s.four)
	ANDQ(I32(int32(-unroll*v.Bytes)), s.four)
	var bias reg.Register
	if centred {
		bias = args.Load("bias")
		all = append(all, bias)
	}
	var acc [unroll][]vec
	for k := range acc {
		acc[k] = s.sums()
	}
	// joined returns the sums of each row as one vector.
	joined := func() []vec {
		for r := range together {
			VADDPS(acc[1][r], acc[0][r], acc[0][r])
			VADDPS(acc[3][r], acc[2][r], acc[2][r])
			VADDPS(acc[2][r], acc[0][r], acc[0][r])
		}
		return acc[0]
	}
	Label("row")
	for k := range acc {
		s.again(acc[k])
	}
	var mean []vec
	if centred {
		s.pass("mean", []reg.Register{x}, func(p spot) {
			for r := range together {
				VADDPS(p.load(x, r), acc[p.k][r], acc[p.k][r])
			}
		})
		mean = s.fill(s.mean(joined()))
		for k := range acc {
			s.again(acc[k])
		}
	}
	s.pass("squares", []reg.Register{x}, func(p spot) {
		for r := range together {
			d := p.load(x, r)
			p.off(mean, r, d)
			VFMADD231PS(d, d, acc[p.k][r])
		}
	})
	_, root := s.root(joined(), centred)
	scale := s.fill(root)
	s.pass("result", all, func(p spot) {
		w := p.load(weight, 0)
		var b vec
		if centred {
			b = p.load(bias, 0)
		}
		for r := range together {
			d := p.load(x, r)
			p.off(mean, r, d)
			VMULPS(scale[r], d, d)
			if centred {
				VFMADD213PS(b, w, d)
			} else {
				VMULPS(w, d, d)
			}
			p.store(d, dst, r)
		}
	})
	s.next(x, dst)
	SUBQ(U8(together), count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// shortGrad is grad for short rows.
func shortGrad(v *simd.ISA, centred bool, together int) {
	name, pointers, doc := "rmsNormGrad", "dx, dy, x, weight, dweight", "computes dx and adds to dweight for all rows."
	if centred {
		name, pointers, doc = "layerNormGrad", pointers+", dbias", "computes dx and adds to dweight and dbias for all rows."
	}
	count := shortHead(v, name, doc, centred, pointers, together)
	dx, dy, x, weight, dweight := args.Load("dx"), args.Load("dy"), args.Load("x"), args.Load("weight"), args.Load("dweight")
	all := []reg.Register{dx, dy, x, weight, dweight}
	s := beginShort(v, together)
	var dbias reg.Register
	if centred {
		dbias = args.Load("dbias")
		all = append(all, dbias)
	}
	Label("row")
	var mean, gmean []vec
	var gmeans vec
	squares, products := s.sums(), s.sums()
	if centred {
		sum, gsum := squares, products
		s.pass("means", []reg.Register{x, dy, weight}, func(p spot) {
			w := p.load(weight, 0)
			for r := range together {
				VADDPS(p.load(x, r), sum[r], sum[r])
				VFMADD231PS(w, p.load(dy, r), gsum[r])
			}
		})
		mean, gmeans = s.fill(s.mean(sum)), s.mean(gsum)
		s.again(squares)
		s.again(products)
	}
	s.pass("squares", []reg.Register{x, dy, weight}, func(p spot) {
		w := p.load(weight, 0)
		for r := range together {
			d, g := p.load(x, r), p.load(dy, r)
			p.off(mean, r, d)
			VFMADD231PS(d, d, squares[r])
			VMULPS(w, g, g)
			VFMADD231PS(g, d, products[r])
		}
	})
	below, scales := s.root(squares, centred)
	// If a row is 0, so is the sum, whatever it is divided by.
	VMAXPS(fillX(0x00800000), below, below)
	along := s.totals(products)
	VDIVPS(below, along, along)
	VMULPS(scales, along, along)
	VMULPS(scales, along, along)
	VMULPS(argument("inverse"), along, along)
	scale, slope := s.fill(scales), s.fill(along)
	if centred {
		VMULPS(scales, gmeans, gmeans)
		gmean = s.fill(gmeans)
	}
	s.pass("result", all, func(p spot) {
		w, dw := p.load(weight, 0), p.load(dweight, 0)
		var db vec
		if centred {
			db = p.load(dbias, 0)
		}
		for r := range together {
			d, e := p.load(x, r), p.load(dy, r)
			p.off(mean, r, d)
			g := p.New()
			VMULPS(w, e, g)
			if centred {
				VFMSUB213PS(gmean[r], scale[r], g)
			} else {
				VMULPS(scale[r], g, g)
			}
			VFNMADD231PS(slope[r], d, g)
			p.store(g, dx, r)
			VMULPS(scale[r], d, d)
			VFMADD231PS(d, e, dw)
			if centred {
				VADDPS(e, db, db)
			}
		}
		p.store(dw, dweight, 0)
		if centred {
			p.store(db, dbias, 0)
		}
	})
	s.next(x, dx, dy)
	SUBQ(U8(together), count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
