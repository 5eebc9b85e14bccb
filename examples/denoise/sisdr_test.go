package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSISDR(t *testing.T) {
	// Signals of whole periods are orthogonal and have no mean.
	const n = 4000
	clean, noise := make([]float32, n), make([]float32, n)
	for i := range n {
		clean[i] = float32(math.Sin(2 * math.Pi * 10 * float64(i) / n))
		noise[i] = float32(math.Cos(2 * math.Pi * 37 * float64(i) / n))
	}
	for _, test := range []struct{ clean, noise, mean float32 }{
		{1, 1, 0}, {1, 0.1, 0}, {1, 10, 0}, {0.01, 0.02, 0}, {-3, 1, 0}, {1, 0.5, 7},
	} {
		y := make([]float32, n)
		for i := range y {
			y[i] = test.clean*clean[i] + test.noise*noise[i] + test.mean
		}
		want := 20 * math.Log10(math.Abs(float64(test.clean/test.noise)))
		if got := siSDR(y, clean); math.Abs(got-want) > 1e-3 {
			t.Errorf("%v·clean + %v·noise + %v: %v dB, want %v", test.clean, test.noise, test.mean, got, want)
		}
	}
}

func TestDeviation(t *testing.T) {
	if got, want := deviation([]float32{1, 2, 3, 4, 5}), math.Sqrt(10.0/4); math.Abs(got-want) > 1e-12 {
		t.Errorf("deviation of 1…5 is %v, want %v", got, want)
	}
	if got := deviation([]float32{3}); got != 0 {
		t.Errorf("deviation of one sample is %v, want 0", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 100000)
	for i := range x {
		x[i] = float32(5 + 2*rng.NormFloat64())
	}
	if got := deviation(x); math.Abs(got-2) > 0.02 {
		t.Errorf("deviation is %v, want about 2", got)
	}
}
