package arm64

import "fmt"

const (
	vectorBytes = 16
	// Lanes is the number of float32s in a vector.
	Lanes = vectorBytes / 4
)

// Mem is the memory Off bytes from where Base points.
type Mem struct {
	Base R
	Off  int
}

// Plus returns the memory n bytes further.
func (m Mem) Plus(n int) Mem { return Mem{m.Base, m.Off + n} }

// Read returns the vector at m.
func (f *Func) Read(m Mem) V {
	r := f.V()
	f.emit("FMOVQ %d(R%d), F%d", m.Off, use(m.Base), def(r))
	return r
}

// ReadPair returns the two vectors from m on.
func (f *Func) ReadPair(m Mem) (a, b V) {
	a, b = f.V(), f.V()
	f.emit("FLDPQ %d(R%d), (F%d, F%d)", m.Off, use(m.Base), def(a), def(b))
	return a, b
}

// ReadNext returns the vector at p and moves p past it.
func (f *Func) ReadNext(p R) V {
	r := f.V()
	f.emit("FMOVQ.P 16(R%d), F%d", mod(p), def(r))
	return r
}

// Read2 and Read1 read two lanes or one. The others become zero.
func (f *Func) Read2(m Mem) V {
	r := f.V()
	f.emit("FMOVD %d(R%d), F%d", m.Off, use(m.Base), def(r))
	return r
}

func (f *Func) Read1(m Mem) V {
	r := f.V()
	f.emit("FMOVS %d(R%d), F%d", m.Off, use(m.Base), def(r))
	return r
}

// Read2Next and Read1Next also move p past what they read.
func (f *Func) Read2Next(p R) V {
	r := f.V()
	f.emit("FMOVD.P 8(R%d), F%d", mod(p), def(r))
	return r
}

func (f *Func) Read1Next(p R) V {
	r := f.V()
	f.emit("FMOVS.P 4(R%d), F%d", mod(p), def(r))
	return r
}

// Write stores a vector.
func (f *Func) Write(x V, m Mem) { f.emit("FMOVQ F%d, %d(R%d)", use(x), m.Off, use(m.Base)) }

// WritePair stores two.
func (f *Func) WritePair(a, b V, m Mem) {
	f.emit("FSTPQ (F%d, F%d), %d(R%d)", use(a), use(b), m.Off, use(m.Base))
}

// Write2 stores the first two lanes, Write1 the first.
func (f *Func) Write2(x V, m Mem) { f.emit("FMOVD F%d, %d(R%d)", use(x), m.Off, use(m.Base)) }
func (f *Func) Write1(x V, m Mem) { f.emit("FMOVS F%d, %d(R%d)", use(x), m.Off, use(m.Base)) }

// ReadPart returns the first n lanes from p on, n being 1, 2 or 3; the others are zero.
// Labels begin with name.
func (f *Func) ReadPart(name string, p, n R) V {
	r := f.V()
	f.TBZ(1, n, name+"One")
	f.emit("FMOVD (R%d), F%d", use(p), def(r))
	f.TBZ(0, n, name+"Read")
	third := f.R()
	f.emit("ADD $8, R%d, R%d", use(p), def(third))
	f.emit("VLD1 (R%d), V%d.S[2]", use(third), mod(r))
	f.B(name + "Read")
	f.Label(name + "One")
	f.emit("FMOVS (R%d), F%d", use(p), def(r))
	f.Label(name + "Read")
	return r
}

// WritePart stores as many lanes at p.
func (f *Func) WritePart(name string, x V, p, n R) {
	f.TBZ(1, n, name+"One")
	f.emit("FMOVD F%d, (R%d)", use(x), use(p))
	f.TBZ(0, n, name+"Written")
	third := f.R()
	f.emit("ADD $8, R%d, R%d", use(p), def(third))
	f.emit("VST1 V%d.S[2], (R%d)", use(x), use(third))
	f.B(name + "Written")
	f.Label(name + "One")
	f.emit("FMOVS F%d, (R%d)", use(x), use(p))
	f.Label(name + "Written")
}

// Zero returns a vector of zeros.
func (f *Func) Zero() V {
	r := f.V()
	f.ClearV(r)
	return r
}

