package based_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// usefulWork returns the floating-point operations that a sequence of n positions needs
// for each head of f and d elements in the chunked form: two products with the sums of
// the d values and the weights, of the packed features, and the keys and values of half a
// chunk of 64.
func usefulWork(n, f, d int) float64 {
	features := 1 + f + f*(f+1)/2
	if n <= 512 { // the quadratic form needs less
		return float64(n) * float64(n+1) * float64(f+d+1)
	}
	return float64(n) * float64(4*features*(d+1)+64*(f+d+1))
}

// bestOf runs f in turn with a probe of the machine and reports the best rate of both.
// The best of many is what the machine does when nobody disturbs it.
func bestOf(b *testing.B, work float64, threads int, f func()) {
	b.Helper()
	var best time.Duration
	var peak float64
	f()
	for b.Loop() {
		peak = max(peak, kernel.PeakFMA())
		begin := time.Now()
		f()
		if t := time.Since(begin); best == 0 || t < best {
			best = t
		}
	}
	rate := work / float64(best.Nanoseconds())
	b.ReportMetric(float64(best.Microseconds())/1000, "best-ms")
	b.ReportMetric(rate, "GFLOP/s")
	if peak > 0 {
		b.ReportMetric(100*rate/peak/float64(threads), "%peak")
	}
}

// BenchmarkAttention measures Taylor attention of 12 heads of 16 and 64 elements, without
// projections: the shape of the comparison with PyTorch.
func BenchmarkAttention(b *testing.B) {
	const heads, f, d = 12, 16, 64
	a := based.Attention{Heads: heads}
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, n := range []int{512, 2048, 8192} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("L=%d/threads=%d", n, threads), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
					r := newRand(1)
					q, k := randomSeq(r, 1, n, heads*f), randomSeq(r, 1, n, heads*f)
					v := randomSeq(r, 1, n, heads*d)
					dst := like(v)
					bestOf(b, heads*usefulWork(n, f, d), threads, func() { a.Apply(dst, q, k, v) })
				})
			}
		}
	})
}

// BenchmarkAttentionDecode measures one position after many.
func BenchmarkAttentionDecode(b *testing.B) {
	const heads, f, d = 12, 16, 64
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
				r := newRand(1)
				q, k, v := randomSeq(r, 1, 640, heads*f), randomSeq(r, 1, 640, heads*f), randomSeq(r, 1, 640, heads*d)
				dst := like(v)
				s, err := based.Attention{Heads: heads}.NewState(1, f, d)
				if err != nil {
					b.Fatal(err)
				}
				s.Apply(dst, q, k, v)
				// 64 tokens include one addition to the sums.
				bestOf(b, 64*heads*float64(4*153*(d+1)+64*(f+d+1)), threads, func() {
					for i := range 64 {
						s.Apply(dst.Slice(i, i+1), q.Slice(i, i+1), k.Slice(i, i+1), v.Slice(i, i+1))
					}
				})
			})
		}
	})
}

// BenchmarkMixers measures the layers of based-360m, as prompts and token by token.
func BenchmarkMixers(b *testing.B) {
	const d = 1024
	linear, gated := linearAttention(b, based.LinearAttentionConfig{DModel: d}, 1), gatedConv(b, based.GatedConvConfig{DModel: d}, 2)
	const threads = 1
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	for name, m := range map[string]struct {
		seqmix.Streamer
		work float64 // of a position
	}{
		"LinearAttention": {linear, 2*d*(256+256+1024+1024) + 16*(4*153*65+64*81)},
		"GatedConv":       {gated, 2 * d * (4*d + 2*d)},
	} {
		seqmix.Pack(m)
		for _, n := range []int{1, 512, 2048} {
			b.Run(fmt.Sprintf("%s/L=%d", name, n), func(b *testing.B) {
				src := randomSeq(newRand(3), 1, n, d)
				dst := tensor.NewSeq(1, n, d)
				s := newStream[seqmix.Stream](b, m, 1)
				bestOf(b, float64(n)*m.work, threads, func() { s.Mix(dst, src) })
			})
		}
	}
}
