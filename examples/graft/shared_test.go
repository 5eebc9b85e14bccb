package main

import (
	"math"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/tensor"
	"gonum.org/v1/gonum/mat"
)

// TestSharedKeys compares the profile of attention whose heads share keys and values, and
// which rotates neighbours, with that of attention that computes the same with a head of
// keys for each of queries, and rotates halves.
func TestSharedKeys(t *testing.T) {
	r := testRand()
	const heads, keys = 4, 2
	const width = testDim / heads
	grouped, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: testDim, Heads: heads, KVHeads: keys, RoPE: &attention.RoPEConfig{Interleaved: true}})
	if err != nil {
		t.Fatal(err)
	}
	grouped.Init(r)
	all, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: testDim, Heads: heads, RoPE: new(attention.RoPEConfig)})
	if err != nil {
		t.Fatal(err)
	}
	from, to := weightsOf(grouped), weightsOf(all)
	copy(to["o_proj.weight"].Data(), from["o_proj.weight"].Data())
	for name, shared := range map[string]bool{"q_proj.weight": false, "k_proj.weight": true, "v_proj.weight": true} {
		for h := range heads {
			head := h
			if shared {
				head = h / (heads / keys)
			}
			for row := range width {
				source := row
				if name != "v_proj.weight" { // the pair (2i, 2i+1) becomes (i, i+width/2)
					source = 2*(row%(width/2)) + row/(width/2)
				}
				copy(to[name].Data()[(h*width+row)*testDim:][:testDim], from[name].Data()[(head*width+source)*testDim:][:testDim])
			}
		}
	}
	in := testInputs(r, 1)
	x, y := tensor.NewSeq(in.Batch, in.Len, in.Dim), tensor.NewSeq(in.Batch, in.Len, in.Dim)
	grouped.Mix(x, in)
	all.Mix(y, in)
	for i, v := range x.Data {
		if math.Abs(float64(v-y.Data[i])) > 1e-5 {
			t.Fatalf("element %d of the outputs is %v and %v", i, v, y.Data[i])
		}
	}
	p, err := newProfile(grouped, in)
	if err != nil {
		t.Fatal(err)
	}
	q, err := newProfile(all, in)
	if err != nil {
		t.Fatal(err)
	}
	if !mat.Equal(p.value, q.value) {
		t.Error("other values")
	}
	for h, head := range p.heads {
		if !mat.EqualApprox(head.form, q.heads[h].form, 1e-9) {
			t.Errorf("head %d: other scores", h)
		}
		for d, w := range head.weights {
			if math.Abs(w-q.heads[h].weights[d]) > 1e-9 {
				t.Errorf("head %d: distance %d has the weight %v, want %v", h, d, w, q.heads[h].weights[d])
			}
		}
	}
}