// ClearV makes a vector zero.
func (f *Func) ClearV(r V) {
	f.emit("VMOVI $0, V%d.B16", def(r))
}

// Copy returns a copy of x.
func (f *Func) Copy(x V) V {
	r := f.V()
	f.CopyTo(x, r)
	return r
}

// CopyTo copies x to r.
func (f *Func) CopyTo(x, r V) { f.emit("VMOV V%d.B16, V%d.B16", use(x), def(r)) }

// FillV fills all lanes with the first of x.
func (f *Func) FillV(x V) V {
	r := f.V()
	f.emit("VDUP V%d.S[0], V%d.S4", use(x), def(r))
	return r
}

// FillInt fills all lanes with the low bits of r.
func (f *Func) FillInt(r R) V {
	x := f.V()
	f.emit("VDUP R%d, V%d.S4", use(r), def(x))
	return x
}

// word appends an instruction that is encoded here. Its operands are those of the
// comment, in the order of arm's manuals: destination, then sources.
func (f *Func) word(bits uint32, comment string, operands ...any) {
	f.code = append(f.code, inst{word: bits, format: comment, args: operands, shifts: []int{0, 5, 16}[:len(operands)]})
}

func (f *Func) unary(bits uint32, name string, x V) V {
	r := f.V()
	f.word(bits, name, def(r), use(x))
	return r
}

func (f *Func) binaryTo(bits uint32, name string, a, b, r V) {
	f.word(bits, name+" v%d.4s, v%d.4s, v%d.4s", def(r), use(a), use(b))
}

func (f *Func) binary(bits uint32, name string, a, b V) V {
	r := f.V()
	f.binaryTo(bits, name, a, b, r)
	return r
}

// Arithmetic, with a new register for the result or, in the forms that end in To, a
// given one, which may be an operand. Max and Min give NaN if an operand is NaN.
func (f *Func) Add(a, b V) V      { return f.binary(0x4e20d400, "fadd", a, b) }
func (f *Func) Sub(a, b V) V      { return f.binary(0x4ea0d400, "fsub", a, b) }
func (f *Func) Mul(a, b V) V      { return f.binary(0x6e20dc00, "fmul", a, b) }
func (f *Func) Div(a, b V) V      { return f.binary(0x6e20fc00, "fdiv", a, b) }
func (f *Func) Max(a, b V) V      { return f.binary(0x4e20f400, "fmax", a, b) }
func (f *Func) Min(a, b V) V      { return f.binary(0x4ea0f400, "fmin", a, b) }
func (f *Func) AddTo(a, b, r V)   { f.binaryTo(0x4e20d400, "fadd", a, b, r) }
func (f *Func) MulTo(a, b, r V)   { f.binaryTo(0x6e20dc00, "fmul", a, b, r) }
func (f *Func) MaxTo(a, b, r V)   { f.binaryTo(0x4e20f400, "fmax", a, b, r) }
func (f *Func) Abs(x V) V         { return f.unary(0x4ea0f800, "fabs v%d.4s, v%d.4s", x) }
func (f *Func) Neg(x V) V         { return f.unary(0x6ea0f800, "fneg v%d.4s, v%d.4s", x) }
func (f *Func) Sqrt(x V) V        { return f.unary(0x6ea1f800, "fsqrt v%d.4s, v%d.4s", x) }
func (f *Func) FromInt(x V) V     { return f.unary(0x4e21d800, "scvtf v%d.4s, v%d.4s", x) }
func (f *Func) MaxAcross(x V) V   { return f.unary(0x6e30f800, "fmaxv s%d, v%d.4s", x) }
func (f *Func) WidenLow8(x V) V   { return f.unary(0x0f08a400, "sxtl v%d.8h, v%d.8b", x) }
func (f *Func) WidenHigh8(x V) V  { return f.unary(0x4f08a400, "sxtl2 v%d.8h, v%d.16b", x) }
func (f *Func) WidenLow16(x V) V  { return f.unary(0x0f10a400, "sxtl v%d.4s, v%d.4h", x) }
func (f *Func) WidenHigh16(x V) V { return f.unary(0x4f10a400, "sxtl2 v%d.4s, v%d.8h", x) }

