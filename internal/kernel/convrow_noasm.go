//go:build purego || !(amd64 || arm64)

package kernel

func convRow(dst, add, x []float32, ldx int, h []float32, ldh, n, e int) {
	convRowGeneric(dst, add, x, ldx, h, ldh, n, 0, e)
}
