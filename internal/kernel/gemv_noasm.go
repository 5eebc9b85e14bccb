//go:build purego || !(amd64 || arm64)

package kernel

func gemvBF16(c, a []float32, b []uint16, add bool) { gemvBF16Generic(c, a, b, add) }
func widenBF16(dst []float32, b []uint16, k int)    { widenBF16Generic(dst, b, k) }
