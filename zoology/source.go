package zoology

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A Source is where tasks draw from. The same generator of a task makes data of its own
// with [Rand] and, with the generators of NumPy and PyTorch, the very data of the
// reference.
type Source interface {
	// Float64 returns a number of [0, 1).
	Float64() float64

	// IntN returns an integer of [0, n).
	IntN(n int) int

	// Distinct fills dst with different integers of [0, n), in any order.
	Distinct(dst []int, n int)

	// Filler returns an integer of [0, n): a token that has no part in the task. The
	// reference has another generator for these.
	Filler(n int) int
}

// Rand returns a Source that draws from r.
func Rand(r *rand.Rand) Source { return randSource{r} }

type randSource struct{ *rand.Rand }

func (s randSource) Filler(n int) int { return s.IntN(n) }

func (s randSource) Distinct(dst []int, n int) {
	if 2*len(dst) > n {
		copy(dst, s.Perm(n)[:len(dst)])
		return
	}
	for i := range dst {
		for {
			if dst[i] = s.IntN(n); !slices.Contains(dst[:i], dst[i]) {
				break
			}
		}
	}
}

// powerLaw returns the probabilities of n slots: that of slot g is proportional to
// (g+1)^(a-1).
func powerLaw(n int, a float64) []float64 {
	p := make([]float64, n)
	for g := range p {
		p[g] = a * math.Pow(float64(g+1), a-1)
	}
	sum := pairwiseSum(p)
	for g := range p {
		p[g] /= sum
	}
	return p
}

// pairwiseSum adds in the order of numpy.sum, to its bits.
func pairwiseSum(p []float64) float64 {
	n := len(p)
	if n > 128 {
		half := n / 2
		half -= half % 8
		return pairwiseSum(p[:half]) + pairwiseSum(p[half:])
	}
	sum, done := 0.0, 0
	if n >= 8 {
		var r [8]float64
		for ; done+8 <= n; done += 8 {
			for k := range r {
				r[k] += p[done+k]
			}
		}
		sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
	}
	for _, v := range p[done:] {
		sum += v
	}
	return sum
}

// weighted draws len(dst) different indices of p, one after the other, each with a
// probability proportional to p among those that are left. As many numbers as are still
// needed are drawn at a time, and indices that come again are dropped, which is the same
// law: so numpy.random.choice does it. p is overwritten.
func weighted(dst []int, p []float64, src Source) {
	cdf := make([]float64, len(p))
	var draws []float64
	for n := 0; n < len(dst); {
		draws = draws[:0]
		for range len(dst) - n {
			draws = append(draws, src.Float64())
		}
		sum := 0.0
		for i, v := range p {
			sum += v
			cdf[i] = sum
		}
		for i := range cdf {
			cdf[i] /= sum
		}
		first := n
		for _, x := range draws {
			i, _ := slices.BinarySearchFunc(cdf, x, func(c, x float64) int {
				if c > x {
					return 1
				}
				return -1
			})
			if !slices.Contains(dst[first:n], i) {
				dst[n] = i
				n++
			}
		}
		for _, i := range dst[first:n] {
			p[i] = 0
		}
	}
}

// Bounds of the exponent of the power law, for its probabilities to be finite.
const leastPower, mostPower = 1e-6, 10.0
