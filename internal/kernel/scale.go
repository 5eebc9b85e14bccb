package kernel

import "math"

// A scaleFormat says what the 16 bits of a scale in a panel stand for: shifted to the left
// and with a bias added they are the bits of a float32, and that times the factor is the
// scale. Kernels read it, as vectors of equal lanes, so that the same ones multiply by the
// panels of either format of integers.
type scaleFormat struct {
	shift, bias [8]uint32
	factor      [8]float32
}

func newScaleFormat(shift, bias uint32, factor float32) *scaleFormat {
	f := new(scaleFormat)
	for i := range f.shift {
		f.shift[i], f.bias[i], f.factor[i] = shift, bias, factor
	}
	return f
}

func (f *scaleFormat) float(scale uint16) float32 {
	return math.Float32frombits(uint32(scale)<<f.shift[0]+f.bias[0]) * f.factor[0]
}

// The scales of int8 blocks have no sign, an exponent of six bits and a fraction of ten:
//
//	(1 + fraction/2^10)·2^(exponent-40)
//
// are what the numbers below 2^23 are. They include all float16 above 0, those of which
// are subnormal there are not here. As in other formats, the largest exponent is that of
// infinity and NaNs; a factor makes one range of exponents of another, and leaves these.
//
// There is no scale 0: blocks of zeros have any.
const (
	q8Fraction = 10
	q8Exponent = -40 // of the code 0
	q8NaN      = 0xffff
)

var (
	q8Scales = newScaleFormat(23-q8Fraction, (255-63)<<23, 0x1p-105)
	q4Scales = newScaleFormat(16, 0, 1) // bfloat16
)

// roundQ8Scale rounds a scale without a sign to the nearest that there is. What is too
// large for that becomes NaN, as infinities do.
func roundQ8Scale(scale float32) uint16 {
	const least, last = (127 + q8Exponent) << 23, 23 - q8Fraction
	b := math.Float32bits(scale)
	if b <= least {
		return 0
	}
	b = (b - least + 1<<(last-1) - 1 + b>>last&1) >> last
	if b >= 63<<q8Fraction {
		return q8NaN
	}
	return uint16(b)
}

// RoundQ8Scales writes the scales of the blocks of an n×k matrix of the integers q to
// dst in the format that panels have, each rounded to the nearest number of 11 bits from
// 2^-40 on. It changes the integers where that takes it: those of a block with a negative
// scale change their sign, whereby -128 becomes 127, and those of one with a scale below
// 2^-41 become 0. Blocks with scales that are infinite, NaN, or not below 2^23 become NaN.
func RoundQ8Scales(dst []uint16, q []int8, scales []float32, n, k int) {
	blocks := Q4RowBlocks(k)
	for i, s := range scales[:n*blocks] {
		dst[i] = roundQ8Scale(math.Float32frombits(math.Float32bits(s) &^ (1 << 31)))
		if s >= 0x1p-41 {
			continue
		}
		first := i/blocks*k + i%blocks*QuantBlock
		block := q[first:min(first+QuantBlock, (i/blocks+1)*k)]
		switch {
		case s > -0x1p-41:
			clear(block)
		case s < 0:
			for j, v := range block {
				block[j] = -max(v, -127)
			}
		}
	}
}
