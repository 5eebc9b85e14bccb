//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func columnSums(sum, x []float32, ldx, rows, n int) {
	if cpu.NEON {
		columnSumsNEON(&sum[0], &x[0], ldx, rows, n)
	} else {
		columnSumsGeneric(sum, x, ldx, rows, n)
	}
}

func columnDots(sum, x []float32, ldx int, y []float32, ldy, rows, n int) {
	if cpu.NEON {
		columnDotsNEON(&sum[0], &x[0], ldx, &y[0], ldy, rows, n)
	} else {
		columnDotsGeneric(sum, x, ldx, y, ldy, rows, n)
	}
}
