//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func convRow(dst, add, x []float32, ldx int, h []float32, ldh, n, e int) {
	blocks := e / ConvBlock
	if n == 0 || !cpu.NEON {
		blocks = 0
	}
	if blocks > 0 {
		convRowNEON(&dst[0], &add[0], &x[0], ldx, &h[(n-1)*ldh], ldh, n, blocks)
	}
	convRowGeneric(dst, add, x, ldx, h, ldh, n, blocks*ConvBlock, e)
}
