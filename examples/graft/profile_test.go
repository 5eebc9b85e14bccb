package main

import (
	"math"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/tensor"
	"gonum.org/v1/gonum/mat"
)

// TestWeights has queries of zeros: all keys weigh the same.
func TestWeights(t *testing.T) {
	r := testRand()
	a, in := testAttention(t, r, 0, new(attention.RoPEConfig)), testInputs(r, 1)
	p, err := newProfile(a, in)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for d, w := range p.heads[1].weights {
		want := 0.0
		for i := max(d, testLen/2); i < testLen; i++ {
			want += 1 / float64(i+1) / (testLen / 2)
		}
		if math.Abs(w-want) > 1e-12 {
			t.Errorf("distance %d weighs %v, want %v", d, w, want)
		}
		sum += w
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("all weigh %v", sum)
	}
}

// TestWeightsOfModel checks weights against the mixer itself: with the value 1 for inputs at
// one place only, the result is the weight of that place.
func TestWeightsOfModel(t *testing.T) {
	r := testRand()
	a := testAttention(t, r, 4, new(attention.RoPEConfig))
	in := tensor.NewSeq(1, testLen, testDim)
	for i := range in.Data {
		in.Data[i] = float32(r.NormFloat64())
	}
	const mark = testDim - 1 // an element that values are made of, and nothing else
	w := weightsOf(a)
	for _, name := range []string{"q_proj.weight", "k_proj.weight"} {
		for row := range testDim {
			w[name].Data()[row*testDim+mark] = 0
		}
	}
	for _, name := range []string{"v_proj.weight", "o_proj.weight"} {
		w.fill(name, 0, testDim, 0)
	}
	for h := range testHeads {
		w["v_proj.weight"].Data()[h*testWidth*testDim+mark] = 1
		w["o_proj.weight"].Data()[h*testDim+h*testWidth] = 1
	}
	p, err := newProfile(a, in)
	if err != nil {
		t.Fatal(err)
	}
	sums := make([][testHeads]float64, testLen)
	y := tensor.NewSeq(1, testLen, testDim)
	for j := range testLen {
		for i := range testLen {
			in.At(0, i)[mark] = 0
		}
		in.At(0, j)[mark] = 1
		a.Mix(y, in)
		for i := max(j, testLen/2); i < testLen; i++ {
			for h := range testHeads {
				sums[i-j][h] += float64(y.At(0, i)[h]) / (testLen / 2)
			}
		}
	}
	for d, s := range sums {
		for h, want := range s {
			if got := p.heads[h].weights[d]; math.Abs(got-want) > 1e-6 {
				t.Errorf("head %d: distance %d weighs %v, want %v", h, d, got, want)
			}
		}
	}
}

// TestMeanRotation compares the mean of rotations with rotated queries and keys.
func TestMeanRotation(t *testing.T) {
	r := testRand()
	const width, length = 8, 20
	c := attention.MultiHeadConfig{HeadDim: width, RoPE: new(attention.RoPEConfig)}
	ts, err := newTurns(c, length)
	if err != nil {
		t.Fatal(err)
	}
	rope, err := attention.NewRoPE(*c.RoPE, width)
	if err != nil {
		t.Fatal(err)
	}
	q, k := tensor.NewSeq(1, 1, width), tensor.NewSeq(1, 1, width)
	for i := range width {
		q.Data[i], k.Data[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	weights := make([]float64, length)
	for d := range weights {
		weights[d] = 2 * float64(length-d) / (length * (length + 1))
	}
	want := 0.0
	for d, w := range weights {
		turnedQ, turnedK := tensor.NewSeq(1, 1, width), tensor.NewSeq(1, 1, width)
		rope.Rotate(turnedQ, q, 100)
		rope.Rotate(turnedK, k, 100-d)
		want += w * float64(tensor.Dot(turnedQ.Data, turnedK.Data))
	}
	got := mat.Inner(vector(q.Data), ts.mean(weights), vector(k.Data))
	if math.Abs(got-want) > 1e-5 {
		t.Errorf("product %v, want %v", got, want)
	}
}

func vector(x []float32) *mat.VecDense {
	v := mat.NewVecDense(len(x), nil)
	for i, e := range x {
		v.SetVec(i, float64(e))
	}
	return v
}

// TestFactor checks that all directions together are the form, and that some of them are
// nearer to it than as many others.
func TestFactor(t *testing.T) {
	r := testRand()
	in := testInputs(r, 1)
	root := spread(in, mean(in))
	form := mat.NewDense(testDim, testDim, nil)
	for i := range testDim {
		for j := range testDim {
			form.Set(i, j, r.NormFloat64())
		}
	}
	// off is the mean square of what the factors differ from the form by, over inputs.
	off := func(a, b mat.Matrix) float64 {
		var product, white mat.Dense
		product.Mul(a.T(), b)
		product.Sub(&product, form)
		white.Product(root.T(), &product, root)
		n := mat.Norm(&white, 2)
		return n * n
	}
	a, b, err := factor(form, root, testDim)
	if err != nil {
		t.Fatal(err)
	}
	if d := off(a, b); d > 1e-12 {
		t.Errorf("all directions are off by %v", d)
	}
	const rank = 5
	best, with, err := factor(form, root, rank)
	if err != nil {
		t.Fatal(err)
	}
	nearest := off(best, with)
	for i := range testDim - rank {
		if d := off(a.Slice(i+1, i+1+rank, 0, testDim), b.Slice(i+1, i+1+rank, 0, testDim)); d <= nearest {
			t.Errorf("directions from %d on are off by %v, the first ones by %v", i+1, d, nearest)
		}
	}
	for range 20 {
		moved := mat.DenseCopyOf(best)
		moved.Apply(func(_, _ int, v float64) float64 { return v + 0.01*r.NormFloat64() }, moved)
		if d := off(moved, with); d <= nearest {
			t.Errorf("other factors are off by %v, these by %v", d, nearest)
		}
	}
}
