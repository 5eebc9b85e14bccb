//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func convRow(dst, add, x []float32, ldx int, h []float32, ldh, n, e int) {
	blocks := e / ConvBlock
	if blocks == 0 || n == 0 || !cpu.AVX512 && !cpu.AVX2 {
		blocks = 0
	} else if last := h[(n-1)*ldh:]; cpu.AVX512 {
		convRowAVX512(&dst[0], &add[0], &x[0], ldx, &last[0], ldh, n, blocks)
	} else {
		convRowAVX2(&dst[0], &add[0], &x[0], ldx, &last[0], ldh, n, blocks)
	}
	convRowGeneric(dst, add, x, ldx, h, ldh, n, blocks*ConvBlock, e)
}
