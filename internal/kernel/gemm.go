package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./gemm -out ../gemm_amd64.s -stubs ../gemm_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group gemm -out ../gemm_arm64.s -stubs ../gemm_stub_arm64.go"

// The constants of the product's format. The inner dimension is cut into blocks of
// a size that depends on nothing but its length: every output is one chain of
// multiply-adds per block, and the chains are added in order. So the bits of a
// result are a property of the operands, not of how the work is divided.
const (
	wholeK = 1024 // an inner dimension up to this is one block
	blockK = 512  // the block of longer ones
)

// blockOf returns the length of the blocks of an inner dimension of k.
func blockOf(k int) int {
	if k > wholeK {
		return blockK
	}
	return k
}

// The rest of the blocking concerns speed only.
const (
	tileRows    = 12  // rows of the tallest tile
	blockRows   = 512 // rows of a for which panels are read once
	blockPanels = 4   // panels that stay in the L2 cache
)

// Gemm computes, for i < m and j < n,
//
//	c[i*ldc+j] = Σ_p a[i*lda+p] · w[j][p]    p < k
//
// or adds the sum to c[i*ldc+j] if add is set. panels holds w, an n×k matrix, as
// [PackPanels] makes it. c must not overlap the others. Rows of a may overlap.
//
// The bits of a result do not depend on m and n, and are the same on AVX2, AVX-512
// and NEON. It panics if a slice is too short.
func Gemm(c []float32, ldc int, a []float32, lda int, panels []float32, m, n, k int, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	checkGemm(len(c), ldc, len(a), lda, m, n, k)
	if len(panels) < PanelLen(n, k) {
		panic(fmt.Sprintf("kernel: %d elements of panels, want %d", len(panels), PanelLen(n, k)))
	}
	if k == 0 {
		gemmEmpty(c, ldc, m, n, add)
		return
	}
	kc := blockOf(k)
	for p := 0; p < k; p += kc {
		depth := min(kc, k-p)
		for i := 0; i < m; i += blockRows {
			rows := min(blockRows, m-i)
			for j := 0; j < n; j += blockPanels * PanelWidth {
				cols := min(blockPanels*PanelWidth, n-j)
				gemmBlock(c[i*ldc+j:], ldc, a[i*lda+p:], lda, panels[j*k+p*PanelWidth:], k, rows, cols, depth, add || p > 0)
			}
		}
	}
}

// gemmBlock is Gemm for a block that fits the caches. panelLen is the distance
// between panels in columns of k.
func gemmBlock(c []float32, ldc int, a []float32, lda int, b []float32, panelK, m, n, k int, add bool) {
	// Rows are divided evenly, so that no tile is left with one or two.
	tiles := (m + tileRows - 1) / tileRows
	for t := range tiles {
		i0, i1 := t*m/tiles, (t+1)*m/tiles
		for j := 0; j < n; j += PanelWidth {
			gemmTile(c[i0*ldc+j:], ldc, a[i0*lda:], lda, b[j*panelK:], i1-i0, min(PanelWidth, n-j), k, add)
		}
	}
}

// gemmEmpty is the product with an inner dimension of 0.
func gemmEmpty(c []float32, ldc, m, n int, add bool) {
	for i := range m {
		if !add {
			clear(c[i*ldc : i*ldc+n])
		}
	}
}

func checkGemm(lenC, ldc, lenA, lda, m, n, k int) {
	if lda < 0 || ldc < n && m > 1 || lenA < (m-1)*lda+k || lenC < (m-1)*ldc+n {
		panic(fmt.Sprintf("kernel: product of %d×%d by %d: %d elements with stride %d into %d with stride %d", m, k, n, lenA, lda, lenC, ldc))
	}
}
