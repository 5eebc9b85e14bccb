package main

import "slices"

// A sample is one measurement between two probes of the machine.
type sample struct {
	Rate  float64 // tokens a second
	Share float64 // of the limit that was probed beside it; 0 if that is not known
}

// samples are the measurements of one thing, from all rounds.
type samples []sample

// best returns the highest rate, or 0.
func (s samples) best() float64 {
	best := 0.0
	for _, x := range s {
		best = max(best, x.Rate)
	}
	return best
}

// median returns the median rate, or 0.
func (s samples) median() float64 {
	return medianOf(s, func(x sample) float64 { return x.Rate })
}

// share returns the median share. Rate and limit of a sample belong together, so that it
// does not suffer from a machine that becomes faster and slower.
func (s samples) share() float64 {
	return medianOf(s, func(x sample) float64 { return x.Share })
}

// times returns how many times as fast as another one was that was measured in turn: the
// median of the ratios of neighbours.
func (s samples) times(other samples) float64 {
	ratios := make(samples, min(len(s), len(other)))
	for i := range ratios {
		ratios[i].Rate = ratio(s[i].Rate, other[i].Rate)
	}
	return ratios.median()
}

func medianOf(s samples, f func(sample) float64) float64 {
	if len(s) == 0 {
		return 0
	}
	var v []float64
	for _, x := range s {
		v = append(v, f(x))
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
