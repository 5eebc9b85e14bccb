package tensor

import (
	"testing"
	"unsafe"
)

func TestLentClass(t *testing.T) {
	for n := 1; n < 1<<16; n++ {
		c := lentClass(n)
		size := lentSize(c)
		if size < n || n > lentLeast && (lentSize(c-1) >= n || float64(size) > 1.126*float64(n)) {
			t.Fatalf("%d elements are lent %d, and the next smaller size is %d", n, size, lentSize(c-1))
		}
		if lentClass(size) != c {
			t.Fatalf("size %d of class %d is of class %d", size, c, lentClass(size))
		}
	}
	if c := lentClass(1<<62 - 1); c >= len(lent) {
		t.Errorf("class %d of %d", c, len(lent))
	}
}

func TestGetSeq(t *testing.T) {
	var held []Seq
	for n := range 40 {
		s := GetSeq(2, n, 37)
		if s.Batch != 2 || s.Len != n || s.Dim != 37 || !s.Contiguous() || len(s.Data) != 2*n*37 {
			t.Fatalf("GetSeq(2, %d, 37) = %d×%d×%d with %d elements", n, s.Batch, s.Len, s.Dim, len(s.Data))
		}
		if n > 0 && uintptr(unsafe.Pointer(&s.Data[0]))%64 != 0 {
			t.Fatal("not aligned")
		}
		for i := range s.Data {
			s.Data[i] = float32(n)
		}
		held = append(held, s)
		if n%3 == 0 {
			PutSeq(held[n/2], Seq{})
			held[n/2] = Seq{}
		}
		for k, h := range held {
			for _, v := range h.Data {
				if v != float32(k) {
					t.Fatalf("Seq %d was lent twice", k)
				}
			}
		}
	}
}
