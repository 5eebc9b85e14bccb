package lm_test

import (
	"math"
	"testing"

	"github.com/seqmix/seqmix/lm"
)

// shares returns how often each token is drawn.
func shares(t *testing.T, s lm.Sampler, logits []float32, tokens ...int) []float64 {
	t.Helper()
	const draws = 20000
	counts := make([]float64, len(logits))
	for range draws {
		id, err := s.Sample(logits, tokens)
		if err != nil {
			t.Fatal(err)
		}
		counts[id] += 1.0 / draws
	}
	return counts
}

func TestSampler(t *testing.T) {
	p := []float64{0.4, 0.3, 0.2, 0.1}
	logits := make([]float32, len(p))
	for i, v := range p {
		logits[i] = float32(math.Log(v)) + 5
	}
	normalized := func(w ...float64) []float64 {
		sum := 0.0
		for _, v := range w {
			sum += v
		}
		for i := range w {
			w[i] /= sum
		}
		return w
	}
	for _, c := range []struct {
		name    string
		sampler lm.Sampler
		tokens  []int
		want    []float64
	}{
		{"greedy", lm.Sampler{}, nil, []float64{1, 0, 0, 0}},
		{"temperature 1", lm.Sampler{Temperature: 1}, nil, p},
		{"temperature 1/2", lm.Sampler{Temperature: 0.5}, nil, normalized(0.16, 0.09, 0.04, 0.01)},
		{"top-k", lm.Sampler{Temperature: 1, TopK: 2}, nil, normalized(0.4, 0.3, 0, 0)},
		{"top-p", lm.Sampler{Temperature: 1, TopP: 0.65}, nil, normalized(0.4, 0.3, 0, 0)},
		{"top-p just above", lm.Sampler{Temperature: 1, TopP: 0.71}, nil, normalized(0.4, 0.3, 0.2, 0)},
		{"min-p", lm.Sampler{Temperature: 1, MinP: 0.45}, nil, normalized(0.4, 0.3, 0.2, 0)},
		{"penalty", lm.Sampler{RepetitionPenalty: 2}, []int{0, 0}, []float64{0, 1, 0, 0}},
		{"penalty outside of the window", lm.Sampler{RepetitionPenalty: 2, RepetitionWindow: 1}, []int{0, 3}, []float64{1, 0, 0, 0}},
		{"penalty of a token that is none", lm.Sampler{RepetitionPenalty: 2}, []int{-1, 99}, []float64{1, 0, 0, 0}},
	} {
		got := shares(t, c.sampler, logits, c.tokens...)
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 0.015 {
				t.Errorf("%s: shares %.3f, want %.3f", c.name, got, c.want)
				break
			}
		}
	}
}

func TestSamplerSeed(t *testing.T) {
	logits := make([]float32, 1000)
	draw := func(seed uint64) (ids [5]int) {
		s := lm.Sampler{Temperature: 1, Seed: seed}
		for i := range ids {
			ids[i], _ = s.Sample(logits, nil)
		}
		return ids
	}
	first := draw(1)
	if again := draw(1); again != first {
		t.Errorf("one seed, two results: %v and %v", first, again)
	}
	if draw(2) == first {
		t.Error("two seeds, one result")
	}
}

func TestSamplerErrors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{{}, {1, nan}, {nan, 1}, {1, inf}, {-inf, -inf}} {
		if id, err := (&lm.Sampler{}).Sample(logits, nil); err == nil {
			t.Errorf("%v gave token %d", logits, id)
		}
	}
	// A masked token is none to draw.
	for range 100 {
		if id, err := (&lm.Sampler{Temperature: 10}).Sample([]float32{-inf, 0}, nil); id != 1 || err != nil {
			t.Fatalf("token %d, error %v", id, err)
		}
	}
	for _, s := range []lm.Sampler{{Temperature: -1}, {Temperature: math.NaN()}, {TopK: -1}, {TopP: 1.5}, {MinP: -0.1}, {RepetitionPenalty: -1}, {RepetitionWindow: -1}} {
		if _, err := s.Sample([]float32{1}, nil); err == nil {
			t.Errorf("%+v gave no error", s)
		}
	}
}
