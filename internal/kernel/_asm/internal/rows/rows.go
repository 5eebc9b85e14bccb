// Package rows addresses the rows of matrices.
package rows

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Rows addresses the rows of a matrix with few registers: a base for every fifth row, and
// the others by index.
type Rows struct {
	bases   []reg.GPVirtual
	ld, ld3 reg.GPVirtual
}

// New returns the m rows that begin at base, ld bytes apart.
func New(base, ld reg.Register, m int) *Rows {
	r := &Rows{ld: ld.(reg.GPVirtual)}
	if m > 3 {
		r.ld3 = GP64()
		LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, r.ld3)
	}
	for i := 0; i < m; i += 5 {
		p := GP64()
		if i == 0 {
			MOVQ(base, p)
		} else {
			LEAQ(Mem{Base: r.bases[len(r.bases)-1], Index: r.ld, Scale: 4}, p)
			ADDQ(r.ld, p)
		}
		r.bases = append(r.bases, p)
	}
	return r
}

// At returns the operand disp bytes into row i.
func (r *Rows) At(i, disp int) Mem {
	m := Mem{Base: r.bases[i/5], Disp: disp}
	switch i % 5 {
	case 1:
		m.Index, m.Scale = r.ld, 1
	case 2:
		m.Index, m.Scale = r.ld, 2
	case 3:
		m.Index, m.Scale = r.ld3, 1
	case 4:
		m.Index, m.Scale = r.ld, 4
	}
	return m
}

// Advance moves all rows on.
func (r *Rows) Advance(bytes int) {
	for _, b := range r.bases {
		ADDQ(I32(int32(bytes)), b)
	}
}
