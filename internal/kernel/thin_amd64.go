//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// thinTile computes up to tileRows rows. Eight columns are a vector of AVX2, so that
// AVX-512 has nothing to add.
func thinTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	if !cpu.AVX512 && !cpu.AVX2 {
		thinTileGeneric(c, ldc, a, lda, b, m, k, add)
		return
	}
	switch m {
	case 1:
		gemmThin1AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 2:
		gemmThin2AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 3:
		gemmThin3AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 4:
		gemmThin4AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 5:
		gemmThin5AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 6:
		gemmThin6AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 7:
		gemmThin7AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 8:
		gemmThin8AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 9:
		gemmThin9AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 10:
		gemmThin10AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 11:
		gemmThin11AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	case 12:
		gemmThin12AVX2(k, &a[0], lda, &b[0], &c[0], ldc, add)
	}
}
