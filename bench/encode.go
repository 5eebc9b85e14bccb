package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// A kind is the type of the elements of a tensor in a GGUF file, by its number there.
type kind uint32

const (
	f32  kind = 0
	f16  kind = 1
	q4   kind = 2 // Q4_0
	q8   kind = 8 // Q8_0
	bf16 kind = 30
)

func (k kind) String() string {
	switch k {
	case f32:
		return "F32"
	case f16:
		return "F16"
	case q4:
		return "Q4_0"
	case q8:
		return "Q8_0"
	case bf16:
		return "BF16"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// block is the number of elements that share a scale.
const block = 32

// size returns the bytes that n elements take up, whole blocks of them.
func (k kind) size(n int) int {
	switch k {
	case f32:
		return 4 * n
	case q4:
		return n / block * (2 + block/2)
	case q8:
		return n / block * (2 + block)
	}
	return 2 * n
}

// encode appends values to b, as ggml stores them.
func (k kind) encode(b []byte, v []float32) []byte {
	le := binary.LittleEndian
	switch k {
	case f32:
		for _, x := range v {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
	case f16:
		for _, x := range v {
			b = le.AppendUint16(b, half(x))
		}
	case bf16:
		for _, x := range v {
			u := math.Float32bits(x)
			b = le.AppendUint16(b, uint16((u+0x7fff+u>>16&1)>>16))
		}
	case q8:
		for c := range slices.Chunk(v, block) {
			b = encodeQ8(b, c)
		}
	case q4:
		for c := range slices.Chunk(v, block) {
			b = encodeQ4(b, c)
		}
	}
	return b
}

// encodeQ8 appends a float16 scale and a signed byte for each of v.
func encodeQ8(b []byte, v []float32) []byte {
	largest := float32(0)
	for _, x := range v {
		largest = max(largest, x, -x)
	}
	scale := largest / 127
	b = binary.LittleEndian.AppendUint16(b, half(scale))
	inverse := reciprocal(scale)
	for _, x := range v {
		b = append(b, byte(int8(math.Round(float64(x*inverse)))))
	}
	return b
}

// encodeQ4 appends a float16 scale and four bits for each of v, those of the first half
// in the low ones. The value that is largest in magnitude gets the code 0, which stands
// for -8 times the scale.
func encodeQ4(b []byte, v []float32) []byte {
	largest := float32(0)
	for _, x := range v {
		if max(x, -x) > max(largest, -largest) {
			largest = x
		}
	}
	scale := largest / -8
	b = binary.LittleEndian.AppendUint16(b, half(scale))
	inverse := reciprocal(scale)
	code := func(x float32) byte { return byte(min(15, int(x*inverse+8.5))) }
	for i := range block / 2 {
		b = append(b, code(v[i])|code(v[i+block/2])<<4)
	}
	return b
}

func reciprocal(x float32) float32 {
	if x == 0 {
		return 0
	}
	return 1 / x
}

// half rounds to a float16, to nearest even.
func half(v float32) uint16 {
	b := math.Float32bits(v)
	sign, b := uint16(b>>16&0x8000), b&0x7fffffff
	switch a := math.Float32frombits(b); {
	case a != a:
		return sign | 0x7e00
	case a >= 65520:
		return sign | 0x7c00
	case a < 0x1p-14: // not normal, or the smallest that is
		return sign | uint16(math.RoundToEven(float64(a)*0x1p24))
	}
	b += 0xfff + b>>13&1
	return sign | uint16(b>>13-112<<10)
}
