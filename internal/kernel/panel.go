package kernel

import "fmt"

// PanelWidth is the number of rows of a weight matrix whose elements lie next to
// each other in a panel. As the outputs of a product belong to the rows, a panel
// gives so many columns of the result.
const PanelWidth = 32

// PanelLen returns the number of elements of the panels of an n×k matrix.
func PanelLen(n, k int) int { return (n + PanelWidth - 1) / PanelWidth * PanelWidth * k }

// PackPanels writes the n×k matrix w[j][p] = src[j*rowStride+p*colStride] to dst as
// panels of 32 rows, [⌈n/32⌉][k][32], the last filled with zeros. One of the strides
// should be 1. It panics if a slice is too short.
func PackPanels(dst, src []float32, n, k, rowStride, colStride int) {
	checkPanels(len(dst), len(src), n, k, rowStride, colStride)
	for j := 0; j < n; j += PanelWidth {
		rows := min(PanelWidth, n-j)
		panel := dst[j*k : j*k+PanelWidth*k]
		if rows < PanelWidth {
			clear(panel)
		}
		packPanel(panel, src[j*rowStride:], rows, k, rowStride, colStride)
	}
}

// UnpackPanels is the inverse of [PackPanels]: dst[j*rowStride+p*colStride] = w[j][p].
func UnpackPanels(dst, src []float32, n, k, rowStride, colStride int) {
	checkPanels(len(src), len(dst), n, k, rowStride, colStride)
	for j := 0; j < n; j += PanelWidth {
		rows := min(PanelWidth, n-j)
		panel := src[j*k : j*k+PanelWidth*k]
		for p := range k {
			out := dst[j*rowStride+p*colStride:]
			for i, v := range panel[p*PanelWidth : p*PanelWidth+rows] {
				out[i*rowStride] = v
			}
		}
	}
}

// PanelRow writes row row of the matrix of k columns in panels to dst.
func PanelRow(dst, panels []float32, row, k int) {
	column := panels[row/PanelWidth*PanelWidth*k+row%PanelWidth:]
	for p := range dst[:k] {
		dst[p] = column[p*PanelWidth]
	}
}

func checkPanels(packed, plain, n, k, rowStride, colStride int) {
	if packed < PanelLen(n, k) || n > 0 && k > 0 && plain < (n-1)*rowStride+(k-1)*colStride+1 {
		panic(fmt.Sprintf("kernel: panels of %d elements for %d×%d of %d with strides %d, %d", packed, n, k, plain, rowStride, colStride))
	}
}

// packScattered packs up to 32 rows of which neither these nor the columns are contiguous.
// It walks through blocks of rows and columns that stay in the cache, whatever the strides
// are.
func packScattered(panel, src []float32, rows, k, rowStride, colStride int) {
	const block = 16
	for p0 := 0; p0 < k; p0 += block {
		p1 := min(p0+block, k)
		for i := range rows {
			for p := p0; p < p1; p++ {
				panel[p*PanelWidth+i] = src[i*rowStride+p*colStride]
			}
		}
	}
}

// copyFactors are ones: what is scaled by them is copied, to the bit but for NaNs, which
// become quiet. A call of copy for each column takes longer than the copying.
var copyFactors = func() (ones [256]float32) {
	for i := range ones {
		ones[i] = 1
	}
	return ones
}()

// packColumns is the number of columns that are packed without a pause.
const packColumns = 1 << 12

// packPanel packs up to 32 rows. Where these are contiguous, they are transposed in
// registers, and where the columns are, they are copied in registers.
func packPanel(panel, src []float32, rows, k, rowStride, colStride int) {
	if rowStride == 1 {
		for p := 0; p < k; p += len(copyFactors) {
			factors := copyFactors[:min(len(copyFactors), k-p)]
			scaleRows(panel[p*PanelWidth:], PanelWidth, src[p*colStride:], colStride, factors, rows)
		}
		return
	}
	if colStride != 1 {
		packScattered(panel, src, rows, k, rowStride, colStride)
		return
	}
	for p := 0; p < k; p += packColumns {
		packKeys(panel[p*PanelWidth:], src[p:], rowStride, 0, rows, min(packColumns, k-p))
	}
}
