package nn

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// oneCore restricts a benchmark to one core, which is what the probe measures.
func oneCore(b *testing.B) {
	old := runtime.GOMAXPROCS(1)
	b.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// BenchmarkLongConv convolves sequences of 768 channels on one core, with the spectra
// kept. The operations are those of the textbook count, 10·n·log₂n + 6n for each channel,
// and the share is that in the multiply-add peak measured in turn with it.
func BenchmarkLongConv(b *testing.B) {
	oneCore(b)
	for _, n := range []int{1024, 1026, 4096, 16384} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			const dim = 768
			c := NewLongConv(randomTaps(n, dim, 1))
			x := seededSeq(2, 1, n, dim)
			y := tensor.NewSeq(1, n, dim)
			cputest.BenchEachTier(b, func(b *testing.B) {
				var best, peak float64
				c.Mix(y, x)
				flops := dim * float64(n) * (10*math.Log2(float64(n)) + 6)
				for b.Loop() {
					peak = max(peak, kernel.PeakFMA())
					begin := time.Now()
					c.Mix(y, x)
					best = max(best, flops/float64(time.Since(begin).Nanoseconds()))
				}
				b.ReportMetric(best, "GFLOP/s")
				b.ReportMetric(flops/best/1e6, "best-ms")
				if peak > 0 {
					b.ReportMetric(100*best/peak, "%peak")
				}
			})
		})
	}
}

// BenchmarkLongConvStream computes positions one by one, of 768 channels, up to the given
// number: the cost grows with its logarithm.
func BenchmarkLongConvStream(b *testing.B) {
	oneCore(b)
	for _, n := range []int{1024, 4096, 16384} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			const dim = 768
			s := NewLongConv(randomTaps(n, dim, 1)).StreamUpTo(1, n)
			x := seededSeq(2, 1, 1, dim)
			y := tensor.NewSeq(1, 1, dim)
			for b.Loop() {
				if s.Len() == n {
					s.Reset()
				}
				s.Mix(y, x)
			}
			b.ReportMetric(1e9/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "positions/s")
		})
	}
}
