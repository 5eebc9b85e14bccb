//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func fftFirst(buf []float32, x *fftSamples, factors []float32, s, count int) {
	switch {
	case cpu.AVX512:
		fftFirstAVX512(&buf[0], &x.rows, &x.ld, &factors[0], s, count)
	case cpu.AVX2:
		fftFirstAVX2(&buf[0], &x.rows, &x.ld, &factors[0], s, count)
	default:
		fftFirstGeneric(buf, x, factors, s, count)
	}
}

func fftForward(radix int, buf, factors []float32, s, count, blocks int) {
	switch {
	case cpu.AVX512 && radix == 2:
		fftForward2AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX512 && radix == 4:
		fftForward4AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX512:
		fftForward8AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2 && radix == 2:
		fftForward2AVX2(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2 && radix == 4:
		fftForward4AVX2(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2:
		fftForward8AVX2(&buf[0], &factors[0], s, count, blocks)
	default:
		fftForwardGeneric(radix, buf, factors, s, count, blocks)
	}
}

func fftProduct(buf, spectrum []float32, blocks int, conj bool) {
	switch {
	case cpu.AVX512 && conj:
		fftProductConjAVX512(&buf[0], &spectrum[0], blocks)
	case cpu.AVX512:
		fftProductAVX512(&buf[0], &spectrum[0], blocks)
	case cpu.AVX2 && conj:
		fftProductConjAVX2(&buf[0], &spectrum[0], blocks)
	case cpu.AVX2:
		fftProductAVX2(&buf[0], &spectrum[0], blocks)
	default:
		fftProductGeneric(buf, spectrum, blocks, conj)
	}
}

func fftInverse(radix int, buf, factors []float32, s, count, blocks int) {
	switch {
	case cpu.AVX512 && radix == 2:
		fftInverse2AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX512 && radix == 4:
		fftInverse4AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX512:
		fftInverse8AVX512(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2 && radix == 2:
		fftInverse2AVX2(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2 && radix == 4:
		fftInverse4AVX2(&buf[0], &factors[0], s, count, blocks)
	case cpu.AVX2:
		fftInverse8AVX2(&buf[0], &factors[0], s, count, blocks)
	default:
		fftInverseGeneric(radix, buf, factors, s, count, blocks)
	}
}

func fftLast(y *fftSamples, buf, factors []float32, s, count int) {
	switch {
	case cpu.AVX512:
		fftLastAVX512(&y.rows, &y.ld, &buf[0], &factors[0], s, count)
	case cpu.AVX2:
		fftLastAVX2(&y.rows, &y.ld, &buf[0], &factors[0], s, count)
	default:
		fftLastGeneric(y, buf, factors, s, count)
	}
}