// AddPairs returns a0+a1, a2+a3, b0+b1, b2+b3.
func (f *Func) AddPairs(a, b V) V { return f.binary(0x6e20d400, "faddp", a, b) }

// MulAdd adds a·b to acc, MulSub subtracts it, with one rounding.
func (f *Func) MulAdd(a, b, acc V) {
	f.emit("VFMLA V%d.S4, V%d.S4, V%d.S4", use(b), use(a), mod(acc))
}

func (f *Func) MulSub(a, b, acc V) {
	f.emit("VFMLS V%d.S4, V%d.S4, V%d.S4", use(b), use(a), mod(acc))
}

func (f *Func) byLane(bits uint32, name string, acc operand, a, b V, lane int) {
	bits |= uint32(lane&1)<<21 | uint32(lane>>1)<<11
	f.word(bits, fmt.Sprintf("%s v%%d.4s, v%%d.4s, v%%d.s[%d]", name, lane), acc, use(a), use(b))
}

// MulAddLane, MulSubLane and MulLane multiply by one lane of b.
func (f *Func) MulAddLane(a, b V, lane int, acc V) {
	f.byLane(0x4f801000, "fmla", mod(acc), a, b, lane)
}
func (f *Func) MulSubLane(a, b V, lane int, acc V) {
	f.byLane(0x4f805000, "fmls", mod(acc), a, b, lane)
}
func (f *Func) MulLane(a, b V, lane int) V {
	r := f.V()
	f.byLane(0x4f809000, "fmul", def(r), a, b, lane)
	return r
}

// Integer arithmetic on the bits of the lanes.
func (f *Func) AddInt(a, b V) V {
	r := f.V()
	f.emit("VADD V%d.S4, V%d.S4, V%d.S4", use(b), use(a), def(r))
	return r
}

func (f *Func) SubInt(a, b V) V {
	r := f.V()
	f.emit("VSUB V%d.S4, V%d.S4, V%d.S4", use(b), use(a), def(r))
	return r
}

func (f *Func) ShiftLeft(x V, n int) V {
	r := f.V()
	f.emit("VSHL $%d, V%d.S4, V%d.S4", n, use(x), def(r))
	return r
}

// ShiftRight keeps the sign.
func (f *Func) ShiftRight(x V, n int) V {
	r := f.V()
	f.word(0x4f000400|uint32(64-n)<<16, fmt.Sprintf("sshr v%%d.4s, v%%d.4s, #%d", n), def(r), use(x))
	return r
}

// InsertLeft shifts x left by n into dst, whose lower n bits stay. InsertRight shifts it
// right, and the upper n bits stay.
func (f *Func) InsertLeft(x V, n int, dst V) {
	f.emit("VSLI $%d, V%d.S4, V%d.S4", n, use(x), mod(dst))
}

func (f *Func) InsertRight(x V, n int, dst V) {
	f.emit("VSRI $%d, V%d.S4, V%d.S4", n, use(x), mod(dst))
}

// ShiftLeftBy shifts each lane by the number in that of n.
func (f *Func) ShiftLeftBy(x, n V) V { return f.binary(0x6ea04400, "ushl", x, n) }

func (f *Func) And(a, b V) V {
	r := f.V()
	f.emit("VAND V%d.B16, V%d.B16, V%d.B16", use(b), use(a), def(r))
	return r
}

// Xor is bitwise, as And is.
func (f *Func) Xor(a, b V) V {
	r := f.V()
	f.emit("VEOR V%d.B16, V%d.B16, V%d.B16", use(b), use(a), def(r))
	return r
}

// Greater returns ones in the lanes where a > b holds; it does not if one is NaN.
func (f *Func) Greater(a, b V) V { return f.binary(0x6ea0e400, "fcmgt", a, b) }

// AtLeast is Greater for a ≥ b.
func (f *Func) AtLeast(a, b V) V { return f.binary(0x6e20e400, "fcmge", a, b) }

// AbsGreater is Greater for the magnitudes.
func (f *Func) AbsGreater(a, b V) V { return f.binary(0x6ea0ec00, "facgt", a, b) }

// Select returns the bits of yes where those of mask are set, and of no elsewhere. It
// uses mask up.
func (f *Func) Select(mask, yes, no V) V {
	f.emit("VBSL V%d.B16, V%d.B16, V%d.B16", use(no), use(yes), mod(mask))
	return mask
}

