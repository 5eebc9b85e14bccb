package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./gemv -out ../gemv_amd64.s -stubs ../gemv_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group gemv -out ../gemv_arm64.s -stubs ../gemv_stub_arm64.go"

// GemmScratchLen returns the number of elements of temporary memory that [GemmBF16]
// needs for an inner dimension of k: room for the float32 panels that it works on at a
// time.
func GemmScratchLen(k int) int { return blockPanels * PanelWidth * blockOf(k) }

// GemmBF16 is [Gemm] with weights in bfloat16, as [PackBF16Panels] makes them. One
// row is multiplied by the weights as they are; for more rows, panels are widened
// to float32 in scratch first. The arithmetic is that of Gemm on the widened
// weights, to the bit, in both cases.
func GemmBF16(c []float32, ldc int, a []float32, lda int, panels []uint16, m, n, k int, scratch []float32, add bool) {
	checkPacked("bfloat16", len(panels), BF16PanelLen(n, k), 0, 0)
	if m <= 0 || n <= 0 {
		return
	}
	checkGemm(len(c), ldc, len(a), lda, m, n, k)
	if k == 0 {
		gemmEmpty(c, ldc, m, n, add)
		return
	}
	if m == 1 {
		gemvPanels(c[:n], a[:k], panels, add)
		return
	}
	if len(scratch) < GemmScratchLen(k) {
		panic(fmt.Sprintf("kernel: scratch of %d elements, want %d", len(scratch), GemmScratchLen(k)))
	}
	kc := blockOf(k)
	for j := 0; j < n; j += blockPanels * PanelWidth {
		cols := min(blockPanels*PanelWidth, n-j)
		for p := 0; p < k; p += kc {
			depth := min(kc, k-p)
			for i := 0; i < cols; i += PanelWidth {
				widenBF16(scratch[i*depth:(i+PanelWidth)*depth], panels[BF16PanelLen(j+i, k)+p*PanelWidth:], depth)
			}
			Gemm(c[j:], ldc, a[p:], lda, scratch, m, cols, depth, add || p > 0)
		}
	}
}

// gemvPanels multiplies one row by all panels. One after the other is faster than two in
// turn: memory is read as one stream.
func gemvPanels(c, a []float32, panels []uint16, add bool) {
	k := len(a)
	kc := blockOf(k)
	for j := 0; j < len(c); j += PanelWidth {
		gemvPanel(c[j:min(j+PanelWidth, len(c))], a, kc, panels[BF16PanelLen(j, k):], add)
	}
}

// gemvPanel multiplies one row by one panel, block by block of the inner dimension.
// The kernels compute all 32 columns; a part of them goes through a buffer.
func gemvPanel(c, a []float32, kc int, panel []uint16, add bool) {
	var buf [PanelWidth]float32
	out := c
	if len(c) < PanelWidth {
		copy(buf[:], c)
		out = buf[:]
	}
	for p := 0; p < len(a); p += kc {
		gemvBF16(out, a[p:min(p+kc, len(a))], panel[p*PanelWidth:], add || p > 0)
	}
	if len(c) < PanelWidth {
		copy(c, buf[:])
	}
}
