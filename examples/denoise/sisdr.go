package main

import "math"

// siSDR is the scale-invariant signal-to-distortion ratio of y with respect to the
// clean signal c, in dB: both without their means,
//
//	10 log10(|a·c|² / |y - a·c|²)    with a = <y, c> / <c, c>
//
// (Le Roux et al., arXiv 1811.02508).
func siSDR(y, c []float32) float64 {
	my, mc := mean(y), mean(c)
	var yc, cc float64
	for i := range c {
		a, b := float64(y[i])-my, float64(c[i])-mc
		yc += a * b
		cc += b * b
	}
	scale := yc / cc
	var signal, noise float64
	for i := range c {
		target := scale * (float64(c[i]) - mc)
		err := float64(y[i]) - my - target
		signal += target * target
		noise += err * err
	}
	return 10 * math.Log10(signal/noise)
}

func mean(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return s / float64(len(x))
}

// deviation is the standard deviation of x with divisor len(x)-1, or 0 if x has
// fewer than two samples.
func deviation(x []float32) float64 {
	if len(x) < 2 {
		return 0
	}
	m := mean(x)
	var s float64
	for _, v := range x {
		s += (float64(v) - m) * (float64(v) - m)
	}
	return math.Sqrt(s / float64(len(x)-1))
}
