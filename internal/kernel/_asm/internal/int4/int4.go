// Package int4 has what generators need to know of the numbers that four bits stand for.
package int4

import "math"

// Codes are the numbers: kernel.Q4Codes.
var Codes = [16]int{-127, -103, -81, -63, -48, -34, -21, -10, 0, 10, 22, 34, 47, 64, 83, 109}

// Nearest returns the code nearest to x in the middle between two multiples of a half, of
// which the lower one is i/2-128.
func Nearest(i int) (best int) {
	x := float64(i)/2 - 128 + 0.25
	for j, c := range Codes {
		if math.Abs(float64(c)-x) < math.Abs(float64(Codes[best])-x) {
			best = j
		}
	}
	return best
}

// Borders returns the 15 numbers i from which on the nearest code is another one than that
// of i-1: the next.
func Borders() (borders []int) {
	for i := 1; i < 512; i++ {
		if Nearest(i) != Nearest(i-1) {
			borders = append(borders, i)
		}
	}
	return borders
}
