package kernel

import (
	"fmt"
	"math"
)

// BF16ToFloat32 widens bfloat16 numbers, exactly. It panics if dst is shorter than src.
func BF16ToFloat32(dst []float32, src []uint16) {
	checkLen("BF16ToFloat32", len(dst), len(src))
	for i, v := range src {
		dst[i] = math.Float32frombits(uint32(v) << 16)
	}
}

// Float32ToBF16 rounds to bfloat16, to nearest, ties to even. NaNs stay NaNs, made
// quiet.
func Float32ToBF16(dst []uint16, src []float32) {
	checkLen("Float32ToBF16", len(dst), len(src))
	for i, v := range src {
		b := math.Float32bits(v)
		if v != v {
			dst[i] = uint16(b>>16) | 0x40
		} else {
			dst[i] = uint16((b + 0x7fff + b>>16&1) >> 16)
		}
	}
}

// F16ToFloat32 widens IEEE 754 binary16 numbers, exactly; NaNs are made quiet.
func F16ToFloat32(dst []float32, src []uint16) {
	checkLen("F16ToFloat32", len(dst), len(src))
	for i, h := range src {
		dst[i] = f16ToFloat32(h)
	}
}

func f16ToFloat32(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch {
	case exponent == 31 && fraction != 0:
		return math.Float32frombits(sign | 255<<23 | 1<<22 | fraction<<13)
	case exponent == 31:
		return math.Float32frombits(sign | 255<<23)
	case exponent != 0:
		return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
	}
	// Zero or subnormal: a multiple of 2^-24.
	return math.Float32frombits(sign | math.Float32bits(float32(fraction)/(1<<24)))
}

// Float32ToF16 rounds to IEEE 754 binary16, to nearest, ties to even; what is too
// large becomes infinite. NaNs stay NaNs, made quiet.
func Float32ToF16(dst []uint16, src []float32) {
	checkLen("Float32ToF16", len(dst), len(src))
	for i, v := range src {
		dst[i] = float32ToF16(v)
	}
}

func float32ToF16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, magnitude := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case magnitude > 255<<23:
		return sign | 0x7e00 | uint16(magnitude>>13&0x1ff)
	case magnitude >= 0x477ff000: // 65520, which rounds to 2^16
		return sign | 0x7c00
	case magnitude < 113<<23:
		// Subnormal or zero: rounded to a multiple of 2^-24 by adding a number whose
		// last bit has that weight.
		const shift = float32(0.5)
		f := math.Float32frombits(magnitude) + shift
		return sign | uint16(math.Float32bits(f)-math.Float32bits(shift))
	}
	return sign | uint16((magnitude+0xfff+magnitude>>13&1-112<<23)>>13)
}

func checkLen(op string, dst, src int) {
	if dst < src {
		panic(fmt.Sprintf("kernel: %s of %d elements into %d", op, src, dst))
	}
}
