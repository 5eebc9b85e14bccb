package pages

import (
	"testing"
	"unsafe"
)

func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 1000, largeFrom / 4, largeFrom + 3, 3 << 20} {
		check(t, Make[uint8](n), n)
		check(t, Make[int8](n), n)
		check(t, Make[uint16](n), n)
		check(t, Make[float32](n), n)
		check(t, Temporary[float32](n), n)
	}
}

func check[T Number](t *testing.T, b []T, n int) {
	t.Helper()
	if len(b) != n || cap(b) != n {
		t.Fatalf("%d elements of %d, want %d", len(b), cap(b), n)
	}
	if p := uintptr(unsafe.Pointer(unsafe.SliceData(b))); p%lineBytes != 0 {
		t.Errorf("%d elements begin at %#x", n, p)
	}
	for i, v := range b {
		if v != 0 {
			t.Fatalf("element %d of %d is %v", i, n, v)
		}
		b[i] = 1
	}
}

func TestArena(t *testing.T) {
	for _, bytes := range []int{0, 1000, 3 << 20} {
		a := NewArena(bytes)
		for _, n := range []int{3, 0, 64, 1000, 100_000, 1 << 20, 5} {
			check(t, Take[uint8](a, n), n)
			check(t, Take[float32](a, n), n)
			check(t, Take[uint16](nil, n), n)
		}
	}
	a := NewArena(1 << 20)
	x, y := Take[float32](a, 16), Take[int8](a, 64)
	if d := uintptr(unsafe.Pointer(&y[0])) - uintptr(unsafe.Pointer(&x[0])); d != 64 {
		t.Errorf("what was taken one after the other is %d bytes apart, want 64", d)
	}
}
