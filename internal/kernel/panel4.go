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
//	[⌈n/32⌉][⌈k/32⌉]{[4 octets of k][32 n][4]byte, [32 n]bfloat16}
//
// Byte i of the four has value i of the octet in its lower half and 4+i in its upper, so
// that a table look-up of bytes makes two quads of an int8 panel of an octet.
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
	return p/8*quadBytes + 4*column + p%4, uint(p) % 8 / 4 * 4
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
// as panels, with zeros for the rows that the last one has too many. It panics if a
// slice is too short.
func PackQ4Panels(dst, codes []byte, scales []uint16, n, k int) {
	checkPacked("int4", len(dst), Q4PanelLen(n, k), len(codes), n*Q4RowLen(k))
	if n%PanelWidth > 0 {
		clear(dst[Q4PanelLen(n-n%PanelWidth, k):Q4PanelLen(n, k)])
	}
	blocks := Q4RowBlocks(k)
	for j := range n {
		for b := range blocks {
			i := j*blocks + b
			putQ4(q4Block(dst, j, b, k), j%PanelWidth, codes[i*q4RowBytes:], scales[i])
		}
	}
}

// putQ4 makes a block of a row a column of a block of a panel.
func putQ4(block []byte, column int, codes []byte, scale uint16) {
	codes, at := codes[:q4RowBytes], block[4*column:4*column+3*quadBytes+4]
	for octet := range QuantBlock / 8 {
		v := binary.LittleEndian.Uint32(codes[4*octet:])
		binary.LittleEndian.PutUint32(at[octet*quadBytes:], spread4(v&0xffff)|spread4(v>>16)<<4)
	}
	binary.LittleEndian.PutUint16(block[q4Numbers+2*column:], scale)
}

// spread4 puts four codes into the lower halves of bytes, and gather4 back.
func spread4(v uint32) uint32 {
	v = (v | v<<8) & 0x00ff00ff
	return (v | v<<4) & 0x0f0f0f0f
}

func gather4(v uint32) uint32 {
	v = (v | v>>4) & 0x00ff00ff
	return (v | v>>8) & 0xffff
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
			for octet := range QuantBlock / 8 {
				v := binary.LittleEndian.Uint32(block[octet*quadBytes+4*column:])
				binary.LittleEndian.PutUint32(out[4*octet:], gather4(v&0x0f0f0f0f)|gather4(v>>4&0x0f0f0f0f)<<16)
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
