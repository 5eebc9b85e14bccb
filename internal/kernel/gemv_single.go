//go:build purego || !amd64

package kernel

// The pairs of panels are stride elements apart.

func gemvPairBF16(c, a []float32, b []uint16, stride int, add bool) {
	gemvBF16(c[:PanelWidth], a, b, add)
	gemvBF16(c[PanelWidth:], a, b[stride:], add)
}

func gemvPairQ8(c, a []float32, b []byte, stride int, add bool) {
	gemvQ8(c[:PanelWidth], a, b, add)
	gemvQ8(c[PanelWidth:], a, b[stride:], add)
}

func gemvPairQ4(c, a []float32, b []byte, stride int, add bool) {
	gemvQ4(c[:PanelWidth], a, b, add)
	gemvQ4(c[PanelWidth:], a, b[stride:], add)
}
