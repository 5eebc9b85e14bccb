package nn

import (
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

func TestEmbeddingLookup(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4} {
		for _, packed := range []bool{false, true} {
			e := NewEmbedding(50, 6)
			e.Init(newRand(), 0.02)
			e.Weight.Convert(d)
			table := slices.Clone(e.Weight.Float32s())
			if packed {
				e.Weight.Pack()
			}
			ids := []int{0, 49, 7, 7, 33, 1}
			dst := strided(tensor.NewSeq(2, 3, 6))
			if err := e.Lookup(dst, ids); err != nil {
				t.Fatal(err)
			}
			for i, id := range ids {
				if got, want := dst.At(i/3, i%3), table[id*6:(id+1)*6]; !slices.Equal(got, want) {
					t.Errorf("%v: token %d is %v, want %v", e.Weight, id, got, want)
				}
			}
		}
	}
}

func TestEmbeddingErrors(t *testing.T) {
	e := NewEmbedding(5, 2)
	e.Init(newRand(), 1)
	dst := tensor.NewSeq(1, 3, 2)
	for _, ids := range [][]int{{0, 1, 5}, {0, -1, 2}} {
		err := e.Lookup(dst, ids)
		if err == nil || !strings.Contains(err.Error(), "vocabulary of 5") {
			t.Errorf("tokens %v: error %v", ids, err)
		}
		if slices.ContainsFunc(dst.Data, func(v float32) bool { return v != 0 }) {
			t.Errorf("tokens %v: an error, but dst has changed", ids)
		}
	}
	if err := e.Lookup(tensor.NewSeq(2, 0, 2), nil); err != nil {
		t.Errorf("no tokens: %v", err)
	}
	mustShapePanic(t, "fewer tokens than positions", func() { e.Lookup(dst, []int{1, 2}) })
	mustShapePanic(t, "another width", func() { e.Lookup(tensor.NewSeq(1, 3, 3), []int{1, 2, 3}) })
	mustShapePanic(t, "Backward", func() { e.Backward(dst, []int{1, 2}, nil) })
}

func TestEmbeddingGradient(t *testing.T) {
	e := NewEmbedding(4, 2)
	grads := gradsOf(e.Weight)
	ddst := tensor.SeqOf([]float32{1, 2, 10, 20, 100, 200}, 1, 3, 2)
	e.Backward(ddst, []int{3, 1, 3}, grads)
	if want := []float32{0, 0, 10, 20, 0, 0, 101, 202}; !slices.Equal(grads.Of(e.Weight), want) {
		t.Errorf("gradient %v, want %v", grads.Of(e.Weight), want)
	}
	e.Backward(ddst, []int{3, 1, 3}, nil) // frozen
	if head := e.Head(); head.Weight != e.Weight || head.Out() != 4 || head.In() != 2 {
		t.Error("the head is not tied to the table")
	}
}
