//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// gemmTile computes up to tileRows rows of one panel, of which n columns exist.
func gemmTile(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	switch {
	case cpu.AVX512:
		gemmTileAVX512(k, &a[0], lda, &b[0], &c[0], ldc, m, uint32(1<<n-1), add)
	case cpu.AVX2:
		gemmTileAVX2(c, ldc, a, lda, b, m, n, k, add)
	default:
		gemmTileGeneric(c, ldc, a, lda, b, m, n, k, add)
	}
}

func gemmTileAVX512(k int, a *float32, lda int, b, c *float32, ldc, m int, mask uint32, add bool) {
	switch m {
	case 1:
		gemmTile1x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 2:
		gemmTile2x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 3:
		gemmTile3x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 4:
		gemmTile4x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 5:
		gemmTile5x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 6:
		gemmTile6x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 7:
		gemmTile7x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 8:
		gemmTile8x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 9:
		gemmTile9x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 10:
		gemmTile10x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 11:
		gemmTile11x32AVX512(k, a, lda, b, c, ldc, mask, add)
	case 12:
		gemmTile12x32AVX512(k, a, lda, b, c, ldc, mask, add)
	}
}

// gemmTileAVX2 uses tiles of 6 rows and half a panel, or, so that the weights of
// few rows are read in one stream, of 3 rows and a whole one. The tiles write whole
// vectors: a part of a panel goes through a buffer.
func gemmTileAVX2(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	if n < PanelWidth {
		gemmEdgeAVX2(c, ldc, a, lda, b, m, n, k, add)
		return
	}
	if m <= 3 {
		gemmTile32AVX2(k, &a[0], lda, &b[0], &c[0], ldc, m, add)
		return
	}
	blocks := (m + halfRows - 1) / halfRows
	step := lineBytes / blocks // so that all passes together fetch one panel
	for t := range blocks {
		i0, i1 := t*m/blocks, (t+1)*m/blocks
		for h := range 2 {
			from := k*PanelWidth + (2*t+h)*k*step/4
			gemmTile16AVX2(k, &a[i0*lda], lda, &b[16*h], &c[i0*ldc+16*h], ldc, i1-i0, add, &b[min(from, len(b)-1)], step)
		}
	}
}

const (
	halfRows  = 6  // rows of the tallest tile of half a panel
	lineBytes = 64 // half a step along k in a panel
)

func gemmEdgeAVX2(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	var buf [3 * PanelWidth]float32
	for i := 0; i < m; i += 3 {
		rows := min(3, m-i)
		gemmTile32AVX2(k, &a[i*lda], lda, &b[0], &buf[0], PanelWidth, rows, false)
		for r := range rows {
			out := c[(i+r)*ldc : (i+r)*ldc+n]
			for j := range out {
				if add {
					out[j] = buf[r*PanelWidth+j] + out[j]
				} else {
					out[j] = buf[r*PanelWidth+j]
				}
			}
		}
	}
}

func gemmTile32AVX2(k int, a *float32, lda int, b, c *float32, ldc, m int, add bool) {
	switch m {
	case 1:
		gemmTile1x32AVX2(k, a, lda, b, c, ldc, add)
	case 2:
		gemmTile2x32AVX2(k, a, lda, b, c, ldc, add)
	case 3:
		gemmTile3x32AVX2(k, a, lda, b, c, ldc, add)
	}
}

func gemmTile16AVX2(k int, a *float32, lda int, b, c *float32, ldc, m int, add bool, next *float32, step int) {
	switch m {
	case 1:
		gemmTile1x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	case 2:
		gemmTile2x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	case 3:
		gemmTile3x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	case 4:
		gemmTile4x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	case 5:
		gemmTile5x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	case 6:
		gemmTile6x16AVX2(k, a, lda, b, c, ldc, add, next, step)
	}
}
