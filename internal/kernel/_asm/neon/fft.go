package main

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

const (
	fftRowBytes   = 2 * partBytes
	fftFactor     = 8    // bytes of a factor
	spectrumAhead = 4096 // bytes that the spectrum is fetched ahead of its use
)

// fft emits the passes of the long convolution. There are registers for four channels
// of eight rows, so that each pass goes through the four vectors of a row in turn.
func fft(file *arm64.File) {
	fftFirst(file)
	for _, radix := range []int{2, 4, 8} {
		fftForward(file, radix)
		fftInverse(file, radix)
	}
	fftProduct(file, "fftProductNEON", false)
	fftProduct(file, "fftProductConjNEON", true)
	fftLast(file)
}

// fftRows returns pointers to n rows and the distance between them in bytes.
func fftRows(f *asm, n int) (rows []reg, stride reg) {
	stride = f.Load("s")
	f.LSL(7, stride)
	return rowsFrom(f, f.Load("buf"), stride, n), stride
}

// eachVector runs body for the vectors of 16 channels.
func eachVector(body func(at int)) {
	for at := 0; at < partBytes; at += vector {
		body(at)
	}
}

// fftPass emits the loops over blocks and rows of fftForward or fftInverse.
func fftPass(file *arm64.File, name string, radix int, body func(f *asm, row, factor func(q int) mem)) {
	f := file.Func(fmt.Sprintf("fft%s%dNEON", name, radix), "func(buf, factors *float32, s, count, blocks int)",
		fmt.Sprintf("is fft%sGeneric for radix %d.", name, radix))
	f.Preload(math.Sqrt2 / 2)
	rows, stride := fftRows(f, radix)
	skip := f.R()
	f.MOVI(radix-1, skip)
	f.Multiply(skip, stride, skip)
	f.Loop("block", f.Load("blocks"), func() {
		factors := f.Load("factors")
		f.Loop("loop", f.Load("count"), func() {
			eachVector(func(at int) {
				body(f, func(q int) mem { return mem{Base: rows[q], Off: at} }, func(q int) mem { return mem{Base: factors, Off: fftFactor * (q - 1)} })
			})
			f.ADDI(fftFactor*(radix-1), factors)
			advance(f, fftRowBytes, rows...)
		})
		for _, r := range rows {
			f.ADD(skip, r)
		}
	})
	f.RET()
}

func fftForward(file *arm64.File, radix int) {
	fftPass(file, "Forward", radix, func(f *asm, row, factor func(q int) mem) {
		var z []cpx
		for q := range radix {
			z = append(z, readComplex(f, row(q)))
		}
		for q, r := range fftDown(f, z) {
			if q > 0 {
				r = times(f, r, factor(q), false)
			}
			writeComplex(f, r, row(q))
		}
	})
}

func fftInverse(file *arm64.File, radix int) {
	fftPass(file, "Inverse", radix, func(f *asm, row, factor func(q int) mem) {
		var z []cpx
		for q := range radix {
			r := readComplex(f, row(q))
			if q > 0 {
				r = times(f, r, factor(q), true)
			}
			z = append(z, r)
		}
		fftUp(f, z, func(q int, r cpx) { writeComplex(f, r, row(q)) })
	})
}

func fftProduct(file *arm64.File, name string, conj bool) {
	f := file.Func(name, "func(buf, spectrum *float32, blocks int)", fmt.Sprintf("is fftProductGeneric, with conj %v.", conj))
	f.Preload(math.Sqrt2 / 2)
	buf, spectrum := f.Load("buf"), f.Load("spectrum")
	f.Loop("loop", f.Load("blocks"), func() {
		for at := 0; at < 8*fftRowBytes; at += 64 {
			f.Prefetch(mem{Base: spectrum, Off: spectrumAhead + at})
		}
		eachVector(func(at int) {
			row := func(base reg, q int) mem { return mem{Base: base, Off: q*fftRowBytes + at} }
			var z []cpx
			for q := range 8 {
				z = append(z, readComplex(f, row(buf, q)))
			}
			z = fftDown(f, z)
			for q := range z {
				z[q] = cmul(f, z[q], readComplex(f, row(spectrum, q)), conj)
			}
			fftUp(f, z, func(q int, r cpx) { writeComplex(f, r, row(buf, q)) })
		})
		advance(f, 8*fftRowBytes, buf, spectrum)
	})
	f.RET()
}

// fftSamples are eight rows of the input or the output, each with a distance of its own.
type fftSamples struct {
	*asm
	rows []reg
	lds  reg // points to the distances
}

