package checkpoint

import (
	"encoding/binary"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// Elements of the quantised types of GGUF files come in blocks of neighbours of a row,
// which share scales.
const (
	shortBlock = 32
	longBlock  = 256
)

// block returns the number of elements of a block and that of its bytes, or zeros for
// types without blocks.
func (d DType) block() (length, size int) {
	switch d {
	case Q8_0:
		return shortBlock, 2 + shortBlock
	case Q4_0:
		return shortBlock, 2 + shortBlock/2
	case Q4_1:
		return shortBlock, 4 + shortBlock/2
	case Q6_K:
		return longBlock, longBlock/2 + longBlock/4 + longBlock/16 + 2
	}
	return 0, 0
}

// blocks reports whether elements come in blocks.
func (d DType) blocks() bool {
	n, _ := d.block()
	return n > 0
}

// readBlocks fills dst with the elements from the given one on of blocks in raw.
func readBlocks(dst []float32, raw []byte, d DType, from int) {
	var buffer [longBlock]float32
	length, size := d.block()
	block := buffer[:length]
	raw, skip := raw[from/length*size:], from%length
	for len(dst) > 0 {
		decodeBlock(block, raw[:size], d)
		n := copy(dst, block[skip:])
		dst, raw, skip = dst[n:], raw[size:], 0
	}
}

// integers is blocks of 32 integers of at most 8 bits, with their scales.
type integers struct {
	q      []int8
	scales []float32
	rows   tensor.Tensor // of them
}

var integerBuffers = sync.Pool{New: func() any { return new(integers) }}

// grow makes room for n elements, a multiple of 32.
func (b *integers) grow(n int) {
	if cap(b.q) < n {
		b.q, b.scales = make([]int8, n), make([]float32, n/shortBlock)
	}
	b.q, b.scales = b.q[:n], b.scales[:n/shortBlock]
}

// simple reports whether the elements of a type are integers of at most 8 bits times the
// scale of their block of 32, as in package tensor's Int8.
func (d DType) simple() bool { return d == Q8_0 || d == Q4_0 }

// read fills b with the elements from the given one on, a multiple of 32, of blocks of a
// simple type in raw.
func (b *integers) read(raw []byte, d DType, from int) {
	length, size := d.block()
	raw = raw[from/length*size:]
	for i := range b.scales {
		block, q := raw[i*size:][:size], b.q[i*length:][:length]
		b.scales[i] = float16(block)
		if d == Q8_0 {
			for j, v := range block[2:] {
				q[j] = int8(v)
			}
			continue
		}
		low, high := q[:shortBlock/2], q[shortBlock/2:]
		for j, v := range block[2:] {
			low[j], high[j] = int8(v&15)-8, int8(v>>4)-8
		}
	}
}

// decodeBlock returns the numbers of a block, as the functions dequantize_row_* of ggml
// (ggml-quants.c) do.
func decodeBlock(dst []float32, raw []byte, d DType) {
	switch d {
	case Q8_0:
		scale := float16(raw)
		for i, q := range raw[2:] {
			dst[i] = float32(int8(q)) * scale
		}
	case Q4_0:
		scale := float16(raw)
		for i, q := range raw[2:] {
			dst[i] = float32(int(q&15)-8) * scale
			dst[i+shortBlock/2] = float32(int(q>>4)-8) * scale
		}
	case Q4_1:
		scale, offset := float16(raw), float16(raw[2:])
		for i, q := range raw[4:] {
			dst[i] = float32(q&15)*scale + offset
			dst[i+shortBlock/2] = float32(q>>4)*scale + offset
		}
	case Q6_K:
		decodeQ6K(dst, raw)
	}
}

// decodeQ6K returns the numbers of a block of six bits less 32. There are the lower four
// bits of all, then the upper two, then a scale for every 16, then one for all. Each half
// of a block has its own half of the bits: of the bytes of lower bits, the lower halves are
// those of the first 64 elements, and of a byte of upper bits, the four pairs are those of
// four elements 32 apart.
func decodeQ6K(dst []float32, raw []byte) {
	low, high, scales := raw[:longBlock/2], raw[longBlock/2:longBlock/4*3], raw[longBlock/4*3:]
	scale := float16(scales[longBlock/16:])
	for i := range dst[:longBlock] {
		half, at := i/128, i%128
		bits := low[half*64+at%64] >> (at / 64 * 4) & 15
		bits |= high[half*32+at%32] >> (at / 32 * 2) & 3 << 4
		dst[i] = scale * float32(int8(scales[i/16])) * float32(int(bits)-32)
	}
}

// float16 returns the number that raw begins with.
func float16(raw []byte) float32 {
	var v [1]float32
	kernel.F16ToFloat32(v[:], []uint16{binary.LittleEndian.Uint16(raw)})
	return v[0]
}
