package kernel

// convRowGeneric is ConvRow for channels from to e-1.
func convRowGeneric(dst, add, x []float32, ldx int, h []float32, ldh, n, from, e int) {
	for c := from; c < e; c++ {
		sum := add[c]
		for i := range n {
			sum += h[(n-1-i)*ldh+c] * x[i*ldx+c]
		}
		dst[c] = sum
	}
}
