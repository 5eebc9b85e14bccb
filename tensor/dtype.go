package tensor

import "fmt"

// A DType says how the elements of a [Tensor] are stored. Arithmetic with Float32 and
// BFloat16 is done in float32, and with the others in integers; see the package's
// documentation.
type DType uint8

// The storage formats.
const (
	Float32  DType = iota // IEEE 754 binary32
	BFloat16              // the upper half of a float32
	Int8                  // blocks of 32 int8 with one scale of 16 bits: see [QuantBlock]
	Int4                  // blocks of 32 four-bit codes with one bfloat16 scale
)

// QuantBlock is the number of neighbouring elements of a row that share a scale
// in the Int8 and Int4 formats.
//
// An element of Int8, which takes 8.5 bits with its share of the scale, is the scale of
// its block times an integer from -127 to 127. A scale is
//
//	(1 + f/1024)·2^e   with f from 0 to 1023 and e from -40 to 22
//
// or NaN: every positive float16 is one. That of a block is the nearest to 1/127 of its
// largest magnitude, so the error of an element is at most 1/254 of that magnitude, and a
// part of 2^-11 of this more, or 2^-41 if that is more. Blocks with a magnitude from 2^30
// on, nearly, become NaN.
//
// An element of Int4, which takes 4.5 bits with its share of the scale, is the scale of
// its block times one of
//
//	-127 -103 -81 -63 -48 -34 -21 -10 0 10 22 34 47 64 83 109
//
// which lie closer where weights are frequent. The scale may be negative; it is chosen
// to make the sum of the squared errors small, with no error above 0.15 of the largest
// magnitude of the block. Of normally distributed weights the error is 7.5 % (root mean
// square), where 16 equidistant numbers in as many bits leave 8.6 %.
const QuantBlock = 32

// String returns the name of the format in lower case.
func (d DType) String() string {
	switch d {
	case Float32:
		return "float32"
	case BFloat16:
		return "bfloat16"
	case Int8:
		return "int8"
	case Int4:
		return "int4"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParseDType is the inverse of [DType.String].
func ParseDType(name string) (DType, error) {
	for _, d := range []DType{Float32, BFloat16, Int8, Int4} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("tensor: unknown dtype %q (choose one of float32, bfloat16, int8, int4)", name)
}
