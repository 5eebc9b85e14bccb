//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func fftFirst(buf []float32, x *fftSamples, factors []float32, s, count int) {
	if cpu.NEON {
		fftFirstNEON(&buf[0], &x.rows, &x.ld, &factors[0], s, count)
	} else {
		fftFirstGeneric(buf, x, factors, s, count)
	}
}

func fftForward(radix int, buf, factors []float32, s, count, blocks int) {
	switch {
	case !cpu.NEON:
		fftForwardGeneric(radix, buf, factors, s, count, blocks)
	case radix == 2:
		fftForward2NEON(&buf[0], &factors[0], s, count, blocks)
	case radix == 4:
		fftForward4NEON(&buf[0], &factors[0], s, count, blocks)
	default:
		fftForward8NEON(&buf[0], &factors[0], s, count, blocks)
	}
}

func fftProduct(buf, spectrum []float32, blocks int, conj bool) {
	switch {
	case !cpu.NEON:
		fftProductGeneric(buf, spectrum, blocks, conj)
	case conj:
		fftProductConjNEON(&buf[0], &spectrum[0], blocks)
	default:
		fftProductNEON(&buf[0], &spectrum[0], blocks)
	}
}

func fftInverse(radix int, buf, factors []float32, s, count, blocks int) {
	switch {
	case !cpu.NEON:
		fftInverseGeneric(radix, buf, factors, s, count, blocks)
	case radix == 2:
		fftInverse2NEON(&buf[0], &factors[0], s, count, blocks)
	case radix == 4:
		fftInverse4NEON(&buf[0], &factors[0], s, count, blocks)
	default:
		fftInverse8NEON(&buf[0], &factors[0], s, count, blocks)
	}
}

func fftLast(y *fftSamples, buf, factors []float32, s, count int) {
	if cpu.NEON {
		fftLastNEON(&y.rows, &y.ld, &buf[0], &factors[0], s, count)
	} else {
		fftLastGeneric(y, buf, factors, s, count)
	}
}
