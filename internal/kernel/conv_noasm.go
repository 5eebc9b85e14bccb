//go:build purego || !(amd64 || arm64)

package kernel

func convRows(dst []float32, ldd int, src []float32, lds int, w, bias, state []float32, l, e, k int) {
	convRowsGeneric(dst, ldd, src, lds, w, bias, state, l, 0, e, k)
}
