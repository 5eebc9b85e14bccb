package based

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// TestPair compares queries and keys that are computed together, and their gradients, with
// those of two layers.
func TestPair(t *testing.T) {
	for _, c := range []struct {
		heads, f int
		paired   bool
	}{{1, 1, true}, {1, 16, true}, {2, 20, true}, {3, 5, true}, {1, 17, false}, {2, 16, false}, {1, 64, false}} {
		t.Run(fmt.Sprintf("%d×%d", c.heads, c.f), func(t *testing.T) {
			m, err := NewLinearAttention(LinearAttentionConfig{DModel: 24, Heads: c.heads, FeatureDim: c.f, HeadDim: 8})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			m.Init(r)
			if m.paired() != c.paired {
				t.Fatalf("paired: %v", m.paired())
			}
			draw := func(dim int) tensor.Seq {
				s := tensor.NewSeq(2, 350, dim)
				for i := range s.Data {
					s.Data[i] = float32(r.NormFloat64())
				}
				return s
			}
			n := c.heads * c.f
			src, q, k, wantQ, wantK := draw(24), draw(n), draw(n), draw(n), draw(n)
			m.pairApply(q, k, src)
			m.q.Apply(wantQ, src)
			m.k.Apply(wantK, src)
			if !slices.Equal(q.Data, wantQ.Data) || !slices.Equal(k.Data, wantK.Data) {
				t.Error("queries or keys have other bits")
			}
			for frozen := range 4 {
				newGrads := func() seqmix.Grads {
					g := seqmix.Grads{}
					for i, w := range []*tensor.Tensor{m.q.Weight, m.k.Weight} {
						if frozen>>i&1 == 0 {
							g[w] = tensor.New(w.Shape()...)
							g[w].Data()[0] = 1 // what is there is added to
						}
					}
					return g
				}
				got, want, dsrc, wantSrc := newGrads(), newGrads(), draw(24), draw(24)
				m.pairBackward(dsrc, q, k, src, got)
				m.q.Backward(wantSrc, q, src, want)
				m.k.BackwardAdd(wantSrc, k, src, want)
				checkClose(t, "dsrc", dsrc.Data, wantSrc.Data)
				for w, g := range want {
					checkClose(t, "dweight", got[w].Data(), g.Data())
				}
			}
		})
	}
}

// checkClose fails unless got is want but for the order of sums.
func checkClose(t *testing.T, what string, got, want []float32) {
	t.Helper()
	var d, size float64
	for i, w := range want {
		d += float64(got[i]-w) * float64(got[i]-w)
		size += float64(w) * float64(w)
	}
	if !(math.Sqrt(d) <= 1e-6*math.Sqrt(size)) {
		t.Errorf("%s is off by %.3g of %.3g", what, math.Sqrt(d), math.Sqrt(size))
	}
}
