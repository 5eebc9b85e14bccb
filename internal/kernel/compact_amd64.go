//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// CompactKernels reports whether products with a [Compact] have kernels here, so that they
// are faster than those with what it takes less memory than.
func CompactKernels() bool { return cpu.AVX2 || cpu.AVX512 }

func gemvCompactFloat32(out, a []float32, block []byte, add bool) int {
	switch {
	case cpu.AVX512:
		return gemvCompactF32AVX512(len(a), &a[0], &block[0], &out[0], add)
	case cpu.AVX2:
		return gemvCompactF32AVX2(len(a), &a[0], &block[0], &out[0], add)
	}
	return gemvCompactGeneric(true, out, a, block, add)
}

func gemvCompactBF16(out, a []float32, block []byte, add bool) int {
	switch {
	case cpu.AVX512:
		return gemvCompactBF16AVX512(len(a), &a[0], &block[0], &out[0], add)
	case cpu.AVX2:
		return gemvCompactBF16AVX2(len(a), &a[0], &block[0], &out[0], add)
	}
	return gemvCompactGeneric(false, out, a, block, add)
}

func widenCompactFloat32(dst []float32, block []byte) int {
	switch {
	case cpu.AVX512:
		return widenCompactF32AVX512(len(dst)/PanelWidth, &dst[0], &block[0])
	case cpu.AVX2:
		return widenCompactF32AVX2(len(dst)/PanelWidth, &dst[0], &block[0])
	}
	return widenCompactGeneric(true, dst, block)
}

func widenCompactBF16(dst []float32, block []byte) int {
	switch {
	case cpu.AVX512:
		return widenCompactBF16AVX512(len(dst)/PanelWidth, &dst[0], &block[0])
	case cpu.AVX2:
		return widenCompactBF16AVX2(len(dst)/PanelWidth, &dst[0], &block[0])
	}
	return widenCompactGeneric(false, dst, block)
}

func spansFloat32(spans []byte, src []float32) {
	if !CompactKernels() {
		spansFloat32Generic(spans, src)
		return
	}
	spansCompactF32AVX2(len(spans)/2, &src[0], &spans[0])
}

func spansBF16(spans []byte, src []uint16) {
	if !CompactKernels() {
		spansBF16Generic(spans, src)
		return
	}
	spansCompactBF16AVX2(len(spans)/2, &src[0], &spans[0])
}

func packCompactFloat32(dst []byte, src []float32, base byte) {
	if !CompactKernels() {
		packCompactFloat32Generic(dst, src, base)
		return
	}
	packCompactF32AVX2(len(src)/(CompactK*PanelWidth), &dst[0], &src[0], base)
}

func packCompactBF16(dst []byte, src []uint16, base byte) {
	if !CompactKernels() {
		packCompactBF16Generic(dst, src, base)
		return
	}
	packCompactBF16AVX2(len(src)/(CompactK*PanelWidth), &dst[0], &src[0], base)
}
