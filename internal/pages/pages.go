// Package pages allocates memory for the weights of models.
//
// Weights are read from end to end again and again, and of a large model every page is new
// to the processor then: it has to look up where the page is. On Linux, memory that asks for
// it comes in pages of 2 MB in place of 4 kB, and 1/500 of the look-ups is left.
package pages

import "unsafe"

// lineBytes is the size of a cache line.
const lineBytes = 64

// largeFrom is the number of bytes from which memory asks for large pages. Neighbours in the
// heap share such a page, so that less than one may be worth it.
const largeFrom = 1 << 20

// A Number is what weights are stored in.
type Number interface {
	int8 | uint8 | uint16 | float32
}

// Make returns n zeros, of which the first lies on a cache line, for what is there to stay:
// if they take much memory, that asks for large pages.
func Make[T Number](n int) []T {
	b, begin := aligned[T](n)
	if size := int(unsafe.Sizeof(T(0))); size*n >= largeFrom {
		askForLarge(begin, begin+uintptr(size*n+lineBytes-size))
	}
	return b
}

// Temporary is Make without large pages, of which parts would not be used.
func Temporary[T Number](n int) []T {
	b, _ := aligned[T](n)
	return b
}

// aligned returns n zeros, of which the first lies on a cache line, and the address of the
// memory that they are in.
func aligned[T Number](n int) ([]T, uintptr) {
	if n == 0 {
		return nil, 0
	}
	size := int(unsafe.Sizeof(T(0)))
	b := make([]T, n+lineBytes/size-1)
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := int(-begin&(lineBytes-1)) / size
	return b[skip : skip+n : skip+n], begin
}
