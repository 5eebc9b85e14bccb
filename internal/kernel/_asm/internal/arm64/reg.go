package arm64

import (
	"fmt"
	"math/bits"
)

// V is a vector of four float32s, R a general register.
type (
	V struct{ id int }
	R struct{ id int }
)

// V returns a new vector register.
func (f *Func) V() V {
	f.vectors++
	return V{f.vectors - 1}
}

// R returns a new general register.
func (f *Func) R() R {
	f.generals++
	return R{f.generals - 1}
}

// An operand is a register that an instruction reads or writes.
type operand struct {
	id       int // of general registers, counted from -1 down
	def, use bool
}

type register interface{ operand() operand }

func (r V) operand() operand { return operand{id: r.id} }
func (r R) operand() operand { return operand{id: -1 - r.id} }

func def(r register) operand { o := r.operand(); o.def = true; return o }
func use(r register) operand { o := r.operand(); o.use = true; return o }
func mod(r register) operand { o := def(r); o.use = true; return o }

// Numbers of registers that may be used. R18 is the platform's, and R27 to R30 have
// a meaning in Go.
var (
	vectorNumbers  = count(0, 31)
	generalNumbers = append(count(0, 17), count(19, 26)...)
)

func count(from, to int) (n []int) {
	for i := from; i <= to; i++ {
		n = append(n, i)
	}
	return n
}

// A set holds indices of registers.
type set []uint64

func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }

// union adds t to s and reports whether that changed it.
func (s set) union(t set) (changed bool) {
	for i, w := range t {
		if w&^s[i] != 0 {
			s[i] |= w
			changed = true
		}
	}
	return changed
}

func (s set) each(f func(i int)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			f(64*i + bits.TrailingZeros64(w))
		}
	}
}

// index makes one number of the two kinds of registers: general ones after vectors.
func (f *Func) index(id int) int {
	if id < 0 {
		return f.vectors - 1 - id
	}
	return id
}

// live returns for each instruction the registers whose content is needed after it.
func (f *Func) live() []set {
	labels := map[string]int{}
	for i, in := range f.code {
		if in.label != "" {
			if _, twice := labels[in.label]; twice {
				panic(fmt.Sprintf("%s: label %s twice", f.name, in.label))
			}
			labels[in.label] = i
		}
	}
	words := (f.vectors + f.generals + 63) / 64
	after := make([]set, len(f.code))
	before := make([]set, len(f.code)+1)
	for i := range before {
		before[i] = make(set, words)
	}
	for i := range after {
		after[i] = make(set, words)
	}
	for changed := true; changed; {
		changed = false
		for i := len(f.code) - 1; i >= 0; i-- {
			in := f.code[i]
			if !in.ends {
				after[i].union(before[i+1])
			}
			if in.target != "" {
				to, ok := labels[in.target]
				if !ok {
					panic(fmt.Sprintf("%s: no label %s", f.name, in.target))
				}
				after[i].union(before[to])
			}
			now := append(set(nil), after[i]...)
			in.operands(func(o operand) {
				if o.def && !o.use {
					now.remove(f.index(o.id))
				}
			})
			in.operands(func(o operand) {
				if o.use {
					now.add(f.index(o.id))
				}
			})
			if before[i].union(now) {
				changed = true
			}
		}
	}
	before[0].each(func(i int) { panic(fmt.Sprintf("%s: register %d is read before it is written", f.name, i)) })
	return after
}

// allocate numbers the registers so that those which live at the same time differ. It
// does not spill.
func (f *Func) allocate() func(id int) int {
	n := f.vectors + f.generals
	conflicts := make([]set, n)
	for i := range conflicts {
		conflicts[i] = make(set, (n+63)/64)
	}
	var order []int
	seen := make(set, (n+63)/64)
	for i, live := range f.live() {
		f.code[i].operands(func(o operand) {
			r := f.index(o.id)
			if !o.def {
				return
			}
			if !seen.has(r) {
				seen.add(r)
				order = append(order, r)
			}
			clash := func(other int) {
				if other != r && (other < f.vectors) == (r < f.vectors) {
					conflicts[r].add(other)
					conflicts[other].add(r)
				}
			}
			live.each(clash)
			f.code[i].operands(func(p operand) {
				if p.def {
					clash(f.index(p.id))
				}
			})
		})
	}
	number := make([]int, n)
	for i := range number {
		number[i] = -1
	}
	for _, r := range order {
		choices := vectorNumbers
		if r >= f.vectors {
			choices = generalNumbers
		}
		taken := map[int]bool{}
		conflicts[r].each(func(other int) { taken[number[other]] = true })
		for _, c := range choices {
			if !taken[c] {
				number[r] = c
				break
			}
		}
		if number[r] < 0 {
			panic(fmt.Sprintf("%s: not enough registers", f.name))
		}
	}
	return func(id int) int { return number[f.index(id)] }
}
