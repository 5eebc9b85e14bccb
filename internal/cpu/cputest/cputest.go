// Package cputest runs tests and benchmarks once per CPU tier.
package cputest

import (
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
)

// ForEachTier runs f as a subtest named after the tier, once for every tier this
// machine and build can run, and puts the tier in use back afterwards. f must not
// call t.Parallel.
func ForEachTier(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for tier := range tiers(t) {
		t.Run(string(tier), f)
	}
}

// BenchEachTier is ForEachTier for benchmarks. The sub-benchmarks are named
// "tier=avx512" and so on, so that benchstat can make a column of them.
func BenchEachTier(b *testing.B, f func(b *testing.B)) {
	b.Helper()
	for tier := range tiers(b) {
		b.Run("tier="+string(tier), f)
	}
}

func tiers(tb testing.TB) func(yield func(cpu.Tier) bool) {
	return func(yield func(cpu.Tier) bool) {
		old := cpu.Active()
		defer use(tb, old)
		for _, tier := range cpu.Available() {
			use(tb, tier)
			if !yield(tier) {
				return
			}
		}
	}
}

func use(tb testing.TB, t cpu.Tier) {
	if err := cpu.Use(t); err != nil {
		tb.Fatal(err)
	}
}
