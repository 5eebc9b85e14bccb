package arm64

import "fmt"

// An inst is an instruction or a label. Its format has a %d for each argument.
type inst struct {
	format string
	args   []any // operands and numbers

	word   uint32 // if encoded here: with zeros for the registers, whose
	shifts []int  // numbers go to these bits

	label  string // of this place
	target string // of a branch
	ends   bool   // whether it never goes on with the next instruction
}

func (in inst) operands(f func(o operand)) {
	for _, a := range in.args {
		if o, ok := a.(operand); ok {
			f(o)
		}
	}
}

func (in inst) text(number func(id int) int) string {
	if in.label != "" {
		return in.label + ":\n"
	}
	word := in.word
	var values []any
	for i, a := range in.args {
		if o, ok := a.(operand); ok {
			a = number(o.id)
			if in.shifts != nil {
				word |= uint32(number(o.id)) << in.shifts[i]
			}
		}
		values = append(values, a)
	}
	s := fmt.Sprintf(in.format, values...)
	if in.shifts != nil {
		return fmt.Sprintf("\tWORD $0x%08x // %s\n", word, s)
	}
	return "\t" + s + "\n"
}

func (f *Func) emit(format string, args ...any) {
	f.code = append(f.code, inst{format: format, args: args})
}

// Label marks a place to branch to.
func (f *Func) Label(name string) { f.code = append(f.code, inst{label: name}) }

func (f *Func) branch(op, target string, ends bool, args ...any) {
	f.code = append(f.code, inst{format: op + target, args: args, target: target, ends: ends})
}

// B branches always, BEQ to BVS by the flags, CBZ and CBNZ if a register is or is not
// zero, TBZ if one of its bits is.
func (f *Func) B(target string)              { f.branch("B ", target, true) }
func (f *Func) BEQ(target string)            { f.branch("BEQ ", target, false) }
func (f *Func) BNE(target string)            { f.branch("BNE ", target, false) }
func (f *Func) BLT(target string)            { f.branch("BLT ", target, false) }
func (f *Func) BGE(target string)            { f.branch("BGE ", target, false) }
func (f *Func) BVS(target string)            { f.branch("BVS ", target, false) }
func (f *Func) CBZ(r R, target string)       { f.branch("CBZ R%d, ", target, false, use(r)) }
func (f *Func) CBNZ(r R, target string)      { f.branch("CBNZ R%d, ", target, false, use(r)) }
func (f *Func) TBZ(bit int, r R, to string)  { f.branch("TBZ $%d, R%d, ", to, false, bit, use(r)) }
func (f *Func) RET()                         { f.code = append(f.code, inst{format: "RET", ends: true}) }
func (f *Func) MOV(src, dst R)               { f.emit("MOVD R%d, R%d", use(src), def(dst)) }
func (f *Func) MOVI(n int, dst R)            { f.emit("MOVD $%d, R%d", n, def(dst)) }
func (f *Func) LoadPtr(m Mem, dst R)         { f.emit("MOVD %d(R%d), R%d", m.Off, use(m.Base), def(dst)) }
func (f *Func) ADD(r, dst R)                 { f.emit("ADD R%d, R%d", use(r), mod(dst)) }
func (f *Func) ADDI(n int, dst R)            { f.emit("ADD $%d, R%d", n, mod(dst)) }
func (f *Func) ADDTo(a, b, dst R)            { f.emit("ADD R%d, R%d, R%d", use(a), use(b), def(dst)) }
func (f *Func) ADDShifted(r R, n int, dst R) { f.emit("ADD R%d<<%d, R%d", use(r), n, mod(dst)) }
func (f *Func) SUB(r, dst R)                 { f.emit("SUB R%d, R%d", use(r), mod(dst)) }
func (f *Func) SUBI(n int, dst R)            { f.emit("SUB $%d, R%d", n, mod(dst)) }
func (f *Func) SUBS(n int, dst R)            { f.emit("SUBS $%d, R%d", n, mod(dst)) }
func (f *Func) LSL(n int, dst R)             { f.emit("LSL $%d, R%d", n, mod(dst)) }
func (f *Func) LSR(n int, dst R)             { f.emit("LSR $%d, R%d", n, mod(dst)) }
func (f *Func) LSRTo(n int, src, dst R)      { f.emit("LSR $%d, R%d, R%d", n, use(src), def(dst)) }
func (f *Func) ANDTo(mask int, src, dst R)   { f.emit("AND $%d, R%d, R%d", mask, use(src), def(dst)) }
func (f *Func) CMP(a, b R)                   { f.emit("CMP R%d, R%d", use(b), use(a)) }
func (f *Func) CMPI(r R, n int)              { f.emit("CMP $%d, R%d", n, use(r)) }
func (f *Func) MinTo(a, b, dst R) {
	f.CMP(a, b)
	f.emit("CSEL LT, R%d, R%d, R%d", use(a), use(b), def(dst))
}

// LargerTo makes dst the larger of numbers with a sign.
func (f *Func) LargerTo(a, b, dst R) {
	f.CMP(a, b)
	f.emit("CSEL GT, R%d, R%d, R%d", use(a), use(b), def(dst))
}

// LessOrEqual makes dst yes if a ≤ b, and no otherwise.
func (f *Func) LessOrEqual(a, b, yes, no, dst R) {
	f.CMP(a, b)
	f.emit("CSEL LE, R%d, R%d, R%d", use(yes), use(no), def(dst))
}
func (f *Func) SUBTo(a, b, dst R)    { f.emit("SUB R%d, R%d, R%d", use(b), use(a), def(dst)) }
func (f *Func) Store1(r R, m Mem)    { f.emit("MOVB R%d, %d(R%d)", use(r), m.Off, use(m.Base)) }
func (f *Func) Store2(r R, m Mem)    { f.emit("MOVH R%d, %d(R%d)", use(r), m.Off, use(m.Base)) }
func (f *Func) Store4(r R, m Mem)    { f.emit("MOVW R%d, %d(R%d)", use(r), m.Off, use(m.Base)) }
func (f *Func) Load4(m Mem, dst R)   { f.emit("MOVWU %d(R%d), R%d", m.Off, use(m.Base), def(dst)) }
func (f *Func) Load2Next(p, dst R)   { f.emit("MOVHU.P 2(R%d), R%d", mod(p), def(dst)) }
func (f *Func) Multiply(a, b, dst R) { f.emit("MUL R%d, R%d, R%d", use(a), use(b), def(dst)) }

// Prefetch brings memory into the first level of the caches, PrefetchL2 into the second.
func (f *Func) Prefetch(m Mem)   { f.emit("PRFM %d(R%d), PLDL1KEEP", m.Off, use(m.Base)) }
func (f *Func) PrefetchL2(m Mem) { f.emit("PRFM %d(R%d), PLDL2KEEP", m.Off, use(m.Base)) }

// Loop repeats body n times, at least once, and uses n up.
func (f *Func) Loop(label string, n R, body func()) {
	f.Label(label)
	body()
	f.SUBS(1, n)
	f.BNE(label)
}
