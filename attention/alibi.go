package attention

import "math"

// Slopes returns the slopes of ALiBi (arXiv:2108.12409) for so many heads. They are
// 2^(-8h/n) for h = 1 … n if n is a power of two. If not, they are those of the next
// lower power of two, followed by every other one of the next higher.
func Slopes(heads int) []float32 {
	slopes := make([]float32, 0, max(heads, 0))
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	slope := func(h, n int) float32 { return float32(math.Exp2(-8 * float64(h) / float64(n))) }
	for h := 1; h <= min(n, heads); h++ {
		slopes = append(slopes, slope(h, n))
	}
	for h := 1; len(slopes) < heads; h += 2 {
		slopes = append(slopes, slope(h, 2*n))
	}
	return slopes
}

// A ramp holds minus the distances between a query and the keys around it.
type ramp struct {
	values []float32
	reach  int
}

// grow makes the ramp reach so far, in either direction.
func (r *ramp) grow(reach int) {
	if reach <= r.reach {
		return
	}
	const unit = 1024
	r.reach = (reach + unit - 1) / unit * unit
	if need := 2*r.reach + 1; cap(r.values) < need {
		r.values = make([]float32, need)
	}
	r.values = r.values[:2*r.reach+1]
	for i := range r.values {
		r.values[i] = -float32(max(i-r.reach, r.reach-i))
	}
}

// from returns n elements, -|i-d| for i = 0, 1, …: the biases, but for the slope, of
// keys the first of which is d positions before the query.
func (r *ramp) from(d, n int) []float32 { return r.values[r.reach-d : r.reach-d+n] }
