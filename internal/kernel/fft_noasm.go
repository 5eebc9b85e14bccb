//go:build purego || !amd64

package kernel

func fftFirst(buf, lower, upper []float32, ld int, factors []float32, s, count int) {
	fftFirstGeneric(buf, lower, upper, ld, factors, s, count)
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

func fftLast(lower, upper []float32, ld int, buf, factors []float32, s, count int) {
	fftLastGeneric(lower, upper, ld, buf, factors, s, count)
}
