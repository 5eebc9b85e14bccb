package kernel

import (
	"encoding/binary"
	"math"
)

// Rows of activations are multiplied by weights of int8 and int4 as integers, which the
// floating-point numbers of a block of 32 become by rounding to multiples of a power of
// two: the block's largest magnitude is from 2^21 to 2^22 of these units, so that no
// element is off by more than 2^-22 of it. What multiplies integers has few bits, and
// so an element x is split into digits:
//
//	x = 2^15·upper + lower                -2^14 ≤ lower < 2^14, -127 ≤ upper ≤ 127
//	x = 2^15·upper + 2^8·middle + lowest  for VNNI, which takes bytes
//
// The products of a block are summed exactly, in any order.

// splitBytes is the size of a split block:
//
//	[8 quads of k]{[4]int16 lower, [4]int16 upper}, float32 unit      or, for VNNI,
//	[32]int8 upper, middle and lowest, -128·Σ of each as int32, …, float32 unit
//
// of which the sum of the upper ones has the bits of the float32 3·2^37 added.
// For AVX2, the four of a quad are in the order 0, 2, 1, 3.
const (
	splitBytes = 144
	splitQuad  = 16
	splitUnit  = 128 // where the unit is
)

// SplitLen returns the number of bytes of m rows of k elements that are split.
func SplitLen(m, k int) int { return m * Q4RowBlocks(k) * splitBytes }

// SplitRows splits m rows of k elements, the first of each at a multiple of lda, for
// [GemmQ8] and [GemmQ4]. What it writes depends on the tier in use. A block with an
// infinity or NaN becomes NaN. It panics if a slice is too short.
func SplitRows(dst []byte, a []float32, lda, m, k int) {
	whole := k / QuantBlock
	for i := range m {
		row, x := dst[SplitLen(i, k):SplitLen(i+1, k)], a[i*lda:][:k]
		if whole > 0 {
			splitBlocks(row, x, whole)
		}
		if k%QuantBlock > 0 {
			var rest [QuantBlock]float32
			copy(rest[:], x[whole*QuantBlock:])
			splitBlocks(row[whole*splitBytes:], rest[:], 1)
		}
	}
}

func splitBlocksGeneric(dst []byte, a []float32, blocks int) {
	for b := range blocks {
		splitBlock(dst[b*splitBytes:], (*[QuantBlock]float32)(a[b*QuantBlock:]))
	}
}

// splitBlock splits a block for products of 16 bits.
func splitBlock(dst []byte, a *[QuantBlock]float32) {
	var largest uint32
	for _, v := range a {
		largest = max(largest, math.Float32bits(v)&^(1<<31))
	}
	unit, inverse := splitUnitOf(largest)
	binary.LittleEndian.PutUint32(dst[splitUnit:], math.Float32bits(unit))
	for p, v := range a {
		x := roundToEven(float64(v * inverse))
		upper := (x + 1<<14) >> 15
		quad := dst[p/4*splitQuad+p%4*2:]
		binary.LittleEndian.PutUint16(quad, uint16(x-upper<<15))
		binary.LittleEndian.PutUint16(quad[8:], uint16(upper))
	}
}

// splitUnitOf returns the unit of a block, of whose largest magnitude it gets the bits, and
// the inverse. Magnitudes that would round to 127.5·2^15 units or more, which no digit
// reaches, get the next larger unit. Neither is subnormal.
func splitUnitOf(largest uint32) (unit, inverse float32) {
	exponent := max((largest+0x10002)>>23, 22)
	unit, inverse = math.Float32frombits((exponent-21)<<23), math.Float32frombits((275-exponent)<<23)
	if largest > 0x7f7fffff {
		unit = float32(math.NaN())
	}
	return unit, inverse
}
