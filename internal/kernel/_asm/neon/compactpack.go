package main

import (
	"strings"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// A compactPacker emits the kernels that make units of compact panels. src is where the next
// unit begins of a panel in the order of the format that it is of.
type compactPacker struct {
	*asm
	full bool
	src  reg
}

// newPacker begins a function. In its signature, elements stands for the type of src.
func newPacker(file *arm64.File, name string, full bool, signature, doc string) *compactPacker {
	elements := "*uint16"
	if full {
		elements = "*float32"
	}
	f := file.Func(name+compactName(full), strings.Replace(signature, "elements", elements, 1), doc)
	p := &compactPacker{asm: f, full: full, src: f.Load("src")}
	f.Preload()
	return p
}

// each emits a loop over the units.
func (p *compactPacker) each(body func()) {
	_, size := (&compact{full: p.full}).unitBytes()
	p.Loop("unit", p.Load("units"), func() {
		body()
		p.ADDI(size, p.src)
	})
}

// halves returns the halves of the numbers of two neighbours of k in four columns: the upper
// ones and, in float32, the lower ones.
func (p *compactPacker) halves(k, i int) (upper, lower vec) {
	if !p.full {
		return p.Read(mem{Base: p.src, Off: k/2*panelBytes + i*vector}), vec{}
	}
	lower = p.Read(mem{Base: p.src, Off: k*panelBytes + i*vector})
	upper = p.Read(mem{Base: p.src, Off: (k+1)*panelBytes + i*vector})
	next := p.Copy(upper)
	p.InsertRight(lower, 16, upper)
	p.InsertLeft(next, 16, lower)
	return upper, lower
}

func spansCompact(file *arm64.File, full bool) {
	p := newPacker(file, "spans", full, "func(units int, src elements, spans *byte)",
		"writes two bytes for each unit, of the upper bytes without sign of its numbers: the least that is not 0, less 1, or 255; and 127 less the largest. units is not 0.")
	spans := p.Load("spans")
	magnitude, minusOne := p.Bits(0x7f7f7f7f), p.Bits(0xffffffff)
	p.each(func() {
		var least, most vec
		for i := range panelVectors {
			first, _ := p.halves(0, i)
			last, _ := p.halves(2, i)
			b := p.And(p.OddBytes(first, last), magnitude)
			less := p.AddBytes(b, minusOne)
			if i > 0 {
				b, less = p.MaxBytes(b, most), p.MinBytes(less, least)
			}
			least, most = less, b
		}
		rest := p.BitsOf(p.Xor(p.MaxBytesAcross(most), magnitude))
		p.Store1(p.BitsOf(p.MinBytesAcross(least)), mem{Base: spans})
		p.Store1(rest, mem{Base: spans, Off: 1})
		p.ADDI(2, spans)
	})
	p.RET()
}

func packCompact(file *arm64.File, full bool) {
	p := newPacker(file, "pack", full, "func(units int, dst *byte, src elements, base byte)",
		"writes units with codes, whose upper bytes are 0 or base+1 to base+7, each with or without sign; units is not 0.")
	dst, base, ones := p.Load("dst"), p.Load("base"), p.R()
	p.MOVI(0x01010101, ones)
	p.Multiply(ones, base, base)
	c := packCodes{p, dst, p.FillInt(base), p.Bits(0x7f7f7f7f), p.Bits(0x80808080)}
	size, _ := (&compact{full: full}).unitBytes()
	p.each(func() {
		for i := range panelVectors / 2 {
			low, high := c.codes(i), c.codes(i+panelVectors/2)
			p.Write(p.Xor(low, p.ShiftBytesLeft(high, 4)), mem{Base: dst, Off: i * vector})
		}
		p.ADDI(size, dst)
	})
	p.RET()
}

// packCodes are the constants of what writes codes.
type packCodes struct {
	*compactPacker
	dst                   reg
	base, magnitude, sign vec
}

// codes returns the codes of vector i of the columns, and writes what they do not say.
func (c *packCodes) codes(i int) vec {
	first, low := c.halves(0, i)
	last, next := c.halves(2, i)
	c.Write(c.EvenBytes(first, last), mem{Base: c.dst, Off: 64 + i*vector})
	if c.full {
		c.Write(low, mem{Base: c.dst, Off: 64 + compactRest + i*vector})
		c.Write(next, mem{Base: c.dst, Off: 64 + compactRest + panelBytes + i*vector})
	}
	b := c.OddBytes(first, last)
	code := c.SubBytesToZero(c.And(b, c.magnitude), c.base)
	return c.Xor(code, c.ShiftBytesRight(c.And(b, c.sign), 4))
}
