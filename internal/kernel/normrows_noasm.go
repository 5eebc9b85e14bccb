//go:build purego || !(amd64 || arm64)

package kernel

func layerNormRows(dst, x, weight, bias []float32, eps float32) {
	layerNormRowsGeneric(dst, x, weight, bias, eps)
}

func rmsNormRows(dst, x, weight []float32, inside, outside float32) {
	rmsNormRowsGeneric(dst, x, weight, inside, outside)
}

func layerNormGradRows(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	layerNormGradRowsGeneric(dx, dy, x, weight, dweight, dbias, eps)
}

func rmsNormGradRows(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	rmsNormGradRowsGeneric(dx, dy, x, weight, dweight, inside, outside)
}