// In what follows a0 to a3 and b0 to b3 are the lanes of a and b.

// Transpose1 returns a0 b0 a2 b2 and Transpose2 a1 b1 a3 b3.
func (f *Func) Transpose1(a, b V) V { return f.shuffle("VTRN1 V%d.S4, V%d.S4, V%d.S4", a, b) }
func (f *Func) Transpose2(a, b V) V { return f.shuffle("VTRN2 V%d.S4, V%d.S4, V%d.S4", a, b) }

// LowHalves returns a0 a1 b0 b1 and HighHalves a2 a3 b2 b3.
func (f *Func) LowHalves(a, b V) V  { return f.shuffle("VTRN1 V%d.D2, V%d.D2, V%d.D2", a, b) }
func (f *Func) HighHalves(a, b V) V { return f.shuffle("VTRN2 V%d.D2, V%d.D2, V%d.D2", a, b) }

// ZipLowBytes returns the lower eight bytes of a and b in turn, ZipHighBytes the upper
// ones; ZipLowHalves and ZipHighHalves do the same with 16 bits.
func (f *Func) ZipLowBytes(a, b V) V   { return f.shuffle("VZIP1 V%d.B16, V%d.B16, V%d.B16", a, b) }
func (f *Func) ZipHighBytes(a, b V) V  { return f.shuffle("VZIP2 V%d.B16, V%d.B16, V%d.B16", a, b) }
func (f *Func) ZipLowHalves(a, b V) V  { return f.shuffle("VZIP1 V%d.H8, V%d.H8, V%d.H8", a, b) }
func (f *Func) ZipHighHalves(a, b V) V { return f.shuffle("VZIP2 V%d.H8, V%d.H8, V%d.H8", a, b) }

// LookUp returns the bytes of table that the bytes of index tell, 0 for those from 16 on.
func (f *Func) LookUp(table, index V) V {
	r := f.V()
	f.emit("VTBL V%d.B16, [V%d.B16], V%d.B16", use(index), use(table), def(r))
	return r
}

// ShiftBytesRight shifts zeros into bytes.
func (f *Func) ShiftBytesRight(x V, n int) V {
	r := f.V()
	f.emit("VUSHR $%d, V%d.B16, V%d.B16", n, use(x), def(r))
	return r
}

// ShiftBytesLeft is ShiftBytesRight in the other direction.
func (f *Func) ShiftBytesLeft(x V, n int) V {
	r := f.V()
	f.emit("VSHL $%d, V%d.B16, V%d.B16", n, use(x), def(r))
	return r
}

// EvenBytes returns bytes 0, 2, 4 … of a and then of b, OddBytes the others.
func (f *Func) EvenBytes(a, b V) V { return f.shuffle("VUZP1 V%d.B16, V%d.B16, V%d.B16", a, b) }
func (f *Func) OddBytes(a, b V) V  { return f.shuffle("VUZP2 V%d.B16, V%d.B16, V%d.B16", a, b) }

// Arithmetic of bytes without a sign. SubBytesToZero has 0 for what would be less.
func (f *Func) AddBytes(a, b V) V       { return f.bytes(0x4e208400, "add", a, b) }
func (f *Func) SubBytesToZero(a, b V) V { return f.bytes(0x6e202c00, "uqsub", a, b) }
func (f *Func) MaxBytes(a, b V) V       { return f.bytes(0x6e206400, "umax", a, b) }
func (f *Func) MinBytes(a, b V) V       { return f.bytes(0x6e206c00, "umin", a, b) }

// MaxBytesAcross and MinBytesAcross return the result in the first byte, and zeros behind it.
func (f *Func) MaxBytesAcross(x V) V { return f.unary(0x6e30a800, "umaxv b%d, v%d.16b", x) }
func (f *Func) MinBytesAcross(x V) V { return f.unary(0x6e31a800, "uminv b%d, v%d.16b", x) }

func (f *Func) bytes(bits uint32, name string, a, b V) V {
	r := f.V()
	f.word(bits, name+" v%d.16b, v%d.16b, v%d.16b", def(r), use(a), use(b))
	return r
}

