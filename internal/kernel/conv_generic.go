package kernel

// convRowsGeneric is CausalConv1D for channels from to e-1, without the activation.
// It moves state along by one input for each position.
func convRowsGeneric(dst []float32, ldd int, src []float32, lds int, w, bias, state []float32, l, from, e, k int) {
	for t := range l {
		y, x := dst[t*ldd:t*ldd+e], src[t*lds:t*lds+e]
		for c := from; c < e; c++ {
			v := x[c]
			var sum float32
			if bias != nil {
				sum = bias[c]
			}
			for j := range k - 1 {
				s := state[j*e+c]
				sum += w[j*e+c] * s
				if j > 0 {
					state[(j-1)*e+c] = s
				}
			}
			if k > 1 {
				state[(k-2)*e+c] = v
			}
			y[c] = sum + w[(k-1)*e+c]*v
		}
	}
}
