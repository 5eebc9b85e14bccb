package checkpoint

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
)

// convert writes the elements in raw to dst as float32s, rounded to nearest. raw
// holds len(dst) elements of a type that is real.
func convert(dst []float32, raw []byte, d DType) {
	le := binary.LittleEndian
	switch d {
	case F32:
		copyFloat32s(dst, raw)
	case F16:
		each16(dst, raw, kernel.F16ToFloat32)
	case BF16:
		each16(dst, raw, kernel.BF16ToFloat32)
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(raw[8*i:])))
		}
	case I64:
		for i := range dst {
			dst[i] = float32(int64(le.Uint64(raw[8*i:])))
		}
	case U64:
		for i := range dst {
			dst[i] = float32(le.Uint64(raw[8*i:]))
		}
	case I32:
		for i := range dst {
			dst[i] = float32(int32(le.Uint32(raw[4*i:])))
		}
	case U32:
		for i := range dst {
			dst[i] = float32(le.Uint32(raw[4*i:]))
		}
	case I16:
		for i := range dst {
			dst[i] = float32(int16(le.Uint16(raw[2*i:])))
		}
	case U16:
		for i := range dst {
			dst[i] = float32(le.Uint16(raw[2*i:]))
		}
	case I8:
		for i := range dst {
			dst[i] = float32(int8(raw[i]))
		}
	case U8:
		for i := range dst {
			dst[i] = float32(raw[i])
		}
	case Bool:
		for i := range dst {
			dst[i] = 0
			if raw[i] != 0 {
				dst[i] = 1
			}
		}
	default:
		table := float8Tables()[d]
		for i := range dst {
			dst[i] = table[raw[i]]
		}
	}
}

// each16 applies a kernel to elements of two bytes, which may lie at an odd
// address.
func each16(dst []float32, raw []byte, kernel func([]float32, []uint16)) {
	if u, ok := view[uint16](raw[:2*len(dst)]); ok {
		kernel(dst, u)
		return
	}
	var buf [1024]uint16
	for len(dst) > 0 {
		n := min(len(dst), len(buf))
		for i := range n {
			buf[i] = binary.LittleEndian.Uint16(raw[2*i:])
		}
		kernel(dst[:n], buf[:n])
		dst, raw = dst[n:], raw[2*n:]
	}
}

// float8Tables returns the value of every byte in every 8-bit floating-point type.
var float8Tables = sync.OnceValue(func() map[DType]*[256]float32 {
	tables := map[DType]*[256]float32{}
	for d, f := range map[DType]float8{
		F8E4M3:     {mantissa: 3, bias: 7, nan: func(b int) bool { return b&0x7f == 0x7f }},
		F8E5M2:     {mantissa: 2, bias: 15, infinite: true},
		F8E4M3FNUZ: {mantissa: 3, bias: 8, nan: func(b int) bool { return b == 0x80 }},
		F8E5M2FNUZ: {mantissa: 2, bias: 16, nan: func(b int) bool { return b == 0x80 }},
	} {
		tables[d] = f.table()
	}
	scale := new([256]float32)
	for b := range scale {
		scale[b] = float32(math.Ldexp(1, b-127))
	}
	scale[255] = float32(math.NaN())
	tables[F8E8M0] = scale
	return tables
})

// float8 describes a floating-point type of a sign, an exponent and a mantissa.
type float8 struct {
	mantissa, bias int
	infinite       bool // the largest exponent is for infinities and NaN, as in IEEE 754
	nan            func(b int) bool
}

func (f float8) table() *[256]float32 {
	t := new([256]float32)
	for b := range t {
		t[b] = float32(f.value(b))
	}
	return t
}

func (f float8) value(b int) float64 {
	fraction := b & (1<<f.mantissa - 1)
	exponent := b & 0x7f >> f.mantissa
	if f.nan != nil && f.nan(b) {
		return math.NaN()
	}
	if f.infinite && exponent == 0x7f>>f.mantissa {
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(1 - b>>7*2)
	}
	v := math.Ldexp(float64(fraction), 1-f.bias-f.mantissa)
	if exponent > 0 {
		v = math.Ldexp(float64(fraction+1<<f.mantissa), exponent-f.bias-f.mantissa)
	}
	if b&0x80 != 0 {
		v = math.Copysign(v, -1)
	}
	return v
}
