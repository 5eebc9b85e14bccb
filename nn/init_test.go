package nn

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

func TestInit(t *testing.T) {
	l := NewLinear(100, 300, true)
	l.Init(newRand())
	checkUniform(t, "weight of Linear", l.Weight, 0.1)
	checkUniform(t, "bias of Linear", l.Bias, 0.1)
	c := NewCausalConv1D(5000, 4, true, SiLU)
	c.Init(newRand())
	checkUniform(t, "weight of CausalConv1D", c.Weight, 0.5)
	checkUniform(t, "bias of CausalConv1D", c.Bias, 0.5)

	e := NewEmbedding(100, 100)
	e.Init(newRand(), 0.02)
	var square, mean float64
	for _, v := range e.Weight.Data() {
		square, mean = square+float64(v)*float64(v), mean+float64(v)
	}
	if d := math.Sqrt(square / 1e4); math.Abs(d-0.02) > 0.0006 || math.Abs(mean/1e4) > 0.0008 {
		t.Errorf("embedding of deviation %v and mean %v, want 0.02 and 0", d, mean/1e4)
	}
	for _, v := range slices.Concat(NewRMSNorm(5, 1).Weight.Data(), NewLayerNorm(5, 1).Weight.Data()) {
		if v != 1 {
			t.Errorf("a norm begins with a weight of %v", v)
		}
	}
}

// checkUniform checks bounds, mean and variance.
func checkUniform(t *testing.T, name string, p *tensor.Tensor, bound float64) {
	t.Helper()
	var sum, square, largest float64
	n := float64(p.Len())
	for _, v := range p.Data() {
		sum, square, largest = sum+float64(v), square+float64(v)*float64(v), max(largest, math.Abs(float64(v)))
	}
	deviation := bound / math.Sqrt(3)
	if largest > bound || largest < 0.95*bound || math.Abs(sum/n) > 5*deviation/math.Sqrt(n) ||
		math.Abs(math.Sqrt(square/n)/deviation-1) > 3/math.Sqrt(n) {
		t.Errorf("%s: largest %v, mean %v, deviation %v; want it even within ±%v", name, largest, sum/n, math.Sqrt(square/n), bound)
	}
}

// TestInitRepeats tests that the same seed gives the same numbers, packed or not.
func TestInitRepeats(t *testing.T) {
	a, b := NewLinear(7, 40, true), NewLinear(7, 40, true)
	b.Weight.Pack()
	a.Init(newRand())
	b.Init(newRand())
	if !slices.Equal(a.Weight.Float32s(), b.Weight.Float32s()) || !slices.Equal(a.Bias.Data(), b.Bias.Data()) {
		t.Error("the same seed gives different parameters")
	}
}
