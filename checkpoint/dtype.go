package checkpoint

// A DType is the element type of a tensor in a file, under the name that the
// safetensors format gives it. All types are little-endian.
type DType string

// The element types of the safetensors format, C128, which PyTorch files have in
// addition, and those with blocks, which GGUF files have.
const (
	Bool       DType = "BOOL"
	F4         DType = "F4"          // E2M1, two to a byte
	F6E2M3     DType = "F6_E2M3"     // four to three bytes
	F6E3M2     DType = "F6_E3M2"     // four to three bytes
	U8         DType = "U8"          //
	I8         DType = "I8"          //
	F8E5M2     DType = "F8_E5M2"     // the upper half of a float16
	F8E4M3     DType = "F8_E4M3"     // largest 448, no infinities
	F8E8M0     DType = "F8_E8M0"     // powers of two, 2^-127 to 2^127
	F8E4M3FNUZ DType = "F8_E4M3FNUZ" // largest 240, no infinities, no -0
	F8E5M2FNUZ DType = "F8_E5M2FNUZ" // largest 57344, no infinities, no -0
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64" // float32 real and imaginary part
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
	C128       DType = "C128" // float64 real and imaginary part
	Q8_0       DType = "Q8_0" // blocks of 32 int8 with a float16 scale
	Q4_0       DType = "Q4_0" // blocks of 32 four-bit numbers with a float16 scale
	Q4_1       DType = "Q4_1" // the same with a float16 offset too
	Q6_K       DType = "Q6_K" // blocks of 256 six-bit numbers with an int8 scale for every 16
)

// order lists the types as the reference implementation of safetensors sorts
// them: writers put the last first, so that every tensor is aligned.
var order = []DType{
	Bool, F4, F6E2M3, F6E3M2, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ,
	I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64,
}

// Bits returns the number of bits of an element, or 0 for a type that does not exist
// or whose elements come in blocks.
func (d DType) Bits() int {
	switch d {
	case F4:
		return 4
	case F6E2M3, F6E3M2:
		return 6
	case Bool, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ:
		return 8
	case I16, U16, F16, BF16:
		return 16
	case I32, U32, F32:
		return 32
	case C64, F64, I64, U64:
		return 64
	case C128:
		return 128
	}
	return 0
}

// real reports whether elements can be converted to float32s. Complex numbers are
// not one float32 each, and what is smaller than a byte means little without the
// scales that come with it.
func (d DType) real() bool {
	switch d {
	case F4, F6E2M3, F6E3M2, C64, C128:
		return false
	}
	return d.Bits() > 0 || d.blocks()
}
