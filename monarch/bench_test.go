package monarch_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// bestOf calls each of the functions in turn and reports the shortest time of each, in
// nanoseconds: what the machine does when nobody disturbs it.
func bestOf(b *testing.B, fs ...func()) []float64 {
	b.Helper()
	best := make([]float64, len(fs))
	for i := range best {
		fs[i]()
		best[i] = 1e18
	}
	for b.Loop() {
		for i, f := range fs {
			begin := time.Now()
			f()
			best[i] = min(best[i], float64(time.Since(begin).Nanoseconds()))
		}
	}
	return best
}

// BenchmarkMatrix multiplies by square Monarch matrices, and reports the rate, its share
// of what the multiply-add units can do, and how many times as fast it is as the product
// with a dense matrix.
func BenchmarkMatrix(b *testing.B) {
	for _, n := range []int{1024, 4096} {
		for _, batch := range []int{1, 512} {
			for _, procs := range []int{1, 2} {
				b.Run(fmt.Sprintf("n=%d/batch=%d/procs=%d", n, batch, procs), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					benchMatrix(b, n, batch, float64(procs))
				})
			}
		}
	}
}

func benchMatrix(b *testing.B, n, batch int, procs float64) {
	r := newRand(1)
	m := randomMatrix(b, r, monarch.SquareShape(n))
	dense := tensor.NewWeight(n, n)
	dense.Pack()
	src, dst := randomMat(r, batch, n), randomMat(r, batch, n)
	peak := 0.0
	best := bestOf(b,
		func() { m.Apply(dst, src) },
		func() { tensor.MatMulT(dst, src, dense) },
		func() { peak = max(peak, kernel.PeakFMA()) },
	)
	work := 2 * float64(m.Parameters()) * float64(batch)
	rate := work / best[0]
	b.ReportMetric(best[0]/1e6, "ms")
	b.ReportMetric(rate, "GFLOP/s")
	b.ReportMetric(100*rate/(peak*procs), "%peak")
	b.ReportMetric(best[1]/best[0], "×dense")
}
