//go:build purego || !(amd64 || arm64)

package kernel

func columnSums(sum, x []float32, ldx, rows, n int) { columnSumsGeneric(sum, x, ldx, rows, n) }

func columnDots(sum, x []float32, ldx int, y []float32, ldy, rows, n int) {
	columnDotsGeneric(sum, x, ldx, y, ldy, rows, n)
}
