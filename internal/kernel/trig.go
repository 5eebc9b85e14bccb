package kernel

import "math"

//go:generate sh -c "cd _asm && go run ./trig -out ../trig_amd64.s -stubs ../trig_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group trig -out ../trig_arm64.s -stubs ../trig_stub_arm64.go"

// Sin computes dst = sin x, within 2 ulp.
func Sin(dst, x []float32) {
	check("Sin", len(dst), len(x))
	for ; len(x) > 0; dst, x = dst[min(len(dst), trigPiece):], x[min(len(x), trigPiece):] {
		sin(dst[:min(len(dst), trigPiece)], x[:min(len(x), trigPiece)])
	}
}

// Cos computes dst = cos x, within 2 ulp.
func Cos(dst, x []float32) {
	check("Cos", len(dst), len(x))
	for ; len(x) > 0; dst, x = dst[min(len(dst), trigPiece):], x[min(len(x), trigPiece):] {
		cos(dst[:min(len(dst), trigPiece)], x[:min(len(x), trigPiece)])
	}
}

// trigPiece is the number of elements that are looked at together for large ones.
const trigPiece = 1 << 12

func sinGeneric(dst, x []float32) { mapGeneric(dst, x, math.Sin) }
func cosGeneric(dst, x []float32) { mapGeneric(dst, x, math.Cos) }
