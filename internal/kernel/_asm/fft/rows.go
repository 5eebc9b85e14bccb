package main

import (
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A rowSet addresses up to eight rows at equal distances. The distance is a register, or
// fixed.
type rowSet struct {
	base, upper     reg.Register // of rows 0 and 4
	stride, stride3 reg.Register
	fixed           int
}

// newRows loads a pointer and a distance, given in units of so many bytes.
func newRows(base, stride string, unit, n int) *rowSet {
	r := &rowSet{base: load(base), stride: load(stride)}
	IMUL3Q(U8(unit), r.stride, r.stride)
	r.prepare(n)
	return r
}

func (r *rowSet) prepare(n int) {
	if n > 2 {
		r.stride3 = GP64()
		LEAQ(Mem{Base: r.stride, Index: r.stride, Scale: 2}, r.stride3)
	}
	if n > 4 {
		r.upper = GP64()
	}
}

// sync makes rows 4 to 7 follow the base.
func (r *rowSet) sync() {
	if r.upper != nil {
		LEAQ(Mem{Base: r.base, Index: r.stride, Scale: 4}, r.upper)
	}
}

// next moves all rows on by one.
func (r *rowSet) next() { SUBQ(I8(-rowBytes), r.base) }

func (r *rowSet) row(q int) Mem {
	if r.fixed != 0 {
		return Mem{Base: r.base, Disp: q * r.fixed}
	}
	m := Mem{Base: r.base}
	if q >= 4 {
		m.Base = r.upper
	}
	switch q % 4 {
	case 1:
		m.Index, m.Scale = r.stride, 1
	case 2:
		m.Index, m.Scale = r.stride, 2
	case 3:
		m.Index, m.Scale = r.stride3, 1
	}
	return m
}

// samples are rows of the input or the output.
type samples struct{ rowSet }

// newSamples loads lower, upper and ld. Four rows follow each of the pointers at the
// distance that the rows of the buffer have. ld is returned in bytes.
func newSamples() (lower, upper *samples, ld reg.Register) {
	ld = load("ld")
	SHLQ(U8(2), ld)
	lower = &samples{rowSet{base: load("lower"), stride: load("s")}}
	IMULQ(ld, lower.stride)
	lower.prepare(4)
	u := lower.rowSet
	u.base = load("upper")
	return lower, &samples{u}, ld
}

// prefetch fetches four rows further on.
func (s *samples) prefetch(ld reg.Register) {
	far := rowSet{base: GP64(), stride: s.stride, stride3: s.stride3}
	MOVQ(ld, far.base)
	SHLQ(U8(bits.TrailingZeros(samplesAhead)), far.base)
	ADDQ(s.base, far.base)
	for q := 0; q < 4; q++ {
		PREFETCHT0(far.row(q))
	}
}

func load(name string) reg.Register { return Load(Param(name), GP64()) }
