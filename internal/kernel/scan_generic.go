package kernel

import "math"

// scanBlocksGeneric takes each block of p through its positions.
func scanBlocksGeneric(p *scanTile) {
	size := p.n * ScanBlock
	for i := range p.blocks {
		var zero, dx, sum [ScanBlock]float32
		a, h := p.a[i*size:(i+1)*size], p.h[i*size:(i+1)*size]
		d := (*[ScanBlock]float32)(p.d[i*p.dStep:])
		for t := range p.l {
			at := i * ScanBlock
			u := (*[ScanBlock]float32)(p.u[t*p.ldu+at:])
			delta := (*[ScanBlock]float32)(p.delta[t*p.ldd+at:])
			sum = zero
			for j := range dx {
				dx[j] = delta[j] * u[j]
				sum[j] = d[j] * u[j]
			}
			for n := range p.n {
				b, bStep := scanRow(p.b[i*p.bBlock+t*p.ldb:], n, p.bChannels)
				c, cStep := scanRow(p.c[i*p.cBlock+t*p.ldc:], n, p.cChannels)
				rate := (*[ScanBlock]float32)(a[n*ScanBlock:])
				state := (*[ScanBlock]float32)(h[n*ScanBlock:])
				for j := range state {
					v := exp2Generic(delta[j]*rate[j])*state[j] + dx[j]*b[j*bStep]
					state[j] = v
					sum[j] += c[j*cStep] * v
				}
			}
			*(*[ScanBlock]float32)(p.y[t*p.ldy+at:]) = sum
		}
	}
}

// scanRow returns the elements of b or c for state n, and the distance between those
// of neighbouring channels.
func scanRow(row []float32, n int, channels bool) (at []float32, step int) {
	if channels {
		return row[n*ScanBlock : (n+1)*ScanBlock], 1
	}
	return row[n : n+1], 0
}

// The polynomial closest to 2^x, relative to its value, for |x| ≤ 1/2 among those of
// degree 5 that are 1 at 0, with coefficients in float32. Its error is below 1e-7.
const (
	exp2C1 = 0.693146944
	exp2C2 = 0.2402224243
	exp2C3 = 0.05550754815
	exp2C4 = 0.009671615437
	exp2C5 = 0.001326470054
)

// exp2Generic returns 2^x, which is 0 below 2^-126.5 and +Inf from 2^127.5 on.
func exp2Generic(x float32) float32 {
	// Added to a number of moderate size, round leaves its integer part, biased as
	// an exponent is, in the low bits.
	const round = 3<<22 + 127
	if x < -127 {
		x = -127
	}
	if x > 128 {
		x = 128
	}
	n := x + round
	r := x - (n - round)
	p := float32(exp2C5)
	p = p*r + exp2C4
	p = p*r + exp2C3
	p = p*r + exp2C2
	p = p*r + exp2C1
	p = p*r + 1
	return p * math.Float32frombits(math.Float32bits(n)<<23)
}
