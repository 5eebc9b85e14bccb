package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./transpose -out ../transpose_amd64.s -stubs ../transpose_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group transpose -out ../transpose_arm64.s -stubs ../transpose_stub_arm64.go"

// Transpose computes
//
//	dst[j*ldd+i] = src[i*lds+j]    i < rows, j < cols
//
// dst must not overlap src. It panics if a slice is too short.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	if ldd < rows && cols > 1 || lds < cols && rows > 1 || len(dst) < (cols-1)*ldd+rows || len(src) < (rows-1)*lds+cols {
		panic(fmt.Sprintf("kernel: transposition of %d×%d: %d elements with stride %d into %d with stride %d", rows, cols, len(src), lds, len(dst), ldd))
	}
	transpose(dst, ldd, src, lds, rows, cols)
}
