package zoology

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func testSource(seed uint64) Source { return Rand(rand.New(rand.NewPCG(seed, 1))) }

// TestDistinct draws sets, small ones and large, and counts what occurs.
func TestDistinct(t *testing.T) {
	src := testSource(1)
	for _, k := range []int{1, 3, 7, 10} {
		const n, rounds = 10, 20_000
		first := make([]int, n)
		for range rounds {
			row := make([]int, k)
			src.Distinct(row, n)
			first[row[0]]++
			slices.Sort(row)
			if len(slices.Compact(row)) != k || row[0] < 0 || row[len(row)-1] >= n {
				t.Fatalf("%d of %d: %v", k, n, row)
			}
		}
		for v, c := range first {
			if math.Abs(float64(c)-rounds/n) > 5*math.Sqrt(rounds/n) {
				t.Errorf("%d of %d begin with %d in %d of %d rounds", k, n, v, c, rounds)
			}
		}
	}
}

// TestWeighted compares the frequencies of the first two draws with their laws: p, and the
// law of drawing from those left.
func TestWeighted(t *testing.T) {
	src := testSource(2)
	law := powerLaw(6, 0.01)
	const rounds = 50_000
	first, second := make([]float64, 6), make([]float64, 6)
	for range rounds {
		row := make([]int, 6)
		weighted(row, slices.Clone(law), src)
		first[row[0]] += 1.0 / rounds
		second[row[1]] += 1.0 / rounds
		slices.Sort(row)
		if !slices.Equal(row, []int{0, 1, 2, 3, 4, 5}) {
			t.Fatalf("drew %v", row)
		}
	}
	for g := range law {
		want := 0.0
		for other := range law {
			if other != g {
				want += law[other] * law[g] / (1 - law[other])
			}
		}
		if math.Abs(first[g]-law[g]) > 0.01 || math.Abs(second[g]-want) > 0.01 {
			t.Errorf("slot %d: first with %.3f, want %.3f; second with %.3f, want %.3f", g, first[g], law[g], second[g], want)
		}
	}
}

func TestPowerLaw(t *testing.T) {
	for _, n := range []int{1, 7, 8, 100, 129, 1000} {
		sum := 0.0
		for g, p := range powerLaw(n, 0.01) {
			sum += p
			if want := powerLaw(n, 0.01)[0] * math.Pow(float64(g+1), -0.99); math.Abs(p-want) > 1e-15 {
				t.Errorf("slot %d of %d: %v, want %v", g, n, p, want)
			}
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("%d slots add up to %v", n, sum)
		}
	}
}
