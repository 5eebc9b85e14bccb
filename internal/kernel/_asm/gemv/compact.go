package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A block of a compact panel is a header and units of 4 neighbours of k by 32 columns. The
// header is the table of upper bytes, its own length, and pairs of 16-bit numbers: how many
// units follow that have codes, and then how many that have not.
const (
	compactLen  = 16 // where the length of the header is
	compactRuns = 20
	compactRest = 2 * 64 // of a unit: what its 64 bytes of codes do not say
	pairBytes   = 2 * 64 // the upper halves of the numbers that two neighbours of k have
	wholeBytes  = 32 * 4 // the numbers of one k
	unitK       = 4
)

// compact emits kernels for a format of compact panels.
type compact struct {
	isa
	full           bool // float32, not bfloat16
	table, nibbles reg.VecVirtual
	mask           reg.VecVirtual // AVX2 or bfloat16: selects the upper half of a float32
	lower, upper   reg.OpmaskVirtual
}

func (c *compact) name() string {
	if c.full {
		return "CompactF32" + c.suffix
	}
	return "CompactBF16" + c.suffix
}

// unitBytes returns the sizes of a unit with codes and of one without.
func (c *compact) unitBytes() (coded, plain int) {
	if c.full {
		return 64 + compactRest + 2*pairBytes, unitK * wholeBytes
	}
	return 64 + compactRest, 2 * pairBytes
}

func (c *compact) constants(b reg.Register) {
	c.table, c.nibbles = c.vector(), c.vector()
	nibbles := GP32()
	MOVL(U32(0x0f0f0f0f), nibbles)
	if c.bytes == 64 {
		VBROADCASTI32X4(Mem{Base: b}, c.table)
		VPBROADCASTD(nibbles, c.nibbles)
	} else {
		VBROADCASTI128(Mem{Base: b}, c.table)
		x := XMM()
		VMOVD(nibbles, x)
		VPBROADCASTD(x, c.nibbles)
	}
	switch {
	case !c.full:
		c.mask = c.upperMask()
	case c.bytes == 64:
		halves := GP32()
		c.lower, c.upper = K(), K()
		MOVL(U32(0x55555555), halves)
		KMOVD(halves, c.lower)
		NOTL(halves)
		KMOVD(halves, c.upper)
	}
}

// halves returns the upper halves of the numbers that vector i of the columns has: those of
// the first two k and those of the last two.
func (c *compact) halves(b reg.Register, i int) (first, last reg.VecVirtual) {
	codes, rest := c.vector(), c.vector()
	half := c.n / 2
	at := Mem{Base: b, Disp: i % half * c.bytes}
	if i < half {
		c.and(at, c.nibbles, codes)
	} else {
		c.load(at, codes)
		VPSRLW(U8(4), codes, codes)
		c.and(codes, c.nibbles, codes)
	}
	VPSHUFB(codes, c.table, codes)
	c.load(Mem{Base: b, Disp: 64 + i*c.bytes}, rest)
	first, last = c.vector(), rest
	VPUNPCKLBW(codes, rest, first)
	VPUNPCKHBW(codes, rest, last)
	return first, last
}

func (c *compact) load(m Mem, r reg.VecVirtual) { VMOVUPS(m, r) }

func (c *compact) and(a, b, dst Op) {
	if c.bytes == 64 {
		VPANDD(a, b, dst)
	} else {
		VPAND(a, b, dst)
	}
}

// emitPair gives out the numbers of two neighbours of k, whose upper halves are the pairs at
// hand, for vector i of the columns. low is where the lower halves are in float32.
func (c *compact) emitPair(pair reg.VecVirtual, low Mem, k, i int, emit func(k, i int, w reg.VecVirtual)) {
	if !c.full {
		emit(k, i, c.even(pair))
		emit(k+1, i, c.odd(pair, c.mask))
		return
	}
	w := c.vector()
	if c.bytes == 64 {
		VPSLLD(U8(16), pair, w)
		VMOVDQU16(low, c.lower, w)
		emit(k, i, w)
		w = c.vector()
		VPSRLD(U8(16), low, w)
		VMOVDQU16(pair, c.upper, w)
		emit(k+1, i, w)
		return
	}
	l := c.vector()
	c.load(low, l)
	VPSLLD(U8(16), pair, w)
	VPBLENDW(U8(0x55), l, w, w)
	emit(k, i, w)
	VPSRLD(U8(16), l, l)
	VPBLENDW(U8(0xaa), pair, l, l)
	emit(k+1, i, l)
}

// coded gives out the numbers of a unit with codes.
func (c *compact) coded(b reg.Register, emit func(k, i int, w reg.VecVirtual)) {
	size, _ := c.unitBytes()
	for at := 0; at < size; at += 64 {
		PREFETCHT0(Mem{Base: b, Disp: ahead + at})
	}
	for i := range c.n {
		low := Mem{Base: b, Disp: 64 + compactRest + i*c.bytes}
		first, last := c.halves(b, i)
		c.emitPair(first, low, 0, i, emit)
		c.emitPair(last, low.Offset(pairBytes), 2, i, emit)
	}
}

