package modes

import (
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// powerSums computes, for the rows x of a matrix and the poles λ of a channel,
//
//	Σ_t x[t]·λ^t    and    Σ_t t·x[t]·λ^(t-1)
//
// Of stretches of few positions they are one matrix product for all rows and poles, in
// float32; these are added up in float64, by Horner's rule in the power of λ that lies
// between two stretches.
type powerSums struct {
	modes     []Mode
	rows      int
	stretches int       // of a row
	x         []float32 // (rows, stretches, stretch)
	panels    []float32 // what multiplies them
	sums      []float32 // (rows, stretches, poles, 4): real and imaginary part of either sum
	weights   []float32 // (poles, 4, stretch), before they are packed
}

// stretch is the number of positions of a stretch.
const stretch = 16

// newPowerSums returns room for so many rows of zeros.
func newPowerSums(modes []Mode, rows, length int, s *tensor.Scratch) *powerSums {
	p := &powerSums{modes: modes, rows: rows, stretches: (length + stretch - 1) / stretch}
	n := 4 * len(modes)
	p.x, p.sums = s.Take(rows*p.stretches*stretch), s.Take(rows*p.stretches*n)
	p.weights, p.panels = s.Take(n*stretch), s.Take(kernel.PanelLen(n, stretch))
	clear(p.x)
	return p
}

// row returns a row, filled up with zeros to whole stretches.
func (p *powerSums) row(i int) []float32 {
	n := p.stretches * stretch
	return p.x[i*n : (i+1)*n]
}

// run computes the sums of all stretches.
func (p *powerSums) run() {
	for k, m := range p.modes {
		w := p.weights[4*stretch*k : 4*stretch*(k+1)]
		power, before := complex128(1), complex128(0)
		for t := range stretch {
			slope := complex(float64(t), 0) * before
			for i, v := range [4]float64{real(power), imag(power), real(slope), imag(slope)} {
				w[i*stretch+t] = float32(v)
			}
			power, before = power*m.Pole, power
		}
	}
	n := 4 * len(p.modes)
	kernel.PackPanels(p.panels, p.weights, n, stretch, stretch, 1)
	kernel.Gemm(p.sums, n, p.x, stretch, p.panels, p.rows*p.stretches, n, stretch, false)
}

// sum returns both sums of a row for pole k.
func (p *powerSums) sum(row, k int) (sum, slope complex128) {
	before := power(p.modes[k].Pole, stretch-1)
	apart := before * p.modes[k].Pole
	before *= stretch
	n := 4 * len(p.modes)
	for j := p.stretches - 1; j >= 0; j-- {
		s := p.sums[(row*p.stretches+j)*n+4*k:]
		slope = slope*apart + sum*before + complex(float64(s[2]), float64(s[3]))
		sum = sum*apart + complex(float64(s[0]), float64(s[1]))
	}
	return sum, slope
}
