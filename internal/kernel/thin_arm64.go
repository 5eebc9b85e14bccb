//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// thinTile computes up to tileRows rows, in tiles of up to eight.
func thinTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	if !cpu.NEON {
		thinTileGeneric(c, ldc, a, lda, b, m, k, add)
		return
	}
	const most = 8
	tiles := (m + most - 1) / most
	for t := range tiles {
		i0, i1 := t*m/tiles, (t+1)*m/tiles
		thinRowsNEON(k, &a[i0*lda], lda, &b[0], &c[i0*ldc], ldc, i1-i0, add)
	}
}

func thinRowsNEON(k int, a *float32, lda int, b, c *float32, ldc, m int, add bool) {
	switch m {
	case 1:
		gemmThin1NEON(k, a, lda, b, c, ldc, add)
	case 2:
		gemmThin2NEON(k, a, lda, b, c, ldc, add)
	case 3:
		gemmThin3NEON(k, a, lda, b, c, ldc, add)
	case 4:
		gemmThin4NEON(k, a, lda, b, c, ldc, add)
	case 5:
		gemmThin5NEON(k, a, lda, b, c, ldc, add)
	case 6:
		gemmThin6NEON(k, a, lda, b, c, ldc, add)
	case 7:
		gemmThin7NEON(k, a, lda, b, c, ldc, add)
	case 8:
		gemmThin8NEON(k, a, lda, b, c, ldc, add)
	}
}
