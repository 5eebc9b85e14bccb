//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// CompactKernels reports whether products with a [Compact] have kernels here, so that they
// are faster than those with what it takes less memory than.
func CompactKernels() bool { return cpu.NEON }

func gemvCompactFloat32(out, a []float32, block []byte, add bool) int {
	if !cpu.NEON {
		return gemvCompactGeneric(true, out, a, block, add)
	}
	return gemvCompactF32NEON(len(a), &a[0], &block[0], &out[0], add)
}

func gemvCompactBF16(out, a []float32, block []byte, add bool) int {
	if !cpu.NEON {
		return gemvCompactGeneric(false, out, a, block, add)
	}
	return gemvCompactBF16NEON(len(a), &a[0], &block[0], &out[0], add)
}

func widenCompactFloat32(dst []float32, block []byte) int {
	if !cpu.NEON {
		return widenCompactGeneric(true, dst, block)
	}
	return widenCompactF32NEON(len(dst)/PanelWidth, &dst[0], &block[0])
}

func widenCompactBF16(dst []float32, block []byte) int {
	if !cpu.NEON {
		return widenCompactGeneric(false, dst, block)
	}
	return widenCompactBF16NEON(len(dst)/PanelWidth, &dst[0], &block[0])
}

func spansFloat32(spans []byte, src []float32) {
	if !cpu.NEON {
		spansFloat32Generic(spans, src)
		return
	}
	spansCompactF32NEON(len(spans)/2, &src[0], &spans[0])
}

func spansBF16(spans []byte, src []uint16) {
	if !cpu.NEON {
		spansBF16Generic(spans, src)
		return
	}
	spansCompactBF16NEON(len(spans)/2, &src[0], &spans[0])
}

func packCompactFloat32(dst []byte, src []float32, base byte) {
	if !cpu.NEON {
		packCompactFloat32Generic(dst, src, base)
		return
	}
	packCompactF32NEON(len(src)/(CompactK*PanelWidth), &dst[0], &src[0], base)
}

func packCompactBF16(dst []byte, src []uint16, base byte) {
	if !cpu.NEON {
		packCompactBF16Generic(dst, src, base)
		return
	}
	packCompactBF16NEON(len(src)/(CompactK*PanelWidth), &dst[0], &src[0], base)
}
