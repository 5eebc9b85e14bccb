//go:build purego || !(amd64 || arm64)

package kernel

func gemmTile(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	gemmTileGeneric(c, ldc, a, lda, b, m, n, k, add)
}
