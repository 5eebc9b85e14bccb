package main

import (
	"fmt"
	"math"
	"testing"
)

func TestConvolver(t *testing.T) {
	var v convolver
	for _, n := range []int{5, 100} {
		if r, err := v.do(fmt.Sprint("conv ", n)); err != nil || r.Seconds <= 0 {
			t.Fatalf("%v s, %v", r.Seconds, err)
		}
		r, err := v.do("logits")
		if err != nil || len(r.Logits) != convChannels {
			t.Fatalf("%d values, %v", len(r.Logits), err)
		}
		want := make([]float64, convChannels)
		for c := range want {
			for i := range n {
				want[c] += float64(convTap(n-1-i, c, n)) * float64(convInput(i, c))
			}
		}
		if d := deviation(r.Logits, want); !(d < 1e-6) {
			t.Errorf("length %d: differs by %g from the sum", n, d)
		}
	}
	for _, bad := range []string{"conv", "conv 0", "decode 1"} {
		if _, err := v.do(bad); err == nil {
			t.Errorf("%q gave no error", bad)
		}
	}
	if d := deviation([]float64{1}, []float64{1, 2}); !math.IsNaN(d) {
		t.Errorf("vectors of different lengths differ by %g", d)
	}
}

// TestConvolutions measures with FFTW, if it is there.
func TestConvolutions(t *testing.T) {
	b := &bench{o: options{threads: 1, rounds: 1}, dir: t.TempDir(), probe: newProber(1, 1<<20)}
	var err error
	if b.fftw, err = findFFTW(b.dir); err != nil {
		t.Log(err)
	}
	results, err := b.convolutions()
	if err != nil {
		t.Fatal(err)
	}
	each := 1
	if b.fftw != nil {
		each = 2
	}
	if len(results) != each*len(convLengths) {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if r.Times.best() <= 0 || r.Version == "" {
			t.Errorf("%+v", r)
		}
	}
}
