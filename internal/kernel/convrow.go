package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./convrow -out ../convrow_amd64.s -stubs ../convrow_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group convrow -out ../convrow_arm64.s -stubs ../convrow_stub_arm64.go"

// ConvRow computes one position of a long convolution by summing it up: with x of n
// rows of e channels, oldest first, and as many rows of taps h,
//
//	dst[c] = add[c] + Σ_{i<n} h[n-1-i][c] · x[i][c]
//
// The rows of x and h have distances ldx and ldh. dst may be add or the last row of x. It
// panics if a slice is too short.
func ConvRow(dst, add, x []float32, ldx int, h []float32, ldh, n, e int) {
	if e <= 0 {
		return
	}
	if len(dst) < e || len(add) < e || n > 0 && (ldx < 0 || ldh < 0 || len(x) < (n-1)*ldx+e || len(h) < (n-1)*ldh+e) {
		panic(fmt.Sprintf("kernel: %d taps of %d channels: %d and %d elements with distances %d and %d, %d to add, %d of results", n, e, len(x), len(h), ldx, ldh, len(add), len(dst)))
	}
	for n > convRowTaps {
		// The newest come first: dst may be the last of them.
		n -= convRowTaps
		convRow(dst, add, x[n*ldx:], ldx, h, ldh, convRowTaps, e)
		add, h = dst, h[convRowTaps*ldh:]
	}
	convRow(dst, add, x, ldx, h, ldh, max(n, 0), e)
}

// convRowTaps bounds what is done without a point at which the scheduler can stop it.
const convRowTaps = 512
