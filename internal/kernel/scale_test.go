package kernel

import (
	"math"
	"slices"
	"testing"
)

// TestQ8Scales reads all scales that there are.
func TestQ8Scales(t *testing.T) {
	for i := range 1 << 16 {
		code := uint16(i)
		want, got := scaleValue(code), q8Scales.float(code)
		if got != want && (got == got || want == want) {
			t.Fatalf("%04x is %v, want %v", code, got, want)
		}
		if again := roundQ8Scale(got); again != code && !(got-got != 0 && again == q8NaN) {
			t.Fatalf("%04x, which is %v, rounds to %04x", code, got, again)
		}
	}
	last := q8Scales.float(63<<10 - 1)
	for _, c := range []struct{ in, want float32 }{
		{0, 0x1p-40}, {0x1p-60, 0x1p-40}, {1 + 0x1p-11, 1}, {1 + 0x1.8p-10, 1 + 0x1p-9}, {1 + 0x1.01p-11, 1 + 0x1p-10}, {2 - 0x1p-11, 2},
		{0x1.ffcp22, last}, {0x1.ffdp22, last}, {0x1p-40 + 0x1.01p-51, 0x1p-40 + 0x1p-50},
	} {
		if got := q8Scales.float(roundQ8Scale(c.in)); got != c.want {
			t.Errorf("scale %v becomes %v, want %v", c.in, got, c.want)
		}
	}
	for _, v := range []float32{0x1.ffep22, 0x1p23, math.MaxFloat32, float32(math.Inf(1)), float32(math.NaN())} {
		if got := roundQ8Scale(v); got != q8NaN {
			t.Errorf("scale %v becomes %04x", v, got)
		}
	}
}

// TestRoundQ8Scales tests that a block with any float16 as its scale keeps its value, and
// what becomes of those that have no such scale.
func TestRoundQ8Scales(t *testing.T) {
	const k = 40
	var wide [1]float32
	q, scales, row := make([]int8, 2*k), make([]uint16, 4), make([]float32, k)
	for i := range 1 << 16 {
		F16ToFloat32(wide[:], []uint16{uint16(i)})
		s := wide[0]
		for j := range q {
			q[j] = int8(j%255 - 127)
		}
		before := slices.Clone(q)
		RoundQ8Scales(scales, q, []float32{1, 1, s, -s}, 2, k)
		if !slices.Equal(q[:k], before[:k]) {
			t.Fatal("other blocks changed")
		}
		Q8Row(row, q[k:], scales[2:])
		for j, got := range row {
			want := float32(before[k+j]) * s
			if j >= 32 {
				want = -want
			}
			if got != want && !(s-s != 0 && got != got) {
				t.Fatalf("float16 %04x: element %d is %v, want %v", i, j, got, want)
			}
		}
	}
	for _, c := range []struct {
		scale, first, second float32 // times -128 and 5
	}{{-1, 127, -5}, {0x1p-41, -0x1p-33, 5 * 0x1p-40}, {-0x1p-41, 127 * 0x1p-40, -5 * 0x1p-40}, {0x1.ffp-42, 0, 0}, {-0x1.ffp-42, 0, 0}, {0, 0, 0}, {3.0001, -384, 15}} {
		q := []int8{-128, 5}
		RoundQ8Scales(scales, q, []float32{c.scale}, 1, 2)
		Q8Row(row[:2], q, scales)
		if row[0] != c.first || row[1] != c.second {
			t.Errorf("scale %v: %v, want %v and %v", c.scale, row[:2], c.first, c.second)
		}
	}
}
