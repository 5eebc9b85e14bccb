//go:build purego || !(amd64 || arm64)

package kernel

// CompactKernels reports whether products with a [Compact] have kernels here, so that they
// are faster than those with what it takes less memory than.
func CompactKernels() bool { return false }

func gemvCompactFloat32(out, a []float32, block []byte, add bool) int {
	return gemvCompactGeneric(true, out, a, block, add)
}

func gemvCompactBF16(out, a []float32, block []byte, add bool) int {
	return gemvCompactGeneric(false, out, a, block, add)
}

func widenCompactFloat32(dst []float32, block []byte) int {
	return widenCompactGeneric(true, dst, block)
}

func widenCompactBF16(dst []float32, block []byte) int {
	return widenCompactGeneric(false, dst, block)
}

func spansFloat32(spans []byte, src []float32) { spansFloat32Generic(spans, src) }
func spansBF16(spans []byte, src []uint16)     { spansBF16Generic(spans, src) }

func packCompactFloat32(dst []byte, src []float32, base byte) {
	packCompactFloat32Generic(dst, src, base)
}

func packCompactBF16(dst []byte, src []uint16, base byte) { packCompactBF16Generic(dst, src, base) }
