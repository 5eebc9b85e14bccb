package nn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/mixtest"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 8)) }

// layer is a mixer and what it is.
type layer struct {
	name  string
	mixer seqmix.Mixer
}

// norms returns all kinds of norms with random parameters.
func norms(r *rand.Rand, dim int) []layer {
	rms, outside, plain := NewRMSNorm(dim, 1e-5), NewRMSNorm(dim, 0.3), NewRMSNorm(dim, 1e-5)
	Uniform(rms.Weight, r, 2)
	Uniform(outside.Weight, r, 2)
	outside.Outside = true
	plain.Weight = nil
	full, weight, bare := NewLayerNorm(dim, 1e-5), NewLayerNorm(dim, 1e-5), NewLayerNorm(dim, 1e-5)
	Uniform(full.Weight, r, 2)
	Uniform(full.Bias, r, 1)
	Uniform(weight.Weight, r, 2)
	weight.Bias, bare.Weight, bare.Bias = nil, nil, nil
	return []layer{
		{"RMSNorm", rms}, {"RMSNorm, eps outside", outside}, {"RMSNorm without weight", plain},
		{"LayerNorm", full}, {"LayerNorm without bias", weight}, {"LayerNorm without parameters", bare},
	}
}

// networks returns feed-forward networks and convolutions with random parameters.
func networks(t *testing.T, r *rand.Rand, dim int, act Activation) []layer {
	var list []layer
	mlp, err := NewMLP(MLPConfig{Dim: dim, Hidden: dim + 3, Activation: act, Bias: act%2 == 0})
	if err != nil {
		t.Fatal(err)
	}
	mlp.Init(r)
	list = append(list, layer{fmt.Sprint("MLP ", act), mlp})
	for layout := range gluLayouts {
		glu := newGLU(t, GLUConfig{Dim: dim, Hidden: dim + 2, Activation: act, Bias: layout == W1W2W3, Layout: layout})
		glu.Init(r)
		list = append(list, layer{fmt.Sprintf("GLU %v, layout %d", act, layout), glu})
	}
	for taps := 1; taps <= 5; taps++ {
		conv := NewCausalConv1D(dim, taps, taps%2 == 0, act)
		conv.Init(r)
		list = append(list, layer{fmt.Sprintf("CausalConv1D %v, %d taps", act, taps), conv})
	}
	return list
}

func runContract(t *testing.T, layers []layer, o mixtest.Options) {
	for _, l := range layers {
		t.Run(fmt.Sprintf("%s, width %d", l.name, l.mixer.Dim()), func(t *testing.T) {
			if err := mixtest.Test(l.mixer, o); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContract(t *testing.T) {
	r := newRand()
	var list []layer
	for _, act := range allActivations {
		list = append(list, networks(t, r, 5, act)...)
	}
	for _, dim := range []int{2, 5, 67} {
		list = append(list, norms(r, dim)...)
		linear := NewLinear(dim, dim, dim == 67)
		linear.Init(r)
		list = append(list, layer{"Linear", linear})
	}
	list = append(list, networks(t, r, 1, SiLU)...)
	list = append(list, networks(t, r, 67, GELU)...)
	runContract(t, list, mixtest.Options{})
}

// TestLargeContract does the same with sizes that are split over cores.
func TestLargeContract(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	r := newRand()
	list := append(norms(r, 200)[:4:4], networks(t, r, 40, SiLU)[:2]...)
	for _, dim := range []int{256, 300} {
		conv := NewCausalConv1D(dim, 4, true, GELU)
		conv.Init(r)
		list = append(list, layer{"CausalConv1D", conv})
	}
	linear := NewLinear(150, 150, true)
	linear.Init(r)
	list = append(list, layer{"Linear", linear})
	runContract(t, list, mixtest.Options{Batch: 2, Len: 90})
}