// plain gives out the numbers of a unit without codes.
func (c *compact) plain(b reg.Register, emit func(k, i int, w reg.VecVirtual)) {
	for i := range c.n {
		if c.full {
			for k := range unitK {
				w := c.vector()
				c.load(Mem{Base: b, Disp: k*wholeBytes + i*c.bytes}, w)
				emit(k, i, w)
			}
			continue
		}
		for k := 0; k < unitK; k += 2 {
			w := c.vector()
			c.load(Mem{Base: b, Disp: k/2*pairBytes + i*c.bytes}, w)
			c.emitPair(w, Mem{}, k, i, emit)
		}
	}
}

// units emits the loops over the units of a block. begin is called at the begin of a unit.
func (c *compact) units(k, b reg.Register, begin func() (emit func(k, i int, w reg.VecVirtual), end func())) {
	c.constants(b)
	left, runs, n := GP64(), GP64(), GP64()
	MOVQ(k, left)
	SHRQ(U8(2), left)
	LEAQ(Mem{Base: b, Disp: compactRuns}, runs)
	MOVLQZX(Mem{Base: b, Disp: compactLen}, n)
	ADDQ(n, b)

	coded, plain := c.unitBytes()
	loop := func(label string, size int, unit func(reg.Register, func(k, i int, w reg.VecVirtual))) {
		Label(label)
		emit, end := begin()
		unit(b, emit)
		end()
		ADDQ(I32(int32(size)), b)
		DECQ(left)
		DECQ(n)
		JNZ(LabelRef(label))
	}
	Label("run")
	MOVWQZX(Mem{Base: runs}, n)
	TESTQ(n, n)
	JZ(LabelRef("rest"))
	loop("coded", coded, c.coded)
	Label("rest")
	MOVWQZX(Mem{Base: runs, Disp: 2}, n)
	ADDQ(U8(4), runs)
	TESTQ(n, n)
	JZ(LabelRef("next"))
	loop("plain", plain, c.plain)
	Label("next")
	TESTQ(left, left)
	JNZ(LabelRef("run"))
}

// storeLen stores how long the block is that ends at b.
func storeLen(b reg.Register) {
	begin := Load(Param("b"), GP64())
	SUBQ(begin, b)
	Store(b, ReturnIndex(0))
}

// row emits the product of one row with a block.
func (c *compact) row() {
	name := "gemv" + c.name()
	TEXT(name, NOSPLIT, "func(k int, a *float32, b *byte, c *float32, add bool) int")
	Pragma("noescape")
	Doc(name + " computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of a block of a compact panel; k is not 0. It returns the length of the block.")
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	acc := c.zeros()
	c.units(k, b, func() (func(int, int, reg.VecVirtual), func()) {
		var x [unitK]reg.VecVirtual
		for p := range x {
			x[p] = c.vector()
			VBROADCASTSS(Mem{Base: a, Disp: 4 * p}, x[p])
		}
		return func(p, i int, w reg.VecVirtual) { VFMADD231PS(x[p], w, acc[i]) }, func() { ADDQ(U8(4*unitK), a) }
	})
	storeLen(b)
	c.finish(acc)
}

// widen emits the conversion of a block to float32.
func (c *compact) widen() {
	name := "widen" + c.name()
	TEXT(name, NOSPLIT, "func(k int, dst *float32, b *byte) int")
	Pragma("noescape")
	Doc(name + " converts a block of a compact panel to a float32 panel; k is not 0. It returns the length of the block.")
	k := Load(Param("k"), GP64())
	dst := Load(Param("dst"), GP64())
	b := Load(Param("b"), GP64())
	c.units(k, b, func() (func(int, int, reg.VecVirtual), func()) {
		return func(p, i int, w reg.VecVirtual) { VMOVUPS(w, Mem{Base: dst, Disp: p*wholeBytes + i*c.bytes}) },
			func() { ADDQ(I32(unitK*wholeBytes), dst) }
	})
	storeLen(b)
	VZEROUPPER()
	RET()
}

// A packer emits the kernels that make units. They are for AVX2, since memory is what limits
// them.
type packer struct {
	full bool
	src  reg.Register
}

func (p *packer) name() string { return (&compact{isa: isa256, full: p.full}).name() }

func (p *packer) element() string {
	if p.full {
		return "*float32"
	}
	return "*uint16"
}

// pair returns the upper halves of the numbers of two neighbours of k in eight columns, and
// the lower ones in float32.
func (p *packer) pair(k, i int) (up, low reg.VecVirtual) {
	up = YMM()
	if !p.full {
		VMOVDQU(Mem{Base: p.src, Disp: k/2*pairBytes + 32*i}, up)
		return up, nil
	}
	low = YMM()
	x, y := YMM(), YMM()
	VMOVDQU(Mem{Base: p.src, Disp: k*wholeBytes + 32*i}, x)
	VMOVDQU(Mem{Base: p.src, Disp: (k+1)*wholeBytes + 32*i}, y)
	VPSRLD(U8(16), x, up)
	VPBLENDW(U8(0xaa), y, up, up)
	VPSLLD(U8(16), y, y)
	VPBLENDW(U8(0xaa), y, x, low)
	return up, low
}

