package kernel

import (
	"fmt"
	"math"
	"unsafe"
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
	if to, from, ok := pairs(dst[:BF16PanelLen(n, k)], src[:n*k]); ok && k%2 == 0 && n*k > 0 {
		PackPanels(to, from, n, k/2, k/2, 1) // which moves bits and does not compute
		return
	}
	clear(dst[:BF16PanelLen(n, k)])
	for j := range n {
		for p, v := range src[j*k : (j+1)*k] {
			dst[bf16Index(j, p, k)] = v
		}
	}
}

// pairs returns the memory of neighbours as one number each, if the addresses allow it.
func pairs(a, b []uint16) (pa, pb []float32, ok bool) {
	p, q := unsafe.Pointer(unsafe.SliceData(a)), unsafe.Pointer(unsafe.SliceData(b))
	if len(a)%2 != 0 || len(b)%2 != 0 || (uintptr(p)|uintptr(q))%unsafe.Alignof(float32(0)) != 0 {
		return nil, nil, false
	}
	return unsafe.Slice((*float32)(p), len(a)/2), unsafe.Slice((*float32)(q), len(b)/2), true
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
