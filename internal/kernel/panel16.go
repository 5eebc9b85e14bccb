package kernel

import (
	"fmt"
	"math"
)

// BF16PanelLen returns the number of elements of the bfloat16 panels of an n×k
// matrix.
func BF16PanelLen(n, k int) int {
	return (n + PanelWidth - 1) / PanelWidth * PanelWidth * (k + k%2)
}

// bf16Index returns the place of w[row][p] in bfloat16 panels: [⌈n/32⌉][⌈k/2⌉][32][2],
// so that a vector of 32-bit lanes holds two neighbours of k.
func bf16Index(row, p, k int) int {
	return row/PanelWidth*PanelWidth*(k+k%2) + (p/2*PanelWidth+row%PanelWidth)*2 + p%2
}

// PackBF16Panels writes the n×k matrix src, row-major, to dst as panels, with zeros
// for the rows and the column that the last panels and pairs have too many. It
// panics if a slice is too short.
func PackBF16Panels(dst, src []uint16, n, k int) {
	checkPacked("bfloat16", len(dst), BF16PanelLen(n, k), len(src), n*k)
	clear(dst[:BF16PanelLen(n, k)])
	for j := range n {
		for p, v := range src[j*k : (j+1)*k] {
			dst[bf16Index(j, p, k)] = v
		}
	}
}

// UnpackBF16Panels is the inverse of [PackBF16Panels].
func UnpackBF16Panels(dst, src []uint16, n, k int) {
	checkPacked("bfloat16", len(src), BF16PanelLen(n, k), len(dst), n*k)
	for j := range n {
		row := dst[j*k : (j+1)*k]
		for p := range row {
			row[p] = src[bf16Index(j, p, k)]
		}
	}
}

// BF16PanelRow writes row row of the matrix of k columns in panels to dst.
func BF16PanelRow(dst []float32, panels []uint16, row, k int) {
	for p := range dst[:k] {
		dst[p] = math.Float32frombits(uint32(panels[bf16Index(row, p, k)]) << 16)
	}
}

func checkPacked(kind string, packed, wantPacked, plain, wantPlain int) {
	if packed < wantPacked || plain < wantPlain {
		panic(fmt.Sprintf("kernel: %s panels of %d elements for %d, want %d for %d", kind, packed, plain, wantPacked, wantPlain))
	}
}