// spans emits the search for the least and the largest exponents of units.
func (p *packer) spans() {
	name := "spans" + p.name()
	TEXT(name, NOSPLIT, "func(units int, src "+p.element()+", spans *byte)")
	Pragma("noescape")
	Doc(name + " writes two bytes for each unit, of the upper bytes without sign of its numbers: the least that is not 0, less 1, or 255; and 127 less the largest. units is not 0.")
	units := Load(Param("units"), GP64())
	p.src = Load(Param("src"), GP64())
	dst := Load(Param("spans"), GP64())
	ones, most, all := YMM(), YMM(), YMM()
	VPCMPEQW(all, all, all)
	VPSRLW(U8(15), all, ones)
	VPSRLW(U8(9), all, most)
	Label("unit")
	least, rest := YMM(), YMM()
	VMOVDQA(all, least)
	VMOVDQA(all, rest)
	for i := range 4 {
		for k := 0; k < unitK; k += 2 {
			up, _ := p.pair(k, i)
			VPADDW(up, up, up)
			VPSRLW(U8(9), up, up)
			t := YMM()
			VPSUBW(up, most, t)
			VPMINUW(t, rest, rest)
			VPSUBW(ones, up, up)
			VPMINUW(up, least, least)
		}
	}
	for at, v := range []reg.VecVirtual{least, rest} {
		x := XMM()
		VEXTRACTI128(U8(1), v, x)
		VPMINUW(v.AsX(), x, x)
		VPHMINPOSUW(x, x)
		VPEXTRB(U8(0), x, Mem{Base: dst, Disp: at})
	}
	_, size := (&compact{isa: isa256, full: p.full}).unitBytes()
	ADDQ(U8(2), dst)
	ADDQ(I32(int32(size)), p.src)
	DECQ(units)
	JNZ(LabelRef("unit"))
	VZEROUPPER()
	RET()
}

// pack emits the coding of units.
func (p *packer) pack() {
	name := "pack" + p.name()
	TEXT(name, NOSPLIT, "func(units int, dst *byte, src "+p.element()+", base byte)")
	Pragma("noescape")
	Doc(name + " writes units with codes, whose upper bytes are 0 or base+1 to base+7, each with or without sign; units is not 0.")
	units := Load(Param("units"), GP64())
	dst := Load(Param("dst"), GP64())
	p.src = Load(Param("src"), GP64())
	base, signBits := GP32(), GP32()
	Load(Param("base"), base)
	bases, bytes, signs := YMM(), YMM(), YMM()
	fill := func(r reg.Register, v reg.VecVirtual, broadcast func(x, v Op)) {
		x := XMM()
		VMOVD(r, x)
		broadcast(x, v)
	}
	fill(base, bases, func(x, v Op) { VPBROADCASTB(x, v) })
	MOVL(U32(0x80808080), signBits)
	fill(signBits, signs, func(x, v Op) { VPBROADCASTD(x, v) })
	VPCMPEQW(bytes, bytes, bytes)
	VPSRLW(U8(8), bytes, bytes)
	coded, plain := (&compact{isa: isa256, full: p.full}).unitBytes()
	Label("unit")
	for i := range 2 {
		codes, more := YMM(), YMM()
		p.codes(i, dst, bases, bytes, signs, codes)
		p.codes(i+2, dst, bases, bytes, signs, more)
		VPSLLW(U8(4), more, more)
		VPOR(more, codes, codes)
		VMOVDQU(codes, Mem{Base: dst, Disp: 32 * i})
	}
	ADDQ(I32(int32(coded)), dst)
	ADDQ(I32(int32(plain)), p.src)
	DECQ(units)
	JNZ(LabelRef("unit"))
	VZEROUPPER()
	RET()
}

// codes returns the codes of eight columns, and writes what they do not say.
func (p *packer) codes(i int, dst reg.Register, bases, bytes, signs, codes reg.VecVirtual) {
	first, low := p.pair(0, i)
	if p.full {
		VMOVDQU(low, Mem{Base: dst, Disp: 64 + compactRest + 32*i})
	}
	last, low := p.pair(2, i)
	if p.full {
		VMOVDQU(low, Mem{Base: dst, Disp: 64 + compactRest + pairBytes + 32*i})
	}
	a, b := YMM(), YMM()
	VPAND(first, bytes, a)
	VPAND(last, bytes, b)
	VPACKUSWB(b, a, a)
	VMOVDQU(a, Mem{Base: dst, Disp: 64 + 32*i})
	VPSRLW(U8(8), first, first)
	VPSRLW(U8(8), last, last)
	VPACKUSWB(last, first, first)
	VPANDN(first, signs, codes)
	VPSUBUSB(bases, codes, codes)
	VPAND(first, signs, first)
	VPSRLW(U8(4), first, first)
	VPOR(first, codes, codes)
}
