package attention_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/tensor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(r.NormFloat64())
	}
	return s
}

// naive computes attention from its definition, in float64.
func naive(d attention.DotProduct, q, k, v tensor.Seq) []float64 {
	kvHeads := d.KVHeads
	if kvHeads == 0 {
		kvHeads = d.Heads
	}
	dim := q.Dim / d.Heads
	out := make([]float64, 0, q.Batch*q.Len*q.Dim)
	for b := range q.Batch {
		for i := range q.Len {
			for h := range d.Heads {
				kv := h / (d.Heads / kvHeads)
				query := q.At(b, i)[h*dim : (h+1)*dim]
				out = append(out, naiveRow(d, query, k, v, b, kv, h, k.Len-q.Len+i)...)
			}
		}
	}
	return out
}

// naiveRow computes one query, at position p, of one head.
func naiveRow(d attention.DotProduct, query []float32, k, v tensor.Seq, b, kv, h, p int) []float64 {
	dim := len(query)
	scale := float64(d.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dim))
	}
	weights, top := map[int]float64{}, math.Inf(-1)
	for j := range k.Len {
		if d.Left != nil && *d.Left >= 0 && j < p-*d.Left || d.Right >= 0 && j > p+d.Right {
			continue
		}
		var s float64
		for c, x := range query {
			s += float64(x) * float64(k.At(b, j)[kv*dim+c])
		}
		s *= scale
		if d.Softcap != 0 {
			s = float64(d.Softcap) * math.Tanh(s/float64(d.Softcap))
		}
		if d.Slopes != nil {
			s -= float64(d.Slopes[h]) * math.Abs(float64(p-j))
		}
		weights[j] = s
		top = max(top, s)
	}
	out, sum := make([]float64, dim), 0.0
	for j, s := range weights {
		w := math.Exp(s - top)
		sum += w
		for c := range out {
			out[c] += w * float64(v.At(b, j)[kv*dim+c])
		}
	}
	for c := range out {
		if sum > 0 {
			out[c] /= sum
		}
	}
	return out
}

// distance returns the largest difference, relative to the largest number wanted.
func distance(got []float32, want []float64) float64 {
	worst, scale := 0.0, 1e-6
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst, scale = max(worst, d), max(scale, math.Abs(w))
	}
	return worst / scale
}

func near(t testing.TB, what string, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	if d := distance(got, want); d > 3e-6 {
		t.Errorf("%s: off by %.2g", what, d)
	}
}
