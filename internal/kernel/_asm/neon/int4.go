package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

// The blocks of an int4 panel: 4 octets of k, each of 8 groups of 4 rows in 16 bytes,
// then the scales.
const (
	q4Octet  = 8 * vector
	q4Scales = 4 * q4Octet
	q4Block  = q4Scales + 32*2
)

// q4Codes are the numbers that four bits stand for: kernel.Q4Codes.
var q4Codes = [16]float32{-127, -103, -81, -63, -48, -34, -21, -10, 0, 10, 22, 34, 47, 64, 83, 109}

// int4 turns codes into weights.
type int4 struct {
	*asm
	low, high      vec // bytes of the codes in bfloat16
	nibbles, upper vec // masks
	zero           vec
	scales         []vec
}

func newInt4(f *asm) *int4 {
	f.Preload()
	table := func(shift int) vec {
		var b [vector]byte
		for i, c := range q4Codes {
			b[i] = byte(math.Float32bits(c) >> 16 >> shift)
		}
		return f.FreshBytes(b)
	}
	return &int4{asm: f, low: table(0), high: table(8), nibbles: f.Bits(0x0f0f0f0f), upper: f.Bits(upperHalf), zero: f.Zero()}
}

// octet calls body with the weights of eight values of k, in order, in vector i of the
// panel, whose codes are at q.
func (t *int4) octet(q reg, i int, body func(p int, w vec)) {
	codes := t.Read(mem{Base: q, Off: i * vector})
	for half := range 2 {
		var index vec
		if half == 0 {
			index = t.And(codes, t.nibbles)
		} else {
			index = t.ShiftBytesRight(codes, 4)
		}
		low, high := t.LookUp(t.low, index), t.LookUp(t.high, index)
		for quarter, pairs := range []vec{t.ZipLowBytes(low, high), t.ZipHighBytes(low, high)} {
			p := 4*half + 2*quarter
			body(p, t.Mul(t.ShiftLeft(pairs, 16), t.scales[i]))
			body(p+1, t.Mul(t.And(pairs, t.upper), t.scales[i]))
		}
	}
}

// eachBlock emits a loop over the blocks of k, which is not 0, and, within, over their
// octets, whose codes are at q. Of the last one, tail does the values that are left.
func (t *int4) eachBlock(k, b reg, octet func(q reg), tail func(q, left reg)) {
	t.Label("block")
	t.Prefetch(mem{Base: b, Off: q4Scales + ahead})
	t.scales = nil
	for i := range panelVectors / 2 {
		halves := t.Read(mem{Base: b, Off: q4Scales + i*vector})
		t.scales = append(t.scales, t.ZipLowHalves(t.zero, halves), t.ZipHighHalves(t.zero, halves))
	}
	q, end := copyOf(t.asm, b), copyOf(t.asm, b)
	t.ADDI(q4Scales, end)
	t.Label("octet")
	t.CMPI(k, 8)
	t.BLT("tail")
	octet(q)
	t.ADDI(q4Octet, q)
	t.SUBI(8, k)
	t.CMP(q, end)
	t.BNE("octet")
	t.ADDI(q4Block, b)
	t.CBNZ(k, "block")
	t.B("done")
	t.Label("tail")
	t.CBZ(k, "done")
	tail(q, k)
	t.Label("done")
}

// part is octet for the first left values of k, less than eight.
func (t *int4) part(q, left reg, i int, body func(p int, w vec)) {
	next := fmt.Sprintf("next%d", i)
	t.octet(q, i, func(p int, w vec) {
		if p == 7 {
			return
		}
		body(p, w)
		t.CMPI(left, p+1)
		t.BEQ(next)
	})
	t.Label(next)
}

func rowQ4(file *arm64.File) {
	f := file.Func("gemvQ4NEON", "func(k int, a *float32, b *byte, c *float32, add bool)",
		"computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of an int4 panel; k is not 0.")
	k, a, b := f.Load("k"), f.Load("a"), f.Load("b")
	acc, t := panelSums(f), newInt4(f)
	t.eachBlock(k, b, func(q reg) {
		x := []vec{f.ReadNext(a), f.ReadNext(a)}
		f.Prefetch(mem{Base: q, Off: ahead})
		f.Prefetch(mem{Base: q, Off: ahead + lineBytes})
		for i := range acc {
			t.octet(q, i, func(p int, w vec) { f.MulAddLane(w, x[p/arm64.Lanes], p%arm64.Lanes, acc[i]) })
		}
	}, func(q, left reg) {
		for i := range acc {
			t.part(q, left, i, func(p int, w vec) { f.MulAddLane(w, f.Read1(mem{Base: a, Off: 4 * p}), 0, acc[i]) })
		}
	})
	gemmStore(f, [][]vec{acc})
}

func widenQ4(file *arm64.File) {
	f := file.Func("widenQ4NEON", "func(k int, dst *float32, b *byte)", "converts an int4 panel to a float32 panel; k is not 0.")
	k, dst, b := f.Load("k"), f.Load("dst"), f.Load("b")
	t := newInt4(f)
	store := func(i int) func(p int, w vec) {
		return func(p int, w vec) { f.Write(w, mem{Base: dst, Off: p*panelBytes + i*vector}) }
	}
	t.eachBlock(k, b, func(q reg) {
		for i := range panelVectors {
			t.octet(q, i, store(i))
		}
		f.ADDI(8*panelBytes, dst)
	}, func(q, left reg) {
		for i := range panelVectors {
			t.part(q, left, i, store(i))
		}
	})
	f.RET()
}
