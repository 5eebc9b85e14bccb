package nn

import (
	"fmt"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// naiveConv is the definition in float64.
func naiveConv(c *CausalConv1D, src tensor.Seq) tensor.Seq {
	dst := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	w, taps := c.Weight.Data(), c.Taps()
	for b := range src.Batch {
		for t := range src.Len {
			for ch := range src.Dim {
				var sum float64
				if c.Bias != nil {
					sum = float64(c.Bias.Data()[ch])
				}
				for k := range taps {
					if p := t - taps + 1 + k; p >= 0 {
						sum += float64(w[ch*taps+k]) * float64(src.At(b, p)[ch])
					}
				}
				dst.At(b, t)[ch] = float32(reference(c.Activation, sum))
			}
		}
	}
	return dst
}

func TestConvDefinition(t *testing.T) {
	r := newRand()
	for _, act := range allActivations {
		for taps := 1; taps <= 7; taps++ {
			for _, size := range []struct{ batch, length, dim int }{{1, 1, 1}, {2, 3, 5}, {3, 40, 17}, {2, 70, 300}} {
				c := NewCausalConv1D(size.dim, taps, taps%2 == 1, act)
				c.Init(r)
				src := randomSeq(r, size.batch, size.length, size.dim)
				want, dst := naiveConv(c, src), strided(src)
				c.Mix(dst, dst)
				for b := range src.Batch {
					if !near(dst.Sequence(b).Data, want.Sequence(b).Data, 2e-6) {
						t.Errorf("%v, %d taps, %v: sequence %d differs from the definition", act, taps, size, b)
					}
				}
			}
		}
	}
}

// TestConvSeesParameters tests when a stream takes over the parameters: when it is
// made and when it is reset.
func TestConvSeesParameters(t *testing.T) {
	c := NewCausalConv1D(1, 2, false, Identity)
	c.Weight.SetFloat32s([]float32{1, 1})
	s, err := c.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	next := func() float32 {
		x := tensor.SeqOf([]float32{1}, 1, 1, 1)
		s.Mix(x, x)
		return x.Data[0]
	}
	got := []float32{next(), next()}
	c.Weight.SetFloat32s([]float32{10, 10})
	got = append(got, next())
	s = s.Clone()
	got = append(got, next())
	s.Reset()
	got = append(got, next(), next())
	if text := fmt.Sprint(got); text != "[1 2 2 2 10 20]" {
		t.Errorf("outputs %s, want [1 2 2 2 10 20]", text)
	}
}

func TestConvShapes(t *testing.T) {
	mustShapePanic(t, "no taps", func() { NewCausalConv1D(3, 0, false, SiLU) })
	mustShapePanic(t, "negative channels", func() { NewCausalConv1D(-3, 4, false, SiLU) })
	c := NewCausalConv1D(3, 4, false, SiLU)
	x, long := tensor.NewSeq(1, 5, 3), tensor.NewSeq(1, 6, 3)
	mustShapePanic(t, "Backward", func() { c.Backward(x, long, x, nil) })
	mustShapePanic(t, "Backward", func() { c.Backward(long, x, x, nil) })
	mustShapePanic(t, "Backward", func() { c.Backward(long, long, x, nil) })
}
