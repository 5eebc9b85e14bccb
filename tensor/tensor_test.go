package tensor

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var formats = []DType{Float32, BFloat16, Int8, Int4}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(5, 6)) }

func randomValues(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// firstDifference returns the first place where got and want differ in a bit, or -1.
func firstDifference(got, want []float32) int {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return i
		}
	}
	return -1
}

// mustPanic runs f, which must panic, with a *ShapeError if shape is set.
func mustPanic(t *testing.T, name string, shape bool, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		p := recover()
		if p == nil {
			t.Errorf("%s: no panic", name)
			return
		}
		var s *ShapeError
		if err, ok := p.(error); shape && !(ok && errors.As(err, &s)) {
			t.Errorf("%s: panic with %v, want a *ShapeError", name, p)
		}
	}()
	f()
}

func TestShape(t *testing.T) {
	a := New(2, 3, 4)
	if a.Len() != 24 || a.Dim(0) != 2 || a.Dim(-1) != 4 || a.Dim(-3) != 2 || !slices.Equal(a.Shape(), []int{2, 3, 4}) {
		t.Errorf("%v: length %d, shape %v", a, a.Len(), a.Shape())
	}
	if a.Bytes() != 96 || a.String() != "float32[2 3 4]" || a.IsWeight() || a.Packed() || a.DType() != Float32 {
		t.Errorf("%v: %d bytes, weight %v, packed %v, %v", a, a.Bytes(), a.IsWeight(), a.Packed(), a.DType())
	}
	if s := New(); s.Len() != 1 || len(s.Data()) != 1 || s.String() != "float32[]" {
		t.Errorf("a scalar: %v with %d elements", s, s.Len())
	}
	if e := New(0, 5); e.Len() != 0 || len(e.Data()) != 0 {
		t.Errorf("nothing: %v with %d elements", e, e.Len())
	}
	w := NewWeight(33, 5)
	w.Pack()
	if !w.IsWeight() || w.String() != "float32[33 5] packed" {
		t.Errorf("a packed weight: %v, weight %v", w, w.IsWeight())
	}
	mustPanic(t, "negative dimension", true, func() { New(2, -1) })
	mustPanic(t, "overflow", true, func() { New(math.MaxInt/2, 3) })
	mustPanic(t, "overflow to a small number", true, func() { New(1<<32, 1<<32, 4) })
	mustPanic(t, "FromFloat32s", true, func() { FromFloat32s(make([]float32, 5), 2, 3) })
	mustPanic(t, "FromBFloat16s", true, func() { FromBFloat16s(make([]uint16, 5), 2, 3) })
}

func TestFromSharesMemory(t *testing.T) {
	data := []float32{1, 2, 3, 4}
	a := FromFloat32s(data, 2, 2)
	data[3] = 5
	if a.Data()[3] != 5 || &a.Float32s()[0] != &data[0] {
		t.Error("FromFloat32s does not use the memory it is given")
	}
	half := []uint16{0x3f80, 0xc000}
	b := FromBFloat16s(half, 2)
	half[0] = 0x4040
	if got := b.Float32s(); !slices.Equal(got, []float32{3, -2}) {
		t.Errorf("FromBFloat16s: %v", got)
	}
}

// TestRoundTrips takes matrices through all formats and orders.
func TestRoundTrips(t *testing.T) {
	r := newRand()
	for _, shape := range [][]int{{1, 1}, {1, 7}, {7, 1}, {31, 32}, {32, 31}, {33, 33}, {65, 100}, {100, 65}, {3, 5, 37}, {40}, {0, 4}} {
		for _, d := range formats {
			t.Run(fmt.Sprint(shape, d), func(t *testing.T) {
				a := New(shape...)
				a.SetFloat32s(randomValues(r, a.Len()))
				exact := slices.Clone(a.Float32s())
				a.Convert(d)
				stored := slices.Clone(a.Float32s())
				checkRounding(t, d, stored, exact, max(a.Dim(-1), 1))
				bytes := a.Bytes()

				a.Pack()
				if !a.Packed() || firstDifference(a.Float32s(), stored) >= 0 {
					t.Error("packing changes elements")
				}
				checkRows(t, a, stored)
				a.Pack()
				a.Unpack()
				if a.Packed() || firstDifference(a.Float32s(), stored) >= 0 || a.Bytes() != bytes {
					t.Errorf("packed and unpacked: elements changed, or %d bytes instead of %d", a.Bytes(), bytes)
				}
				a.Unpack()
				checkRows(t, a, stored)

				a.SetFloat32s(stored)
				if firstDifference(a.Float32s(), stored) >= 0 {
					t.Error("what is in the format is rounded again")
				}
				a.Pack()
				a.SetFloat32s(exact)
				if !a.Packed() || firstDifference(a.Float32s(), stored) >= 0 {
					t.Error("SetFloat32s of a packed tensor differs from Convert")
				}
				a.Convert(Float32)
				if !a.Packed() || a.DType() != Float32 || firstDifference(a.Float32s(), stored) >= 0 {
					t.Error("converting a packed tensor to float32 changes elements or order")
				}
				a.Convert(d)
				a.Unpack()
				if firstDifference(a.Float32s(), stored) >= 0 {
					t.Error("to float32 and back, packed: elements changed")
				}
			})
		}
	}
}

// checkRounding checks that values are rounded as the format promises. Rows have
// cols elements.
func checkRounding(t *testing.T, d DType, got, exact []float32, cols int) {
	t.Helper()
	for i := range exact {
		bound := 0.0
		switch d {
		case BFloat16:
			bound = math.Abs(float64(exact[i])) / (1 << 8)
		case Int8:
			bound = largestOf(exact, i, cols) / 254 * (1 + 0x1p-11 + 1e-6)
		case Int4:
			bound = largestOf(exact, i, cols) * 0.15
		}
		if diff := math.Abs(float64(got[i]) - float64(exact[i])); diff > bound {
			t.Fatalf("element %d is %v, in %v %v: off by %v, more than %v", i, exact[i], d, got[i], diff, bound)
		}
	}
}

