package main

import (
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/int4"
)

// The blocks of an int4 panel: 4 octets of k by 32 columns, then the scales.
const (
	q4Octet  = 4 * panelColumns
	q4Scales = 4 * q4Octet
	q4Block  = q4Scales + 2*panelColumns
)

// codeBytes returns the numbers that codes stand for.
func codeBytes() (b [vector]byte) {
	for i, c := range int4.Codes {
		b[i] = byte(c)
	}
	return b
}

// decoder turns codes into bytes.
type decoder struct {
	*asm
	table, nibbles, zero vec
}

func newDecoder(f *asm) *decoder {
	f.Preload()
	return &decoder{asm: f, table: f.FreshBytes(codeBytes()), nibbles: f.Bits(0x0f0f0f0f), zero: f.Zero()}
}

// octet returns the weights of the two quads of k that four columns at m have.
func (t *decoder) octet(m mem) (first, second vec) {
	codes := t.Read(m)
	return t.LookUp(t.table, t.And(codes, t.nibbles)), t.LookUp(t.table, t.ShiftBytesRight(codes, 4))
}

func tileQ4(file *arm64.File) {
	f := file.Func("tileQ4x1NEON", tileSignature, "multiplies a row of digits by an int4 panel; blocks is not 0.")
	t := newDecoder(f)
	tile(f, 1, q4Block, func(w reg, vectors int, body func(q, j int, four vec)) {
		for octet := range 4 {
			for j := range vectors {
				first, second := t.octet(mem{Base: w, Off: octet*q4Octet + vector*j})
				body(2*octet, j, first)
				body(2*octet+1, j, second)
			}
		}
	}, func(s reg, _ int) []vec {
		halves := f.Read(mem{Base: s})
		return []vec{f.ZipLowHalves(t.zero, halves), f.ZipHighHalves(t.zero, halves)}
	})
}

func expandQ4(file *arm64.File) {
	f := file.Func("expandQ4NEON", "func(blocks int, dst, b *byte)", "converts blocks of an int4 panel to those of an int8 panel, with the same scales; blocks is not 0.")
	blocks, dst, b := f.Load("blocks"), f.Load("dst"), f.Load("b")
	t := newDecoder(f)
	f.Loop("block", blocks, func() {
		for at := 0; at < q4Scales; at += vector {
			first, second := t.octet(mem{Base: b, Off: at})
			to := at/q4Octet*2*quad + at%q4Octet
			f.Write(first, mem{Base: dst, Off: to})
			f.Write(second, mem{Base: dst, Off: to + quad})
		}
		for at := 0; at < q4Block-q4Scales; at += vector {
			f.Write(f.Read(mem{Base: b, Off: q4Scales + at}), mem{Base: dst, Off: q8Scales + at})
		}
		f.ADDI(q4Block, b)
		f.ADDI(q8Block, dst)
	})
	f.RET()
}
