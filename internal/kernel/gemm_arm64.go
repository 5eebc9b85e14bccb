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
	for i := 0; i < m; {
		rows := m - i
		if rows > 6 {
			rows = (rows + 1) / 2
		}
		gemmRowsNEON(k, &a[i*lda], lda, b, c[i*ldc:], ldc, rows, add)
		i += rows
	}
}

func gemmRowsNEON(k int, a *float32, lda int, b, c []float32, ldc, m int, add bool) {
	switch m {
	case 1:
		gemmTile1x32NEON(k, a, lda, &b[0], &c[0], ldc, add)
	case 2:
		gemmTile2x32NEON(k, a, lda, &b[0], &c[0], ldc, add)
	case 3:
		gemmTile3x32NEON(k, a, lda, &b[0], &c[0], ldc, add)
	case 4:
		gemmTile4x16NEON(k, a, lda, &b[0], &c[0], ldc, add)
		gemmTile4x16NEON(k, a, lda, &b[16], &c[16], ldc, add)
	case 5:
		gemmTile5x16NEON(k, a, lda, &b[0], &c[0], ldc, add)
		gemmTile5x16NEON(k, a, lda, &b[16], &c[16], ldc, add)
	case 6:
		gemmTile6x16NEON(k, a, lda, &b[0], &c[0], ldc, add)
		gemmTile6x16NEON(k, a, lda, &b[16], &c[16], ldc, add)
	}
}
