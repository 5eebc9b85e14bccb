package kernel

import (
	"encoding/binary"
	"math"
)

// tileQ8RowsGeneric is the number of rows that are multiplied by a panel while it is in
// the first cache.
const tileQ8RowsGeneric = 4

// tileQ8Generic multiplies m rows, split by splitBlocksGeneric, by the 32 columns of a
// panel.
func tileQ8Generic(c []float32, ldc int, x, panel []byte, m, blocks int, scales *scaleFormat, add bool) {
	for i := range m {
		var s [PanelWidth]float32
		for b := range blocks {
			addBlock(&s, x[(i*blocks+b)*splitBytes:], (*[q8Bytes]byte)(panel[b*q8Bytes:]), scales)
		}
		storePart(c[i*ldc:i*ldc+PanelWidth], s[:], add)
	}
}

func tileQ4Generic(c []float32, x, panel []byte, blocks int, add bool) {
	var s [PanelWidth]float32
	var block [q8Bytes]byte
	for b := range blocks {
		expandQ4Generic(block[:], panel[b*q4Bytes:], 1)
		addBlock(&s, x[b*splitBytes:], &block, q4Scales)
	}
	storePart(c[:PanelWidth], s[:], add)
}

// addBlock adds the products of a block to the sums of the columns.
func addBlock(s *[PanelWidth]float32, x []byte, block *[q8Bytes]byte, scales *scaleFormat) {
	var lower, upper [PanelWidth]int32
	for q := range QuantBlock / 4 {
		var lo, up [4]int32
		for i := range lo {
			lo[i] = int32(int16(binary.LittleEndian.Uint16(x[q*splitQuad+2*i:])))
			up[i] = int32(int16(binary.LittleEndian.Uint16(x[q*splitQuad+8+2*i:])))
		}
		for j := range PanelWidth {
			w := block[q*quadBytes+4*j:][:4]
			w0, w1, w2, w3 := int32(int8(w[0])), int32(int8(w[1])), int32(int8(w[2])), int32(int8(w[3]))
			lower[j] += lo[0]*w0 + lo[1]*w1 + lo[2]*w2 + lo[3]*w3
			upper[j] += up[0]*w0 + up[1]*w1 + up[2]*w2 + up[3]*w3
		}
	}
	unit := math.Float32frombits(binary.LittleEndian.Uint32(x[splitUnit:]))
	for j := range s {
		sum := float32(upper[j])*(1<<15) + float32(lower[j])
		// As good as fused: the product is exact, and cannot overflow before the sum does.
		s[j] = float32(float64(s[j]) + float64(sum*unit)*float64(scales.float(q8Scale(block[:], j))))
	}
}

// expandQ4Generic converts blocks of an int4 panel to those of an int8 panel, in which the
// scales are what they were.
func expandQ4Generic(dst, panel []byte, blocks int) {
	for b := range blocks {
		from, to := panel[b*q4Bytes:][:q4Bytes], dst[b*q8Bytes:][:q8Bytes]
		for i, two := range from[:q4Numbers] {
			at := i/quadBytes*2*quadBytes + i%quadBytes
			to[at], to[at+quadBytes] = byte(q4Ints[two&15]), byte(q4Ints[two>>4])
		}
		copy(to[q8Numbers:], from[q4Numbers:])
	}
}

// q4Ints are the Q4Codes as integers.
var q4Ints = func() (t [16]int8) {
	for i, v := range Q4Codes {
		t[i] = int8(v)
	}
	return t
}()
