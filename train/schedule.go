package train

import "math"

// Cosine returns a schedule that lets the learning rate fall from lr to least in the form
// of half a cosine (arXiv:1608.03983):
//
//	least + (lr - least)·(1 + cos(π·t/steps))/2
//
// for step t, and least after that.
func Cosine(lr, least float64, steps int) func(step int) float64 {
	return WarmupCosine(0, lr, least, 0, steps)
}

// WarmupCosine returns a schedule that rises evenly from first to lr in warmup steps and
// then falls as [Cosine] does, to least at step total.
func WarmupCosine(first, lr, least float64, warmup, total int) func(step int) float64 {
	return func(t int) float64 {
		switch {
		case t < warmup:
			return first + (lr-first)*float64(t)/float64(warmup)
		case t >= total:
			return least
		}
		return least + (lr-least)*(1+math.Cos(math.Pi*float64(t-warmup)/float64(total-warmup)))/2
	}
}
