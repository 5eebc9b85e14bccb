package monarch_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }

func randomize(r *rand.Rand, t *tensor.Tensor, scale float64) *tensor.Tensor {
	v := make([]float32, t.Len())
	for i := range v {
		v[i] = float32(r.NormFloat64() * scale)
	}
	t.SetFloat32s(v)
	return t
}

func randomMat(r *rand.Rand, rows, cols int) tensor.Mat {
	m := tensor.MatOf(make([]float32, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// randomFactors returns factors whose products are about as large as what they are
// multiplied by.
func randomFactors(r *rand.Rand, s monarch.Shape) (w1, w2 *tensor.Tensor) {
	w1 = randomize(r, tensor.New(s.K, s.Q, s.P), 1/math.Sqrt(float64(s.P)))
	w2 = randomize(r, tensor.New(s.L, s.S, s.R), 1/math.Sqrt(float64(s.R)))
	return w1, w2
}

func randomMatrix(t testing.TB, r *rand.Rand, s monarch.Shape) *monarch.Matrix {
	t.Helper()
	m, err := monarch.New(randomFactors(r, s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
