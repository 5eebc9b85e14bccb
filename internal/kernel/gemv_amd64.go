//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func gemvBF16(c, a []float32, b []uint16, add bool) {
	switch {
	case cpu.AVX512:
		gemvBF16AVX512(len(a), &a[0], &b[0], &c[0], add)
	case cpu.AVX2:
		gemvBF16AVX2(len(a), &a[0], &b[0], &c[0], add)
	default:
		gemvBF16Generic(c, a, b, add)
	}
}

func widenBF16(dst []float32, b []uint16, k int) {
	switch {
	case k == 0:
	case cpu.AVX512:
		widenBF16AVX512(k, &dst[0], &b[0])
	case cpu.AVX2:
		widenBF16AVX2(k, &dst[0], &b[0])
	default:
		widenBF16Generic(dst, b, k)
	}
}
