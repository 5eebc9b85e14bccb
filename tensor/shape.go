package tensor

import "fmt"

// A ShapeError is the value of the panic when a caller passes sequences or
// tensors of the wrong shape. It is an error, so that a server may recover it at
// its edge.
type ShapeError struct {
	Op   string // the function that was called, as in "ssm.Mamba.Mix"
	Got  []int
	Want []int
}

// Error says what was called, what it got and what it wanted.
func (e *ShapeError) Error() string {
	return fmt.Sprintf("%s: shape %v, want %v", e.Op, e.Got, e.Want)
}

// elements returns the number of elements of a shape, or -1 if a dimension is
// negative or the product overflows an int.
func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > maxInt/d {
			return -1
		}
		n *= d
	}
	return n
}

const maxInt = int(^uint(0) >> 1)