func newFFTSamples(f *asm) *fftSamples {
	const slice = 24 // bytes of a slice, which begin with its pointer
	s := &fftSamples{asm: f, lds: f.Load("ld")}
	rows := f.Load("rows")
	for q := range 8 {
		r := f.R()
		f.LoadPtr(mem{Base: rows, Off: slice * q}, r)
		s.rows = append(s.rows, r)
	}
	return s
}

func (s *fftSamples) at(q, bytes int) mem { return mem{Base: s.rows[q], Off: bytes} }

// next moves all rows on by one and fetches what is needed eight turns later.
func (s *fftSamples) next() {
	for q, r := range s.rows {
		ld := s.R()
		s.LoadPtr(mem{Base: s.lds, Off: 8 * q}, ld)
		s.LSL(2, ld)
		s.ADD(ld, r)
		later := copyOf(s.asm, r)
		s.ADDShifted(ld, 3, later)
		s.Prefetch(mem{Base: later})
	}
}

// fftTurns emits the loop of the first or the last pass.
func fftTurns(f *asm, body func(at int, x *fftSamples, row, factor func(q int) mem)) {
	f.Preload(math.Sqrt2 / 2)
	rows, _ := fftRows(f, 8)
	factors, x := f.Load("factors"), newFFTSamples(f)
	f.Loop("loop", f.Load("count"), func() {
		eachVector(func(at int) {
			body(at, x, func(q int) mem { return mem{Base: rows[q], Off: at} }, func(q int) mem { return mem{Base: factors, Off: fftFactor * q} })
		})
		x.next()
		f.ADDI(8*fftFactor, factors)
		advance(f, fftRowBytes, rows...)
	})
	f.RET()
}

// fftFirst and fftLast read all of the samples or the rows before they write, since one
// may lie in the other.
func fftFirst(file *arm64.File) {
	f := file.Func("fftFirstNEON", "func(buf *float32, rows *[8][]float32, ld *[8]int, factors *float32, s, count int)", "is fftFirstGeneric.")
	fftTurns(f, func(at int, x *fftSamples, row, factor func(q int) mem) {
		var e, d []cpx
		for q := range 4 {
			sum, difference := fftWeighted(f, x.at(q, at), x.at(q+4, at), q)
			e, d = append(e, sum), append(d, difference)
		}
		for q, z := range append(fftDown(f, e), fftDownOdd(f, d)...) {
			writeComplex(f, times(f, z, factor(q), false), row(q))
		}
	})
}

// fftWeighted returns the sum and the difference of samples q and q+4 after weighting.
func fftWeighted(f *asm, lower, upper mem, q int) (sum, difference cpx) {
	x, y := f.Read(lower), f.Read(upper)
	part := func(weight func(q int) float32) (sum, difference vec) {
		sum = f.Mul(x, f.Const(weight(q)))
		difference = f.Copy(sum)
		f.MulAdd(y, f.Const(weight(q+4)), sum)
		f.MulSub(y, f.Const(weight(q+4)), difference)
		return sum, difference
	}
	if q > 0 {
		sum.re, difference.re = part(weightCos)
		sum.im, difference.im = part(weightSin)
		return sum, difference
	}
	// Sample 0 has the weight 1.
	sum.im = f.Mul(y, f.Const(weightCos(4))) // and its sine is the same
	sum.re, difference.re = f.Add(x, sum.im), f.Sub(x, sum.im)
	difference.im = f.Neg(sum.im)
	return sum, difference
}

// weightCos and weightSin are the weights of sample j+q·s relative to that of j.
func weightCos(q int) float32 { return float32(math.Cos(math.Pi * float64(q) / 16)) }
func weightSin(q int) float32 { return float32(math.Cos(math.Pi * float64(8-q) / 16)) }

func fftLast(file *arm64.File) {
	f := file.Func("fftLastNEON", "func(rows *[8][]float32, ld *[8]int, buf, factors *float32, s, count int)", "is fftLastGeneric.")
	fftTurns(f, func(at int, y *fftSamples, row, factor func(q int) mem) {
		var z []cpx
		for q := range 8 {
			z = append(z, times(f, readComplex(f, row(q)), factor(q), true))
		}
		fftUp(f, z, func(q int, r cpx) {
			if q > 0 {
				r.re = f.Mul(r.re, f.Const(weightCos(q)))
				f.MulAdd(r.im, f.Const(weightSin(q)), r.re)
			}
			f.Write(r.re, y.at(q, at))
		})
	})
}
