//go:build purego || !(amd64 || arm64)

package kernel

func sin(dst, x []float32) { sinGeneric(dst, x) }
func cos(dst, x []float32) { cosGeneric(dst, x) }
