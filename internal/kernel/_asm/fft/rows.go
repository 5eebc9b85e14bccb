package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/args"
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
	r := &rowSet{base: args.Load(base), stride: args.Load(stride)}
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

// samples are eight rows of the input or the output, each with a distance of its own.
type samples struct {
	rows [8]reg.Register
	lds  [8]Mem
}

// newSamples loads what an fftSamples holds.
func newSamples() *samples {
	const slice = 24 // bytes of a slice, which begin with its pointer
	s := &samples{}
	rows := args.Load("rows")
	for q := range s.rows {
		s.rows[q] = GP64()
		MOVQ(Mem{Base: rows, Disp: slice * q}, s.rows[q])
	}
	// In bytes, and where they need no register.
	local := AllocLocal(8 * 8)
	from, ld := args.Load("ld"), GP64()
	for q := range s.lds {
		s.lds[q] = local.Offset(8 * q)
		MOVQ(Mem{Base: from, Disp: 8 * q}, ld)
		SHLQ(U8(2), ld)
		MOVQ(ld, s.lds[q])
	}
	return s
}

func (s *samples) at(q, bytes int) Mem { return Mem{Base: s.rows[q], Disp: bytes} }

func (s *samples) next() {
	for q, r := range s.rows {
		ADDQ(s.lds[q], r)
	}
}

// prefetch fetches the samples of eight turns later.
func (s *samples) prefetch() {
	for q, r := range s.rows {
		ld := GP64()
		MOVQ(s.lds[q], ld)
		PREFETCHT0(Mem{Base: r, Index: ld, Scale: 8})
	}
}
