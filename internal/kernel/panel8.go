package kernel

import (
	"encoding/binary"
	"math"
)

// QuantBlock is the number of neighbouring elements along k that share a scale.
const QuantBlock = 32

// An int8 panel is a sequence of blocks, each of 32 values of k by 32 rows of the
// matrix and then the 32 scales of these rows in 16 bits (see scale.go):
//
//	[⌈n/32⌉][⌈k/32⌉]{[8 quads of k][32 n][4]int8, [32 n]uint16}
//
// What is multiplied by four neighbours of k at once is so next to each other.
const (
	quadBytes = 4 * PanelWidth
	q8Numbers = QuantBlock * PanelWidth
	q8Bytes   = q8Numbers + 2*PanelWidth
)

// Q8PanelLen returns the number of bytes of the int8 panels of an n×k matrix.
func Q8PanelLen(n, k int) int {
	return (n + PanelWidth - 1) / PanelWidth * ((k + QuantBlock - 1) / QuantBlock) * q8Bytes
}

// q8Block returns the block of panels that holds w[row][p].
func q8Block(panels []byte, row, p, k int) []byte {
	i := (row/PanelWidth*((k+QuantBlock-1)/QuantBlock) + p/QuantBlock) * q8Bytes
	return panels[i : i+q8Bytes]
}

// q8Place returns the byte of a block in which value p of k of a column is.
func q8Place(p, column int) int { return p/4*quadBytes + 4*column + p%4 }

func q8Scale(block []byte, column int) uint16 {
	return binary.LittleEndian.Uint16(block[q8Numbers+2*column:])
}

// PackQ8Panels writes the n×k matrix q with the scales of its blocks, n rows of
// ⌈k/32⌉, to dst as panels, with zeros for the rows and columns that the last ones have
// too many. It panics if a slice is too short.
func PackQ8Panels(dst []byte, q []int8, scales []uint16, n, k int) {
	checkPacked("int8", len(dst), Q8PanelLen(n, k), len(q), n*k)
	if n%PanelWidth > 0 {
		clear(dst[Q8PanelLen(n-n%PanelWidth, k):Q8PanelLen(n, k)])
	}
	blocks := (k + QuantBlock - 1) / QuantBlock
	for j := range n {
		for b := range blocks {
			var row [QuantBlock]int8
			copy(row[:], q[j*k+b*QuantBlock:j*k+min((b+1)*QuantBlock, k)])
			putQ8(q8Block(dst, j, b*QuantBlock, k), j%PanelWidth, &row, scales[j*blocks+b])
		}
	}
}

// putQ8 makes row a column of a block.
func putQ8(block []byte, column int, row *[QuantBlock]int8, scale uint16) {
	at := block[4*column : 4*column+7*quadBytes+4]
	for i := 0; i < QuantBlock; i += 4 {
		four := uint32(uint8(row[i])) | uint32(uint8(row[i+1]))<<8 | uint32(uint8(row[i+2]))<<16 | uint32(uint8(row[i+3]))<<24
		binary.LittleEndian.PutUint32(at[i/4*quadBytes:], four)
	}
	binary.LittleEndian.PutUint16(block[q8Numbers+2*column:], scale)
}

// UnpackQ8Panels is the inverse of [PackQ8Panels].
func UnpackQ8Panels(q []int8, scales []uint16, panels []byte, n, k int) {
	checkPacked("int8", len(panels), Q8PanelLen(n, k), len(q), n*k)
	blocks := (k + QuantBlock - 1) / QuantBlock
	for j := range n {
		column := j % PanelWidth
		for b := range blocks {
			block := q8Block(panels, j, b*QuantBlock, k)
			scales[j*blocks+b] = q8Scale(block, column)
			out := q[j*k+b*QuantBlock : j*k+min((b+1)*QuantBlock, k)]
			for i := range out {
				out[i] = int8(block[q8Place(i, column)])
			}
		}
	}
}

// Q8PanelRow writes row row of the matrix of k columns in panels to dst.
func Q8PanelRow(dst []float32, panels []byte, row, k int) {
	column := row % PanelWidth
	for p := range dst[:k] {
		block := q8Block(panels, row, p, k)
		dst[p] = float32(int8(block[q8Place(p%QuantBlock, column)])) * q8Scales.float(q8Scale(block, column))
	}
}

// Q8Row writes a row of integers and scales that is not packed to dst.
func Q8Row(dst []float32, q []int8, scales []uint16) {
	for p := range dst {
		dst[p] = float32(q[p]) * q8Scales.float(scales[p/QuantBlock])
	}
}

// QuantizeQ8 rounds the n×k matrix w to blocks of int8. The scale of a block is its
// largest magnitude over 127, rounded to the nearest scale that there is: from 2^-40 on
// it is off by a part of 2^-11 at most, which is too little to make an integer 128, and
// the error of an element is at most half a scale. An infinity or NaN makes its block NaN,
// as does an element from some 2^30 on.
func QuantizeQ8(q []int8, scales []uint16, w []float32, n, k int) {
	if k%QuantBlock == 0 {
		quantizeRow(q[:n*k], scales, w[:n*k]) // rows are blocks as any others
		return
	}
	blocks := (k + QuantBlock - 1) / QuantBlock
	for j := range n {
		quantizeRow(q[j*k:(j+1)*k], scales[j*blocks:], w[j*k:(j+1)*k])
	}
}

// quantizeRow rounds blocks of which the last may be shorter.
func quantizeRow(q []int8, scales []uint16, w []float32) {
	for len(w) > 0 {
		whole := min(len(w)/QuantBlock, quantizedAtOnce)
		done := whole - quantizeBlocks(q, scales, w, whole)
		q, scales, w = q[done*QuantBlock:], scales[done:], w[done*QuantBlock:]
		if done == whole && whole > 0 {
			continue
		}
		n := min(QuantBlock, len(w))
		scales[0] = quantizeBlock(q[:n], w[:n])
		q, scales, w = q[n:], scales[1:], w[n:]
	}
}

// quantizedAtOnce is the number of blocks that are rounded without a pause.
const quantizedAtOnce = 1 << 11

// roundToEven rounds a number of a magnitude below 2^51 to the nearest integer, which is
// to even in the middle: the sum has no bits for fractions.
func roundToEven(x float64) int32 {
	const magic = 3 << 51
	return int32(math.Float64bits(x + magic))
}

func quantizeBlock(q []int8, w []float32) (scale uint16) {
	var largest float32
	for _, v := range w {
		largest = max(largest, v, -v)
	}
	scale = roundQ8Scale(largest / 127)
	if scale == q8NaN {
		for i := range q {
			q[i] = 1
		}
		return scale
	}
	unit := float64(q8Scales.float(scale))
	for i, v := range w {
		q[i] = int8(roundToEven(float64(v) / unit))
	}
	return scale
}
