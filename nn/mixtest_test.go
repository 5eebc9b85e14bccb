package nn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/mixtest"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 8)) }

// layers returns layers with random parameters and odd sizes.
func layers(t *testing.T) map[string]seqmix.Mixer {
	r := newRand()
	m := map[string]seqmix.Mixer{}
	for _, dim := range []int{1, 5, 48, 67} {
		name := func(s string, what ...any) string { return fmt.Sprint(s, " ", len(m), what) }
		for _, bias := range []bool{false, true} {
			l := NewLinear(dim, dim, bias)
			l.Init(r)
			m[name("Linear")] = l
		}
		for _, act := range []Activation{SiLU, GELU, GELUTanh, ReLU, Sigmoid, Tanh, Identity} {
			mlp, err := NewMLP(MLPConfig{Dim: dim, Hidden: dim + 3, Activation: act, Bias: act%2 == 0})
			if err != nil {
				t.Fatal(err)
			}
			mlp.Init(r)
			m[name("MLP")] = mlp
			for layout := range gluLayouts {
				if dim != 5 && layout != GLULayout(act)%gluLayouts {
					continue
				}
				glu, err := NewGLU(GLUConfig{Dim: dim, Hidden: dim + 2, Activation: act, Bias: layout == W1W2W3, Layout: layout})
				if err != nil {
					t.Fatal(err)
				}
				glu.Init(r)
				m[name("GLU")] = glu
			}
			for taps := 1; taps <= 5; taps++ {
				conv := NewCausalConv1D(dim, taps, taps%2 == 0, act)
				conv.Init(r)
				m[name("CausalConv1D", dim, taps, act)] = conv
			}
		}
		if dim == 1 {
			continue // a norm of one element is its sign
		}
		rms := NewRMSNorm(dim, 1e-5)
		Uniform(rms.Weight, r, 2)
		m[name("RMSNorm")] = rms
		outside := NewRMSNorm(dim, 0.3)
		outside.Outside = true
		Uniform(outside.Weight, r, 2)
		m[name("RMSNorm outside")] = outside
		plain := NewRMSNorm(dim, 1e-5)
		plain.Weight = nil
		m[name("RMSNorm without weight")] = plain
		layer := NewLayerNorm(dim, 1e-5)
		Uniform(layer.Weight, r, 2)
		Uniform(layer.Bias, r, 1)
		m[name("LayerNorm")] = layer
		plainLayer := NewLayerNorm(dim, 1e-5)
		plainLayer.Weight, plainLayer.Bias = nil, nil
		m[name("LayerNorm without weight")] = plainLayer
	}
	for _, dim := range []int{256, 300, 513} {
		conv := NewCausalConv1D(dim, 4, true, SiLU)
		conv.Init(r)
		m[fmt.Sprintf("wide CausalConv1D %d", dim)] = conv
	}
	return m
}

func TestContract(t *testing.T) {
	for name, m := range layers(t) {
		t.Run(name, func(t *testing.T) {
			if err := mixtest.Test(m, mixtest.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
}
