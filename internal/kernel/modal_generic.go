package kernel

// modalBeginGeneric copies n rows of width elements of src to u, in rows of 16 that
// are filled up with zeros, and makes y the product with d.
func modalBeginGeneric(n, width int, y, u, src []float32, lds int, d []float32) {
	skip := (*[ModalBlock]float32)(d)
	for t := range n {
		in, out := (*[ModalBlock]float32)(u[t*ModalBlock:]), (*[ModalBlock]float32)(y[t*ModalBlock:])
		copy(in[:width], src[t*lds:])
		clear(in[width:])
		for j := range in {
			out[j] = skip[j] * in[j]
		}
	}
}

// modalEndGeneric copies n rows of width elements of y to dst.
func modalEndGeneric(n, width int, dst []float32, ldd int, y []float32) {
	for t := range n {
		copy(dst[t*ldd:t*ldd+width], y[t*ModalBlock:])
	}
}

// modalPairsGeneric adds to y, of n rows, what pairs of poles make of u.
func modalPairsGeneric(n, pairs int, y, u, poles, h []float32) {
	for k := range pairs {
		p := (*[modalPairRows * ModalBlock]float32)(poles[k*modalPairRows*ModalBlock:])
		s := (*[modalPairStateRows * ModalBlock]float32)(h[k*modalPairStateRows*ModalBlock:])
		for t := range n {
			in, out := (*[ModalBlock]float32)(u[t*ModalBlock:]), (*[ModalBlock]float32)(y[t*ModalBlock:])
			for j := range in {
				re, im := s[j], s[ModalBlock+j]
				er, ei := p[j], p[ModalBlock+j]
				r := re + (in[j] + er*re - ei*im)
				i := im + (er*im + ei*re)
				s[j], s[ModalBlock+j] = r, i
				out[j] += p[2*ModalBlock+j] * r
				out[j] += p[3*ModalBlock+j] * i
			}
		}
		flushDenormals(s[:])
	}
}

// modalRealsGeneric adds to y, of n rows, what real poles make of u.
func modalRealsGeneric(n, reals int, y, u, poles, h []float32) {
	for k := range reals {
		p := (*[modalRealRows * ModalBlock]float32)(poles[k*modalRealRows*ModalBlock:])
		s := (*[ModalBlock]float32)(h[k*ModalBlock:])
		for t := range n {
			in, out := (*[ModalBlock]float32)(u[t*ModalBlock:]), (*[ModalBlock]float32)(y[t*ModalBlock:])
			for j := range in {
				v := s[j] + (in[j] + p[j]*s[j])
				s[j] = v
				out[j] += p[ModalBlock+j] * v
			}
		}
		flushDenormals(s[:])
	}
}

// flushDenormals makes denormal numbers zero. A state that has decayed to one would
// stay there, and arithmetic with it is far slower.
func flushDenormals(v []float32) {
	const least = 0x1p-126
	for i, x := range v {
		if x < least && x > -least {
			v[i] = 0
		}
	}
}
