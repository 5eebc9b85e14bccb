//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func gemvBF16(c, a []float32, b []uint16, add bool) {
	if cpu.NEON {
		gemvBF16NEON(len(a), &a[0], &b[0], &c[0], add)
	} else {
		gemvBF16Generic(c, a, b, add)
	}
}

func widenBF16(dst []float32, b []uint16, k int) {
	switch {
	case k == 0:
	case cpu.NEON:
		widenBF16NEON(k, &dst[0], &b[0])
	default:
		widenBF16Generic(dst, b, k)
	}
}
