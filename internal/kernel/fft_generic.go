package kernel

import "math"

// The passes below take 16 channels at once. Rows of a transform have fftRow elements.

// fftFirstGeneric weights samples, transforms eight at a time, and multiplies the
// results by their factors, for rows j, j+s … j+7s of buf and j < count.
func fftFirstGeneric(buf []float32, x *fftSamples, factors []float32, s, count int) {
	for j := range count {
		for c := range ConvBlock {
			var z [8]complex64
			for q := range z {
				v := x.rows[q][j*x.ld[q]+c]
				z[q] = complex(v*real(fftWeights[q]), v*imag(fftWeights[q]))
			}
			fftDown(z[:])
			for q := range z {
				f := factors[j*16+2*q:]
				fftStore(buf, j+q*s, c, z[q]*complex(f[0], f[1]))
			}
		}
	}
}

// fftForwardGeneric transforms radix rows at a time and multiplies the results by
// their factors: for j < count, rows j, j+s, j+2s … of each of blocks blocks.
func fftForwardGeneric(radix int, buf, factors []float32, s, count, blocks int) {
	for b := range blocks {
		for j := range count {
			for c := range ConvBlock {
				var room [8]complex64
				z := room[:radix]
				row := b*radix*s + j
				for q := range z {
					z[q] = fftLoad(buf, row+q*s, c)
				}
				fftDown(z)
				for q := range z {
					if q > 0 {
						f := factors[(j*(radix-1)+q-1)*2:]
						z[q] *= complex(f[0], f[1])
					}
					fftStore(buf, row+q*s, c, z[q])
				}
			}
		}
	}
}

// fftProductGeneric finishes the transforms of blocks of eight rows, multiplies them
// by the spectrum or its conjugate, and begins to transform them back.
func fftProductGeneric(buf, spectrum []float32, blocks int, conj bool) {
	for b := range blocks {
		for c := range ConvBlock {
			var z [8]complex64
			for q := range z {
				z[q] = fftLoad(buf, b*8+q, c)
			}
			fftDown(z[:])
			for q := range z {
				f := fftLoad(spectrum, b*8+q, c)
				if conj {
					f = complex(real(f), -imag(f))
				}
				z[q] *= f
			}
			fftUp(z[:])
			for q := range z {
				fftStore(buf, b*8+q, c, z[q])
			}
		}
	}
}

// fftInverseGeneric undoes fftForwardGeneric, times radix.
func fftInverseGeneric(radix int, buf, factors []float32, s, count, blocks int) {
	for b := range blocks {
		for j := range count {
			for c := range ConvBlock {
				var room [8]complex64
				z := room[:radix]
				row := b*radix*s + j
				for q := range z {
					z[q] = fftLoad(buf, row+q*s, c)
					if q > 0 {
						f := factors[(j*(radix-1)+q-1)*2:]
						z[q] *= complex(f[0], -f[1])
					}
				}
				fftUp(z)
				for q := range z {
					fftStore(buf, row+q*s, c, z[q])
				}
			}
		}
	}
}

// fftLastGeneric undoes fftFirstGeneric, times eight, and leaves out the imaginary
// parts. The samples may be rows of buf.
func fftLastGeneric(y *fftSamples, buf, factors []float32, s, count int) {
	for j := range count {
		for c := range ConvBlock {
			var z [8]complex64
			for q := range z {
				f := factors[j*16+2*q:]
				z[q] = fftLoad(buf, j+q*s, c) * complex(f[0], -f[1])
			}
			fftUp(z[:])
			for q, v := range z {
				y.rows[q][j*y.ld[q]+c] = real(v)*real(fftWeights[q]) + imag(v)*imag(fftWeights[q])
			}
		}
	}
}

// fftWeights holds exp(iπq/16), by which the weights of rows j+q·s and j differ.
var fftWeights = func() (w [8]complex64) {
	for q := range w {
		sin, cos := math.Sincos(math.Pi * float64(q) / 16)
		w[q] = complex(float32(cos), float32(sin))
	}
	return w
}()

func fftLoad(rows []float32, row, c int) complex64 {
	return complex(rows[row*fftRow+c], rows[row*fftRow+ConvBlock+c])
}

func fftStore(rows []float32, row, c int, z complex64) {
	rows[row*fftRow+c], rows[row*fftRow+ConvBlock+c] = real(z), imag(z)
}

// fftRoots holds exp(-2πiq/8).
var fftRoots = [4]complex64{1, complex(math.Sqrt2/2, -math.Sqrt2/2), complex(0, -1), complex(-math.Sqrt2/2, -math.Sqrt2/2)}

// fftDown transforms z, of length 2, 4 or 8, and leaves the frequencies in the order
// of their numbers with the bits reversed.
func fftDown(z []complex64) {
	h := len(z) / 2
	if h == 0 {
		return
	}
	for q := range h {
		a, b := z[q], z[q+h]
		z[q], z[q+h] = a+b, (a-b)*fftRoots[q*4/h]
	}
	fftDown(z[:h])
	fftDown(z[h:])
}

// fftUp undoes fftDown, times the length.
func fftUp(z []complex64) {
	h := len(z) / 2
	if h == 0 {
		return
	}
	fftUp(z[:h])
	fftUp(z[h:])
	for q := range h {
		root := fftRoots[q*4/h]
		a, b := z[q], z[q+h]*complex(real(root), -imag(root))
		z[q], z[q+h] = a+b, a-b
	}
}
