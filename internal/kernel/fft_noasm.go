//go:build purego || !(amd64 || arm64)

package kernel

func fftFirst(buf []float32, x *fftSamples, factors []float32, s, count int) {
	fftFirstGeneric(buf, x, factors, s, count)
}

func fftForward(radix int, buf, factors []float32, s, count, blocks int) {
	fftForwardGeneric(radix, buf, factors, s, count, blocks)
}

func fftProduct(buf, spectrum []float32, blocks int, conj bool) {
	fftProductGeneric(buf, spectrum, blocks, conj)
}

func fftInverse(radix int, buf, factors []float32, s, count, blocks int) {
	fftInverseGeneric(radix, buf, factors, s, count, blocks)
}

func fftLast(y *fftSamples, buf, factors []float32, s, count int) {
	fftLastGeneric(y, buf, factors, s, count)
}
