package tensor

import "fmt"

// A DType says how the elements of a [Tensor] are stored. All arithmetic is done
// in float32, whatever the DType of the weights.
type DType uint8

// The storage formats.
const (
	Float32  DType = iota // IEEE 754 binary32
	BFloat16              // the upper half of a float32
	Int8                  // blocks of 32 int8 with one float32 scale: see [QuantBlock]
)

// QuantBlock is the number of neighbouring elements of a row that share a scale
// in the Int8 format. An element is the scale of its block times an integer from
// -127 to 127; the largest magnitude of the block is represented exactly up to
// rounding, so the error of an element is at most 1/254 of that magnitude.
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
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParseDType is the inverse of [DType.String].
func ParseDType(name string) (DType, error) {
	for _, d := range []DType{Float32, BFloat16, Int8} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("tensor: unknown dtype %q (choose one of float32, bfloat16, int8)", name)
}
