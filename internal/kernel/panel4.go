package kernel

import (
	"encoding/binary"
	"math"
)

// Q4Codes are the numbers that four bits stand for, in units of the scale of a block.
// They lie close where weights are frequent: they were fitted, with the scales that
// [QuantizeQ4] chooses, to blocks of 32 normally and Laplace distributed numbers and of
// trained weights, with one of them fixed at 0 so that zeros stay zeros.
//
// Each is an integer of 7 bits and a sign, and a scale is a bfloat16, so that their
// product is exact in float32 wherever it is not subnormal.
var Q4Codes = [16]float32{-127, -103, -81, -63, -48, -34, -21, -10, 0, 10, 22, 34, 47, 64, 83, 109}

// q4Zero is the code of 0.
const q4Zero = 8

// A row of a matrix in the int4 format is a sequence of blocks of 32 elements, the
// last one filled up with zeros. Byte i of the 16 of a block has the code of element
// 2i in its lower half and that of 2i+1 in its upper.
const q4RowBytes = QuantBlock / 2

// Q4RowBlocks returns the number of blocks, and so of scales, of a row of k elements.
func Q4RowBlocks(k int) int { return (k + QuantBlock - 1) / QuantBlock }

// Q4RowLen returns the number of bytes of the codes of a row of k elements.
func Q4RowLen(k int) int { return q4RowBytes * Q4RowBlocks(k) }

// An int4 panel is a sequence of blocks, each of 32 values of k by 32 rows of the
// matrix and then the 32 scales of these rows as bfloat16:
//
//	[⌈n/32⌉][⌈k/32⌉]{[4 octets of k][8 groups of n][16]byte, [32 n]bfloat16}
//
// The 16 bytes hold the codes of 8 values of k by 4 rows, so that a table look-up of
// bytes, and interleaving its results, puts pairs of neighbouring values of k into
// 32 bits, as they are in bfloat16 panels: byte 2c+i of the first eight has row c, the
// value i of k in its lower half and 4+i in its upper; the last eight have 2+i and 6+i.
const (
	q4Numbers = QuantBlock * PanelWidth / 2
	q4Bytes   = q4Numbers + 2*PanelWidth
)

// Q4PanelLen returns the number of bytes of the int4 panels of an n×k matrix.
func Q4PanelLen(n, k int) int {
	return (n + PanelWidth - 1) / PanelWidth * Q4RowBlocks(k) * q4Bytes
}

// q4Block returns block b of the panel that holds the given row.
func q4Block(panels []byte, row, b, k int) []byte {
	i := (row/PanelWidth*Q4RowBlocks(k) + b) * q4Bytes
	return panels[i : i+q4Bytes]
}

// q4Place returns the byte of a block in which the code of value p of k of a column is,
// and by how many bits it is shifted.
func q4Place(p, column int) (i int, shift uint) {
	octet, group := p/8, column/4
	return octet*(4*PanelWidth) + group*16 + p%4/2*8 + column%4*2 + p%2, uint(p) % 8 / 4 * 4
}

func q4Code(block []byte, p, column int) byte {
	i, shift := q4Place(p, column)
	return block[i] >> shift & 15
}

func q4Scale(block []byte, column int) uint16 {
	return binary.LittleEndian.Uint16(block[q4Numbers+2*column:])
}

func widenScale(scale uint16) float32 { return math.Float32frombits(uint32(scale) << 16) }

// PackQ4Panels writes the n×k matrix of the given codes and scales, row by row, to dst
// as panels. It panics if a slice is too short.
func PackQ4Panels(dst, codes []byte, scales []uint16, n, k int) {
	checkPacked("int4", len(dst), Q4PanelLen(n, k), len(codes), n*Q4RowLen(k))
	clear(dst[:Q4PanelLen(n, k)])
	blocks := Q4RowBlocks(k)
	for j := range n {
		column := j % PanelWidth
		for b := range blocks {
			block := q4Block(dst, j, b, k)
			binary.LittleEndian.PutUint16(block[q4Numbers+2*column:], scales[j*blocks+b])
			for i, two := range codes[(j*blocks+b)*q4RowBytes:][:q4RowBytes] {
				at, shift := q4Place(2*i, column)
				block[at] |= two & 15 << shift
				block[at+1] |= two >> 4 << shift
			}
		}
	}
}

// UnpackQ4Panels is the inverse of [PackQ4Panels].
func UnpackQ4Panels(codes []byte, scales []uint16, panels []byte, n, k int) {
	checkPacked("int4", len(panels), Q4PanelLen(n, k), len(codes), n*Q4RowLen(k))
	blocks := Q4RowBlocks(k)
	for j := range n {
		column := j % PanelWidth
		for b := range blocks {
			block := q4Block(panels, j, b, k)
			scales[j*blocks+b] = q4Scale(block, column)
			out := codes[(j*blocks+b)*q4RowBytes:][:q4RowBytes]
			for i := range out {
				at, shift := q4Place(2*i, column)
				out[i] = block[at]>>shift&15 | block[at+1]>>shift&15<<4
			}
		}
	}
}

// Q4PanelRow writes row row of the matrix of k columns in panels to dst.
func Q4PanelRow(dst []float32, panels []byte, row, k int) {
	column := row % PanelWidth
	for p := range dst[:k] {
		block := q4Block(panels, row, p/QuantBlock, k)
		dst[p] = Q4Codes[q4Code(block, p%QuantBlock, column)] * widenScale(q4Scale(block, column))
	}
}

// Q4Row writes a row of codes and scales that is not packed to dst.
func Q4Row(dst []float32, codes []byte, scales []uint16) {
	for p := range dst {
		dst[p] = Q4Codes[codes[p/2]>>(p%2*4)&15] * widenScale(scales[p/QuantBlock])
	}
}
