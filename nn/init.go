package nn

import (
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/tensor"
)

// Uniform fills t with numbers drawn evenly from [-bound, bound), in row-major order.
func Uniform(t *tensor.Tensor, r *rand.Rand, bound float64) {
	values := make([]float32, t.Len())
	for i := range values {
		values[i] = float32((2*r.Float64() - 1) * bound)
	}
	t.SetFloat32s(values)
}

// Normal fills t with numbers drawn from a normal distribution of mean 0 and the
// given standard deviation, in row-major order.
func Normal(t *tensor.Tensor, r *rand.Rand, deviation float64) {
	values := make([]float32, t.Len())
	for i := range values {
		values[i] = float32(r.NormFloat64() * deviation)
	}
	t.SetFloat32s(values)
}

// Fill sets all elements of t to v.
func Fill(t *tensor.Tensor, v float32) {
	values := make([]float32, t.Len())
	for i := range values {
		values[i] = v
	}
	t.SetFloat32s(values)
}

// initFanIn draws weight and bias, which may be nil, evenly from ±1/√fanIn. This
// is what PyTorch's reset_parameters comes to for linear layers and convolutions
// (kaiming_uniform_ with a = √5).
func initFanIn(r *rand.Rand, weight, bias *tensor.Tensor, fanIn int) {
	bound := 1 / math.Sqrt(float64(max(fanIn, 1)))
	Uniform(weight, r, bound)
	if bias != nil {
		Uniform(bias, r, bound)
	}
}
