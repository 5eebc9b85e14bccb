//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// gemmTile computes up to tileRows rows of one panel, of which n columns exist. The
// tiles write whole vectors: a part of a panel goes through a buffer.
func gemmTile(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	if !cpu.NEON {
		gemmTileGeneric(c, ldc, a, lda, b, m, n, k, add)
		return
	}
	if n == PanelWidth {
		gemmPanelNEON(c, ldc, a, lda, b, m, k, add)
		return
	}
	var buf [tileRows * PanelWidth]float32
	gemmPanelNEON(buf[:], PanelWidth, a, lda, b, m, k, false)
	for i := range m {
		row := buf[i*PanelWidth : i*PanelWidth+n]
		out := c[i*ldc : i*ldc+n]
		for j, v := range row {
			if add {
				v += out[j]
			}
			out[j] = v
		}
	}
}

// gemmPanelNEON computes up to tileRows rows of a whole panel, in tiles of up to 6 rows
// and half a panel or, so that the weights of few rows are read in one stream, of up to
// 3 rows and a whole one.
func gemmPanelNEON(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	switch m {
	case 1:
		gemmTile1x32NEON(k, &a[0], lda, &b[0], &c[0], ldc, add)
		return
	case 2:
		gemmTile2x32NEON(k, &a[0], lda, &b[0], &c[0], ldc, add)
		return
	case 3:
		gemmTile3x32NEON(k, &a[0], lda, &b[0], &c[0], ldc, add)
		return
	}
	blocks := (m + halfRows - 1) / halfRows
	step := lineBytes / blocks // so that all passes together fetch one panel
	for t := range blocks {
		i0, i1 := t*m/blocks, (t+1)*m/blocks
		for h := range 2 {
			from := k*PanelWidth + (2*t+h)*k*step/4
			gemmHalfNEON(k, &a[i0*lda], lda, &b[16*h], &c[i0*ldc+16*h], ldc, i1-i0, add, &b[min(from, len(b)-1)], step)
		}
	}
}

const (
	halfRows  = 6  // rows of the tallest tile of half a panel
	lineBytes = 64 // half a step along k in a panel
)

func gemmHalfNEON(k int, a *float32, lda int, b, c *float32, ldc, m int, add bool, next *float32, step int) {
	switch m {
	case 3:
		gemmTile3x16NEON(k, a, lda, b, c, ldc, add, next, step)
	case 4:
		gemmTile4x16NEON(k, a, lda, b, c, ldc, add, next, step)
	case 5:
		gemmTile5x16NEON(k, a, lda, b, c, ldc, add, next, step)
	case 6:
		gemmTile6x16NEON(k, a, lda, b, c, ldc, add, next, step)
	}
}
