package monarch_test

import (
	"fmt"
	"math"
	"math/cmplx"
	"testing"

	"github.com/seqmix/seqmix/monarch"
)

func naiveDFT(x []complex128, sign float64) []complex128 {
	n := len(x)
	y := make([]complex128, n)
	for f := range y {
		for t, v := range x {
			y[f] += v * cmplx.Exp(complex(0, sign*2*math.Pi*float64(f*t%n)/float64(n)))
		}
	}
	return y
}

func TestDFT(t *testing.T) {
	for _, dims := range [][]int{{4, 4}, {3, 5}, {5, 3}, {6, 7}, {7, 6}, {36}, {14, 14}, {16, 32}, {2, 3, 4, 5}, {2, 2, 2, 2, 2, 2}, {1, 9}, {8, 8, 8}, {1}} {
		forward, err := monarch.DFT(dims...)
		if err != nil {
			t.Fatal(err)
		}
		inverse, err := monarch.InverseDFT(dims...)
		if err != nil {
			t.Fatal(err)
		}
		n := forward.In()
		x := randomMat(newRand(1), 2, 2*n)
		got := apply(t, forward, x, 2*n)
		for i := range x.Rows {
			wantClose(t, fmt.Sprint("DFT ", dims), got.Row(i), numbers(naiveDFT(complexes(x.Row(i)), -1)), 2e-6)
		}
		wantClose(t, fmt.Sprint("inverse ", dims), apply(t, inverse, got, 2*n).Data, x.Data, 2e-6)
		// The transform is symmetric, and its adjoint the inverse but for the scale.
		wantClose(t, fmt.Sprint("transpose ", dims), forward.Transpose().Dense().Data(), forward.Dense().Data(), 2e-6)
		scaled := inverse.Dense().Data()
		for i := range scaled {
			scaled[i] *= float32(n)
		}
		wantClose(t, fmt.Sprint("adjoint ", dims), forward.Adjoint().Dense().Data(), scaled, 2e-6)
	}
}

func numbers(z []complex128) []float64 {
	var v []float64
	for _, c := range z {
		v = append(v, real(c), imag(c))
	}
	return v
}
