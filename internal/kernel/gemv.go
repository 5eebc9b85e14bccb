package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./gemv -out ../gemv_amd64.s -stubs ../gemv_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group gemv -out ../gemv_arm64.s -stubs ../gemv_stub_arm64.go"

// GemmScratchLen returns the number of elements of temporary memory that [GemmBF16],
// [GemmQ8] and [GemmQ4] need for an inner dimension of k: room for the float32 panels that
// they work on at a time.
func GemmScratchLen(k int) int { return blockPanels * PanelWidth * k }

// GemmBF16 is [Gemm] with weights in bfloat16, as [PackBF16Panels] makes them. One
// row is multiplied by the weights as they are; for more rows, panels are widened
// to float32 in scratch first. The arithmetic is that of Gemm on the widened
// weights, to the bit, in both cases.
func GemmBF16(c []float32, ldc int, a []float32, lda int, panels []uint16, m, n, k int, scratch []float32, add bool) {
	checkPacked("bfloat16", len(panels), BF16PanelLen(n, k), 0, 0)
	gemmNarrow(c, ldc, a, lda, narrow{u16: panels}, m, n, k, scratch, add)
}

// GemmQ8 is [Gemm] with weights in blocks of int8, as [PackQ8Panels] makes them:
// each is its integer times the scale of its block, rounded to float32. One row is
// multiplied by the weights as they are; for more rows, panels are widened to
// float32 in scratch first. The bits are the same in both cases.
func GemmQ8(c []float32, ldc int, a []float32, lda int, panels []byte, m, n, k int, scratch []float32, add bool) {
	checkPacked("int8", len(panels), Q8PanelLen(n, k), 0, 0)
	gemmNarrow(c, ldc, a, lda, narrow{u8: panels}, m, n, k, scratch, add)
}

// GemmQ4 is [GemmQ8] with weights in blocks of four bits, as [PackQ4Panels] makes them.
func GemmQ4(c []float32, ldc int, a []float32, lda int, panels []byte, m, n, k int, scratch []float32, add bool) {
	checkPacked("int4", len(panels), Q4PanelLen(n, k), 0, 0)
	gemmNarrow(c, ldc, a, lda, narrow{u4: panels}, m, n, k, scratch, add)
}

// narrow is panels in one of the narrow formats.
type narrow struct {
	u16 []uint16
	u8  []byte
	u4  []byte
}

// panel returns the panel of column j of the result.
func (w narrow) panel(j, k int) narrow {
	switch {
	case w.u16 != nil:
		return narrow{u16: w.u16[BF16PanelLen(j, k):]}
	case w.u8 != nil:
		return narrow{u8: w.u8[Q8PanelLen(j, k):]}
	}
	return narrow{u4: w.u4[Q4PanelLen(j, k):]}
}

// from returns the part of a panel that begins at a multiple p of blockK.
func (w narrow) from(p int) narrow {
	switch {
	case w.u16 != nil:
		return narrow{u16: w.u16[p*PanelWidth:]}
	case w.u8 != nil:
		return narrow{u8: w.u8[p/QuantBlock*q8Bytes:]}
	}
	return narrow{u4: w.u4[p/QuantBlock*q4Bytes:]}
}

func (w narrow) gemv(c, a []float32, add bool) {
	switch {
	case w.u16 != nil:
		gemvBF16(c, a, w.u16, add)
	case w.u8 != nil:
		gemvQ8(c, a, w.u8, add)
	default:
		gemvQ4(c, a, w.u4, add)
	}
}

func (w narrow) widen(dst []float32, k int) {
	switch {
	case w.u16 != nil:
		widenBF16(dst, w.u16, k)
	case w.u8 != nil:
		widenQ8(dst, w.u8, k)
	default:
		widenQ4(dst, w.u4, k)
	}
}

func gemmNarrow(c []float32, ldc int, a []float32, lda int, w narrow, m, n, k int, scratch []float32, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	checkGemm(len(c), ldc, len(a), lda, m, n, k)
	if k == 0 {
		gemmEmpty(c, ldc, m, n, add)
		return
	}
	if m == 1 {
		gemvPanels(c[:n], a[:k], w, add)
		return
	}
	if len(scratch) < GemmScratchLen(k) {
		panic(fmt.Sprintf("kernel: scratch of %d elements, want %d", len(scratch), GemmScratchLen(k)))
	}
	for j := 0; j < n; j += blockPanels * PanelWidth {
		cols := min(blockPanels*PanelWidth, n-j)
		for i := 0; i < cols; i += PanelWidth {
			w.panel(j+i, k).widen(scratch[i*k:(i+PanelWidth)*k], k)
		}
		Gemm(c[j:], ldc, a, lda, scratch, m, cols, k, add)
	}
}

// gemvPanels multiplies one row by all panels. One after the other is faster than two in
// turn: memory is read as one stream.
func gemvPanels(c, a []float32, w narrow, add bool) {
	k := len(a)
	kc := k
	if k > wholeK {
		kc = blockK
	}
	for j := 0; j < len(c); j += PanelWidth {
		gemvPanel(c[j:min(j+PanelWidth, len(c))], a, kc, w.panel(j, k), add)
	}
}

// gemvPanel multiplies one row by one panel, block by block of the inner dimension.
// The kernels compute all 32 columns; a part of them goes through a buffer.
func gemvPanel(c, a []float32, kc int, w narrow, add bool) {
	var buf [PanelWidth]float32
	out := c
	if len(c) < PanelWidth {
		copy(buf[:], c)
		out = buf[:]
	}
	for p := 0; p < len(a); p += kc {
		w.from(p).gemv(out, a[p:min(p+kc, len(a))], add || p > 0)
	}
	if len(c) < PanelWidth {
		copy(c, buf[:])
	}
}
