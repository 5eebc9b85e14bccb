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
	}
}

func check[T int8 | uint8 | uint16 | float32](t *testing.T, b []T, n int) {
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
