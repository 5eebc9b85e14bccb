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

func gemvQ8(c, a []float32, b []byte, add bool) {
	switch {
	case cpu.AVX512:
		gemvQ8AVX512(len(a), &a[0], &b[0], &c[0], add)
	case cpu.AVX2:
		gemvQ8AVX2(len(a), &a[0], &b[0], &c[0], add)
	default:
		gemvQ8Generic(c, a, b, add)
	}
}

func gemvQ4(c, a []float32, b []byte, add bool) {
	switch {
	case cpu.AVX512:
		gemvQ4AVX512(len(a), &a[0], &b[0], &c[0], add)
	case cpu.AVX2:
		gemvQ4AVX2(len(a), &a[0], &b[0], &c[0], add)
	default:
		gemvQ4Generic(c, a, b, add)
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

func widenQ8(dst []float32, b []byte, k int) {
	switch {
	case k == 0:
	case cpu.AVX512:
		widenQ8AVX512(k, &dst[0], &b[0])
	case cpu.AVX2:
		widenQ8AVX2(k, &dst[0], &b[0])
	default:
		widenQ8Generic(dst, b, k)
	}
}

func widenQ4(dst []float32, b []byte, k int) {
	switch {
	case k == 0:
	case cpu.AVX512:
		widenQ4AVX512(k, &dst[0], &b[0])
	case cpu.AVX2:
		widenQ4AVX2(k, &dst[0], &b[0])
	default:
		widenQ4Generic(dst, b, k)
	}
}
