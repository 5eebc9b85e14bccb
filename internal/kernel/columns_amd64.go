//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one row and one column.

func columnSums(sum, x []float32, ldx, rows, n int) {
	switch {
	case cpu.AVX512:
		columnSumsAVX512(&sum[0], &x[0], ldx, rows, n)
	case cpu.AVX2:
		columnSumsAVX2(&sum[0], &x[0], ldx, rows, n)
	default:
		columnSumsGeneric(sum, x, ldx, rows, n)
	}
}

func columnDots(sum, x []float32, ldx int, y []float32, ldy, rows, n int) {
	switch {
	case cpu.AVX512:
		columnDotsAVX512(&sum[0], &x[0], ldx, &y[0], ldy, rows, n)
	case cpu.AVX2:
		columnDotsAVX2(&sum[0], &x[0], ldx, &y[0], ldy, rows, n)
	default:
		columnDotsGeneric(sum, x, ldx, y, ldy, rows, n)
	}
}
