package attention_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkDotProduct measures causal attention of 12 heads of 64 dimensions. It counts
// the multiply-adds that causality leaves, and compares with as many cores that do
// nothing but multiply and add, measured in turn with it.
func BenchmarkDotProduct(b *testing.B) {
	const heads, dim = 12, 64
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, n := range []int{512, 1024, 2048, 4096} {
			for _, procs := range []int{1, 2} {
				b.Run(fmt.Sprintf("L=%d/procs=%d", n, procs), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					r := newRand(1)
					q, k, v := randomSeq(r, 1, n, heads*dim), randomSeq(r, 1, n, heads*dim), randomSeq(r, 1, n, heads*dim)
					dst := tensor.NewSeq(1, n, heads*dim)
					d := attention.DotProduct{Heads: heads}
					flops := 4 * heads * dim * float64(n) * float64(n+1) / 2
					benchShare(b, flops, procs, func() { d.Apply(dst, q, k, v) })
				})
			}
		}
	})
}

// benchShare runs f, which takes so many floating-point operations, in turn with a
// probe of what procs cores can do, and reports the best rate of both and their ratio.
func benchShare(b *testing.B, flops float64, procs int, f func()) {
	b.Helper()
	var best, limit float64
	f()
	for b.Loop() {
		limit = max(limit, float64(procs)*kernel.PeakFMA())
		begin := time.Now()
		f()
		best = max(best, flops/float64(time.Since(begin).Nanoseconds()))
	}
	b.ReportMetric(best, "GFLOP/s")
	if limit > 0 {
		b.ReportMetric(100*best/limit, "%limit")
	}
}
