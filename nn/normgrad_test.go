package nn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// TestBackwardAndAdd compares gradients of norms that something is added to on the way with
// those that it is added to afterwards: apart, in place, and of a part of longer sequences.
func TestBackwardAndAdd(t *testing.T) {
	for _, dim := range []int{1, 7, 64, 3000} {
		const batch, length, whole = 3, 45, 50
		r := rand.New(rand.NewPCG(1, uint64(dim)))
		draw := func(length int) tensor.Seq {
			s := tensor.NewSeq(batch, length, dim)
			for i := range s.Data {
				s.Data[i] = float32(r.NormFloat64())
			}
			return s
		}
		for _, part := range []bool{false, true} {
			take := func() tensor.Seq { return draw(length) }
			if part {
				take = func() tensor.Seq { return draw(whole).Slice(3, 3+length) }
			}
			for _, n := range []seqmix.Trainer{NewLayerNorm(dim, 1e-5), NewRMSNorm(dim, 1e-5), &RMSNorm{Eps: 1e-5, dim: dim}} {
				t.Run(fmt.Sprintf("%T/%d/%v", n, dim, part), func(t *testing.T) { testBackwardAndAdd(t, n, take(), take(), take()) })
			}
		}
	}
}

func testBackwardAndAdd(t *testing.T, n seqmix.Trainer, src, ddst, add tensor.Seq) {
	newGrads := func() seqmix.Grads {
		g := seqmix.Grads{}
		for _, p := range n.Params() {
			g[p] = tensor.New(p.Shape()...)
		}
		return g
	}
	clone := func(s tensor.Seq) tensor.Seq {
		s.Data = slices.Clone(s.Data)
		return s
	}
	dst, dsrc := clone(src), clone(src)
	tape, err := n.Record(dst, src)
	if err != nil {
		t.Fatal(err)
	}
	grads := newGrads()
	tape.Backward(dsrc, ddst, grads)
	check := func(what string, got, added tensor.Seq, g seqmix.Grads) {
		t.Helper()
		for b := range got.Batch {
			for i := range got.Len {
				for k, v := range got.At(b, i) {
					if want := added.At(b, i)[k] + dsrc.At(b, i)[k]; v != want {
						t.Fatalf("%s: element %d of position %d of sequence %d is %v, want %v", what, k, i, b, v, want)
					}
				}
			}
		}
		for p, want := range grads {
			if !slices.Equal(g[p].Data(), want.Data()) {
				t.Errorf("%s: the gradient of a parameter differs", what)
			}
		}
	}
	adding := tape.(interface {
		BackwardAndAdd(dsrc, ddst, add tensor.Seq, grads seqmix.Grads)
	})
	out, g := clone(src), newGrads()
	adding.BackwardAndAdd(out, ddst, add, g)
	check("apart", out, add, g)
	out, g = clone(add), newGrads()
	adding.BackwardAndAdd(out, ddst, out, g)
	check("in the place of what is added", out, add, g)
	out, g = clone(ddst), newGrads()
	adding.BackwardAndAdd(out, out, out, g)
	check("all in one place", out, ddst, g)
}