// largestOf returns the largest magnitude in the block of element i.
func largestOf(exact []float32, i, cols int) float64 {
	first := i/cols*cols + i%cols/QuantBlock*QuantBlock
	largest := 0.0
	for _, v := range exact[first:min(first+QuantBlock, (i/cols+1)*cols)] {
		largest = max(largest, math.Abs(float64(v)))
	}
	return largest
}

func checkRows(t *testing.T, a *Tensor, want []float32) {
	t.Helper()
	n := a.Dim(-1)
	row := make([]float32, n)
	for i := range a.Len() / n {
		a.Row(row, i)
		if j := firstDifference(row, want[i*n:(i+1)*n]); j >= 0 {
			t.Fatalf("row %d of %v: element %d is %v, want %v", i, a, j, row[j], want[i*n+j])
		}
	}
	mustPanic(t, "row after the last", false, func() { a.Row(row, a.Len()/n) })
	mustPanic(t, "row before the first", false, func() { a.Row(row, -1) })
	mustPanic(t, "row of another length", true, func() { a.Row(make([]float32, n+1), 0) })
}

func TestBFloat16Rounding(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct{ in, want float32 }{
		{1, 1}, {1 + 1.0/256, 1}, {1 + 3.0/256, 1 + 1.0/64}, {1 + 1.01/256, 1 + 1.0/128},
		{0, 0}, {-1 - 1.01/256, -1 - 1.0/128}, {inf, inf}, {-inf, -inf}, {math.MaxFloat32, inf}, {0x1p-140, 0},
		{0x1p-133, 0x1p-133},
	} {
		a := FromFloat32s([]float32{c.in}, 1)
		a.Convert(BFloat16)
		if got := a.Float32s()[0]; got != c.want {
			t.Errorf("%v in bfloat16 is %v, want %v", c.in, got, c.want)
		}
	}
	nan := FromFloat32s([]float32{math.Float32frombits(0x7f800001)}, 1)
	nan.Convert(BFloat16)
	if got := nan.Float32s()[0]; got == got {
		t.Errorf("NaN in bfloat16 is %v", got)
	}
}

func TestInt8Blocks(t *testing.T) {
	a := New(2, 40)
	v := a.Data()
	v[0], v[1], v[39] = 127, -64, 1e-9 // blocks of their own
	a.Convert(Int8)
	got := a.Float32s()
	if got[0] != 127 || got[1] != -64 || math.Abs(float64(got[39])/1e-9-1) > 0x1p-11 {
		t.Errorf("%v, %v and %v, want 127, -64 and 1e-9", got[0], got[1], got[39])
	}
	for i, x := range got {
		if i != 0 && i != 1 && i != 39 && x != 0 {
			t.Errorf("element %d is %v, want 0", i, x)
		}
	}
	if want := 2*40 + 4*2; a.Bytes() != want {
		t.Errorf("%d bytes, want %d", a.Bytes(), want)
	}
}

func TestInt4Blocks(t *testing.T) {
	a := New(2, 40)
	v := a.Data()
	v[0], v[1], v[39] = 127, 103, 1e-20 // blocks of their own
	a.Convert(Int4)
	got := a.Float32s()
	if got[0] != 127 || got[1] != 103 || math.Abs(float64(got[39])/1e-20-1) > 1.0/256 {
		t.Errorf("%v, %v and %v, want 127, 103 and 1e-20", got[0], got[1], got[39])
	}
	for i, x := range got {
		if i != 0 && i != 1 && i != 39 && x != 0 {
			t.Errorf("element %d is %v, want 0", i, x)
		}
	}
	if want := 2 * 2 * (16 + 2); a.Bytes() != want {
		t.Errorf("%d bytes, want %d", a.Bytes(), want)
	}
	if a.Pack(); a.Bytes() != 2*(16+2)*32 {
		t.Errorf("%d bytes packed, want those of 32 rows", a.Bytes())
	}
}

func TestDataPanics(t *testing.T) {
	for _, d := range formats {
		a := New(4, 4)
		a.Convert(d)
		a.Pack()
		mustPanic(t, fmt.Sprintf("Data of %v", a), false, func() { a.Data() })
		if a.Unpack(); d != Float32 {
			mustPanic(t, fmt.Sprintf("Data of %v", a), false, func() { a.Data() })
		}
	}
	mustPanic(t, "SetFloat32s", true, func() { New(2, 2).SetFloat32s(make([]float32, 3)) })
	mustPanic(t, "CopyFloat32s", true, func() { New(2, 2).CopyFloat32s(make([]float32, 3)) })
	mustPanic(t, "Convert", false, func() { New(2, 2).Convert(Int4 + 1) })
}

func TestDTypeNames(t *testing.T) {
	for _, d := range formats {
		if got, err := ParseDType(d.String()); err != nil || got != d {
			t.Errorf("ParseDType(%q) = %v, %v", d, got, err)
		}
	}
	if _, err := ParseDType("float64"); err == nil || !strings.Contains(err.Error(), "float32, bfloat16, int8, int4") {
		t.Errorf("ParseDType of an unknown name: %v", err)
	}
	if got := DType(9).String(); got != "DType(9)" {
		t.Errorf("an unknown DType is %s", got)
	}
}

func TestCPU(t *testing.T) {
	if !slices.Contains([]string{"avx512", "avx2", "neon", "generic"}, CPU()) {
		t.Errorf("CPU is %q", CPU())
	}
}
