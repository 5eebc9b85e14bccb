//go:build purego || !(amd64 || arm64)

package kernel

func thinTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	thinTileGeneric(c, ldc, a, lda, b, m, k, add)
}
