package attention_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
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
					peak := func() float64 { return float64(procs) * kernel.PeakFMA() }
					benchShare(b, flops, "GFLOP/s", peak, func() { d.Apply(dst, q, k, v) })
				})
			}
		}
	})
}

// BenchmarkDecode measures one position with 2048 keys of 64 dimensions before it, by
// the memory of keys and values, and compares with one core that does nothing but read. So
// many layers take turns, as in a model, that they do not stay in the cache. They are
// narrow, so that their matrices do not count.
func BenchmarkDecode(b *testing.B) {
	const context, dim = 2048, 64
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, kvHeads := range []int{12, 4, 1} {
			for _, procs := range []int{1, 2} {
				b.Run(fmt.Sprintf("kv=%d/procs=%d", kvHeads, procs), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					m := newMultiHead(b, attention.MultiHeadConfig{Dim: 4, Heads: 12, KVHeads: kvHeads, HeadDim: dim, Left: new(context - 1)}, 1)
					seqmix.Pack(m)
					bytes := context * kvHeads * dim * 2 * 4
					layers := make([]*attention.MultiHeadStream, 1<<26/bytes)
					prompt, x := randomSeq(newRand(1), 1, context, 4), randomSeq(newRand(2), 1, 1, 4)
					for i := range layers {
						layers[i] = newStream(b, m, 1)
						layers[i].Mix(prompt, prompt)
					}
					other := make([]float32, 1<<25)
					for i := range other {
						other[i] = 1 // pages that are only read are one page of zeros
					}
					benchShare(b, float64(len(layers)*bytes), "GB/s", func() float64 { return kernel.PeakRead(other) }, func() {
						for _, l := range layers {
							l.Mix(x, x)
						}
					})
				})
			}
		}
	})
}

// BenchmarkMultiHead measures a layer of the size of GPT-2's that reads a prompt, with
// all of its multiply-adds.
func BenchmarkMultiHead(b *testing.B) {
	const n, d = 512, 768
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, procs := range []int{1, 2} {
			b.Run(fmt.Sprintf("procs=%d", procs), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				m := newMultiHead(b, attention.MultiHeadConfig{Dim: d, Heads: 12, RoPE: &attention.RoPEConfig{}}, 1)
				seqmix.Pack(m)
				x := randomSeq(newRand(1), 1, n, d)
				dst := like(x)
				flops := 2*4*n*d*d + 4*d*float64(n)*float64(n+1)/2
				peak := func() float64 { return float64(procs) * kernel.PeakFMA() }
				benchShare(b, flops, "GFLOP/s", peak, func() { m.Mix(dst, x) })
			})
		}
	})
}

// benchShare runs f, which does so much work, in turn with a probe of the machine's
// limit, and reports the best rate of both and their ratio.
func benchShare(b *testing.B, work float64, unit string, probe func() float64, f func()) {
	b.Helper()
	var best, limit float64
	f()
	for b.Loop() {
		limit = max(limit, probe())
		begin := time.Now()
		f()
		best = max(best, work/float64(time.Since(begin).Nanoseconds()))
	}
	b.ReportMetric(best, unit)
	if limit > 0 {
		b.ReportMetric(100*best/limit, "%limit")
	}
}