func (f *Func) shuffle(format string, a, b V) V {
	r := f.V()
	f.emit(format, use(b), use(a), def(r))
	return r
}

// SwapNeighbours returns a1 a0 a3 a2.
func (f *Func) SwapNeighbours(x V) V {
	r := f.V()
	f.emit("VREV64 V%d.S4, V%d.S4", use(x), def(r))
	return r
}

// CompareScalars compares the first lanes: BVS branches if one is NaN, BEQ if they are
// equal.
func (f *Func) CompareScalars(a, b V) { f.emit("FCMPS F%d, F%d", use(b), use(a)) }

// Products of the lower or the upper four of eight lanes of 16 bits, with 32 bits each:
// alone, or added to acc.
func (f *Func) MulWideLow(a, b V) V {
	return f.wide(0x0e60c000, "smull v%d.4s, v%d.4h, v%d.4h", a, b)
}
func (f *Func) MulWideHigh(a, b V) V {
	return f.wide(0x4e60c000, "smull2 v%d.4s, v%d.8h, v%d.8h", a, b)
}
func (f *Func) MulAddWideLow(a, b, acc V) {
	f.word(0x0e608000, "smlal v%d.4s, v%d.4h, v%d.4h", mod(acc), use(a), use(b))
}
func (f *Func) MulAddWideHigh(a, b, acc V) {
	f.word(0x4e608000, "smlal2 v%d.4s, v%d.8h, v%d.8h", mod(acc), use(a), use(b))
}

func (f *Func) wide(bits uint32, comment string, a, b V) V {
	r := f.V()
	f.word(bits, comment, def(r), use(a), use(b))
	return r
}

// AddPairsInt is AddPairs for integers.
func (f *Func) AddPairsInt(a, b V) V { return f.binary(0x4ea0bc00, "addp", a, b) }

// ExchangeHalves returns x2 x3 x0 x1.
func (f *Func) ExchangeHalves(x V) V {
	r := f.V()
	f.emit("VEXT $8, V%d.B16, V%d.B16, V%d.B16", use(x), use(x), def(r))
	return r
}

// RoundToInt rounds to the nearest integers, and to even ones in the middle.
func (f *Func) RoundToInt(x V) V { return f.unary(0x4e21a800, "fcvtns v%d.4s, v%d.4s", x) }

// WidenLowFloat and WidenHighFloat convert two lanes to float64.
func (f *Func) WidenLowFloat(x V) V  { return f.unary(0x0e617800, "fcvtl v%d.2d, v%d.2s", x) }
func (f *Func) WidenHighFloat(x V) V { return f.unary(0x4e617800, "fcvtl2 v%d.2d, v%d.4s", x) }

// Div64 divides lanes of float64, and RoundToInt64 rounds them as RoundToInt does.
func (f *Func) Div64(a, b V) V {
	r := f.V()
	f.word(0x6e60fc00, "fdiv v%d.2d, v%d.2d, v%d.2d", def(r), use(a), use(b))
	return r
}

func (f *Func) RoundToInt64(x V) V { return f.unary(0x4e61a800, "fcvtns v%d.2d, v%d.2d", x) }

// Narrow64 and Narrow16 return the lower halves of the lanes of a and b, which have 64 and
// 16 bits.
func (f *Func) Narrow64(a, b V) V {
	r := f.unary(0x0ea12800, "xtn v%d.2s, v%d.2d", a)
	f.word(0x4ea12800, "xtn2 v%d.4s, v%d.2d", mod(r), use(b))
	return r
}

func (f *Func) Narrow16(a, b V) V {
	r := f.unary(0x0e212800, "xtn v%d.8b, v%d.8h", a)
	f.word(0x4e212800, "xtn2 v%d.16b, v%d.8h", mod(r), use(b))
	return r
}

// Narrow returns the lower halves of the lanes of a and b.
func (f *Func) Narrow(a, b V) V {
	r := f.unary(0x0e612800, "xtn v%d.4h, v%d.4s", a)
	f.word(0x4e612800, "xtn2 v%d.8h, v%d.4s", mod(r), use(b))
	return r
}

// BitsOf returns the first lane.
func (f *Func) BitsOf(x V) R {
	r := f.R()
	f.emit("FMOVS F%d, R%d", use(x), def(r))
	return r
}
