package main

import "github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"

// A block of a compact panel is a header and units of 4 neighbours of k by 32 columns; see
// the generator for amd64.
const (
	compactLen  = 16
	compactRuns = 20
	compactRest = 2 * 64
	unitK       = 4
)

// compact emits kernels for a format of compact panels.
type compact struct {
	*asm
	full           bool // float32, not bfloat16
	b              reg
	table, nibbles vec
	mask           vec // bfloat16: selects the upper half of a float32
}

func compactName(full bool) string {
	if full {
		return "CompactF32NEON"
	}
	return "CompactBF16NEON"
}

// unitBytes returns the sizes of a unit with codes and of one without.
func (c *compact) unitBytes() (coded, plain int) {
	if c.full {
		return 64 + compactRest + 2*panelBytes, unitK * panelBytes
	}
	return 64 + compactRest, 2 * panelBytes
}

// emitPair gives out the numbers of two neighbours of k, whose upper halves are the pairs at
// hand. low are the lower halves in float32.
func (c *compact) emitPair(pair, low vec, k, i int, emit func(k, i int, w vec)) {
	if !c.full {
		emit(k, i, c.ShiftLeft(pair, 16))
		emit(k+1, i, c.And(pair, c.mask))
		return
	}
	w := c.Copy(low)
	c.InsertLeft(pair, 16, w)
	emit(k, i, w)
	c.InsertRight(low, 16, pair)
	emit(k+1, i, pair)
}

// coded gives out the numbers of a unit with codes.
func (c *compact) coded(emit func(k, i int, w vec)) {
	size, _ := c.unitBytes()
	for at := 0; at < size; at += lineBytes {
		c.Prefetch(mem{Base: c.b, Off: ahead + at})
	}
	for i := range panelVectors {
		codes := c.Read(mem{Base: c.b, Off: i % 4 * vector})
		if i < 4 {
			codes = c.And(codes, c.nibbles)
		} else {
			codes = c.ShiftBytesRight(codes, 4)
		}
		upper := c.LookUp(c.table, codes)
		rest := c.Read(mem{Base: c.b, Off: 64 + i*vector})
		for k := 0; k < unitK; k += 2 {
			var pair, low vec
			if k == 0 {
				pair = c.ZipLowBytes(rest, upper)
			} else {
				pair = c.ZipHighBytes(rest, upper)
			}
			if c.full {
				low = c.Read(mem{Base: c.b, Off: 64 + compactRest + k/2*panelBytes + i*vector})
			}
			c.emitPair(pair, low, k, i, emit)
		}
	}
}

// plain gives out the numbers of a unit without codes.
func (c *compact) plain(emit func(k, i int, w vec)) {
	for i := range panelVectors {
		if c.full {
			for k := range unitK {
				emit(k, i, c.Read(mem{Base: c.b, Off: k*panelBytes + i*vector}))
			}
			continue
		}
		for k := 0; k < unitK; k += 2 {
			c.emitPair(c.Read(mem{Base: c.b, Off: k/2*panelBytes + i*vector}), vec{}, k, i, emit)
		}
	}
}

// compactUnits emits the loops over the units of a block. begin is called at the begin of a
// unit and end at its end. The result is the length of the block.
func compactUnits(f *asm, full bool, begin func() (emit func(k, i int, w vec)), end func()) {
	k, b := f.Load("k"), f.Load("b")
	f.Preload()
	c := &compact{asm: f, full: full, b: b, nibbles: f.Bits(0x0f0f0f0f)}
	if !full {
		c.mask = f.Bits(upperHalf)
	}
	c.table = f.Read(mem{Base: b})
	left, runs, n := f.R(), f.R(), f.R()
	f.LSRTo(2, k, left)
	f.MOV(b, runs)
	f.ADDI(compactRuns, runs)
	f.Load4(mem{Base: b, Off: compactLen}, n)
	f.ADD(n, b)

	coded, plain := c.unitBytes()
	loop := func(label, after string, size int, unit func(func(k, i int, w vec))) {
		f.Load2Next(runs, n)
		f.CBZ(n, after)
		f.SUB(n, left)
		f.Loop(label, n, func() {
			unit(begin())
			end()
			f.ADDI(size, b)
		})
	}
	f.Label("run")
	loop("coded", "rest", coded, c.coded)
	f.Label("rest")
	loop("plain", "next", plain, c.plain)
	f.Label("next")
	f.CBNZ(left, "run")
	f.SUB(f.Load("b"), b)
	f.Set("ret", b)
}

// rowCompact emits the product of one row with a block.
func rowCompact(file *arm64.File, full bool) {
	f := file.Func("gemv"+compactName(full), "func(k int, a *float32, b *byte, c *float32, add bool) int",
		"computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of a block of a compact panel; k is not 0. It returns the length of the block.")
	a := f.Load("a")
	acc := panelSums(f)
	compactUnits(f, full, func() func(k, i int, w vec) {
		x := f.ReadNext(a)
		return func(k, i int, w vec) { f.MulAddLane(w, x, k, acc[i]) }
	}, func() {})
	gemmStore(f, [][]vec{acc})
}

// widenCompact emits the conversion of a block to float32.
func widenCompact(file *arm64.File, full bool) {
	f := file.Func("widen"+compactName(full), "func(k int, dst *float32, b *byte) int",
		"converts a block of a compact panel to a float32 panel; k is not 0. It returns the length of the block.")
	dst := f.Load("dst")
	compactUnits(f, full, func() func(k, i int, w vec) {
		return func(k, i int, w vec) { f.Write(w, mem{Base: dst, Off: k*panelBytes + i*vector}) }
	}, func() { f.ADDI(unitK*panelBytes, dst) })
	f.RET()
}
