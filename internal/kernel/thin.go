package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./thin -out ../thin_amd64.s -stubs ../thin_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group thin -out ../thin_arm64.s -stubs ../thin_stub_arm64.go"

// ThinWidth is the number of columns of the products that [GemmThin] computes.
const ThinWidth = 8

// GemmThin computes, for i < m and j < 8,
//
//	c[i*ldc+j] = Σ_p a[i*lda+p] · b[p*8+j]    p < k
//
// which is [Gemm] with weights of eight rows, in panels of so many. The bits are those of
// Gemm. c must not overlap the others. It panics if a slice is too short.
func GemmThin(c []float32, ldc int, a []float32, lda int, b []float32, m, k int) {
	if m <= 0 {
		return
	}
	checkGemm(len(c), ldc, len(a), lda, m, ThinWidth, k)
	if len(b) < k*ThinWidth {
		panic(fmt.Sprintf("kernel: %d elements of a panel, want %d", len(b), k*ThinWidth))
	}
	if k == 0 {
		gemmEmpty(c, ldc, m, ThinWidth, false)
		return
	}
	kc := blockOf(k)
	tiles := (m + tileRows - 1) / tileRows
	for p := 0; p < k; p += kc {
		for t := range tiles {
			i0, i1 := t*m/tiles, (t+1)*m/tiles
			thinTile(c[i0*ldc:], ldc, a[i0*lda+p:], lda, b[p*ThinWidth:], i1-i0, min(kc, k-p), p > 0)
		}
	}
}
