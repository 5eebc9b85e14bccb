package checkpoint

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// inf and nan are values of tests.
var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// same reports whether two numbers are the same, zeros with their sign and NaN
// included.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestConvert(t *testing.T) {
	minus0 := float32(math.Copysign(0, -1))
	for _, c := range []struct {
		dtype DType
		raw   []byte
		want  []float32
	}{
		{Bool, []byte{0, 1, 2}, []float32{0, 1, 1}},
		{U8, []byte{0, 127, 128, 255}, []float32{0, 127, 128, 255}},
		{I8, []byte{0, 127, 128, 255}, []float32{0, 127, -128, -1}},
		{U16, []byte{1, 0, 0, 128, 255, 255}, []float32{1, 32768, 65535}},
		{I16, []byte{1, 0, 0, 128, 255, 255}, []float32{1, -32768, -1}},
		{U32, []byte{1, 0, 0, 0, 255, 255, 255, 255}, []float32{1, 1 << 32}},
		{I32, []byte{1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 128}, []float32{1, -1, -1 << 31}},
		{U64, []byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}, []float32{1, 1 << 64}},
		{I64, []byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 128}, []float32{1, -1, -1 << 63}},
		// 2^40+2^16+1 lies just above the middle of two float32s.
		{I64, []byte{1, 0, 1, 0, 0, 1, 0, 0}, []float32{1<<40 + 1<<17}},
		{F16, []byte{0, 0x3c, 0, 0x80, 1, 0, 0xff, 0x7b, 0, 0xfc, 0, 0x7e}, []float32{1, minus0, 0x1p-24, 65504, -inf, nan}},
		{BF16, []byte{0x80, 0x3f, 0, 0x80, 1, 0, 0x7f, 0x7f, 0x80, 0xff, 0xc0, 0x7f}, []float32{1, minus0, 0x1p-133, 0x1.fep127, -inf, nan}},
		{F32, []byte{0, 0, 0x80, 0x3f, 1, 0, 0, 0, 0, 0, 0xc0, 0x7f}, []float32{1, 0x1p-149, nan}},
		{F64, []byte{
			0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
			0, 0, 0, 0, 0, 0, 0, 0x80,
			1, 0, 0, 0x10, 0, 0, 0xf0, 0x3f, // 1+2^-24+2^-52: up
			0, 0, 0, 0x10, 0, 0, 0xf0, 0x3f, // 1+2^-24: to even
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f,
			0, 0, 0, 0, 0, 0, 0xf8, 0x7f,
		}, []float32{1, minus0, 1 + 0x1p-23, 1, inf, nan}},
		{F8E4M3, []byte{0, 0x80, 1, 7, 8, 0x38, 0x7e, 0xfe, 0x7f, 0xff}, []float32{0, minus0, 0x1p-9, 7 * 0x1p-9, 0x1p-6, 1, 448, -448, nan, nan}},
		{F8E5M2, []byte{0, 0x80, 1, 3, 4, 0x3c, 0x7b, 0xfc, 0x7c, 0x7d}, []float32{0, minus0, 0x1p-16, 3 * 0x1p-16, 0x1p-14, 1, 57344, -inf, inf, nan}},
		{F8E4M3FNUZ, []byte{0, 0x80, 1, 8, 0x40, 0x7f, 0xff}, []float32{0, nan, 0x1p-10, 0x1p-7, 1, 240, -240}},
		{F8E5M2FNUZ, []byte{0, 0x80, 1, 4, 0x40, 0x7f, 0xff}, []float32{0, nan, 0x1p-17, 0x1p-15, 1, 57344, -57344}},
		{F8E8M0, []byte{0, 1, 127, 128, 254, 255}, []float32{0x1p-127, 0x1p-126, 1, 2, 0x1p127, nan}},
	} {
		// At every address, repeated to a length that takes several pieces.
		const times = 1000
		for shift := range 3 {
			raw := append(make([]byte, shift), slices.Repeat(c.raw, times)...)[shift:]
			got := make([]float32, len(c.want)*times)
			convert(got, raw, c.dtype)
			for i, v := range got {
				if want := c.want[i%len(c.want)]; !same(v, want) {
					t.Errorf("%s: element %d at shift %d is %v, want %v", c.dtype, i, shift, v, want)
					break
				}
			}
		}
	}
}

// TestFloat8E5M2 compares with float16, of which this type is the upper half.
func TestFloat8E5M2(t *testing.T) {
	for b := range 256 {
		var got, want [1]float32
		convert(got[:], []byte{byte(b)}, F8E5M2)
		convert(want[:], []byte{0, byte(b)}, F16)
		if !same(got[0], want[0]) {
			t.Errorf("%#02x is %v, want %v", b, got[0], want[0])
		}
	}
}

func TestEveryType(t *testing.T) {
	for i, d := range append(slices.Clone(order), C128) {
		if d.Bits() == 0 {
			t.Errorf("%s has no size", d)
		}
		if d.Bits() >= 8 && i > 0 && d.Bits() < order[i-1].Bits() {
			t.Errorf("%s comes after a larger type", d)
		}
		e := &Entry{dtype: d, shape: []int{4}, n: 4, store: &storage{file: &mapping{}, size: 4 * d.Bits() / 8, raw: func() ([]byte, error) {
			return make([]byte, 4*d.Bits()/8), nil
		}}}
		raw, err := e.Bytes()
		if err != nil || len(raw) != 4*d.Bits()/8 {
			t.Errorf("%s: %d bytes, %v", d, len(raw), err)
		}
		v, err := e.Float32s()
		switch d {
		case F4, F6E2M3, F6E3M2, C64, C128:
			wantError(t, err, string(d), "do not convert")
		default:
			if err != nil || len(v) != 4 {
				t.Errorf("%s: %v, %v", d, v, err)
			}
		}
	}
	if DType("F31").Bits() != 0 {
		t.Error("F31 has a size")
	}
}

// TestViews checks which methods give the memory of the file.
func TestViews(t *testing.T) {
	data := append(floats(1, 2), 0x80, 0x3f, 0, 0x40)
	header := `{"f":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}}`
	for pad := range 5 {
		raw := safetensorsFile(header+fmt.Sprintf("%*s", 8-len(header)%8+pad, ""), data)
		file, err := Parse("x", raw)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := file.Lookup("f")
		b, _ := file.Lookup("b")
		fv, err1 := f.Float32s()
		bv, err2 := b.BFloat16s()
		if err1 != nil || err2 != nil || !slices.Equal(fv, []float32{1, 2}) || !slices.Equal(bv, []uint16{0x3f80, 0x4000}) {
			t.Fatalf("%v %v, %v %v", fv, err1, bv, err2)
		}
		raw[len(raw)-1] = 0x41   // b[1] = 8
		raw[len(raw)-4-1] = 0x41 // f[1] = 8
		if shared := fv[1] == 8; shared != (littleEndian && pad%4 == 0) {
			t.Errorf("pad %d: float32s share memory: %v", pad, shared)
		}
		if shared := bv[1] == 0x4100; shared != (littleEndian && pad%2 == 0) {
			t.Errorf("pad %d: bfloat16s share memory: %v", pad, shared)
		}
		if _, err := f.BFloat16s(); err == nil {
			t.Error("F32 as bfloat16s: no error")
		}
		if v, err := b.Float32s(); err != nil || !slices.Equal(v, []float32{1, 8}) {
			t.Errorf("BF16 as float32s: %v, %v", v, err)
		}
	}
}
