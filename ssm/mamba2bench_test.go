package ssm_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// benchLayer measures a layer of width 768: pieces of several lengths, which a stream
// reads one after the other. It reports what share of the peak of multiply-adds of the
// cores in use it reaches, work being the flops of a position; the products with the
// weights take the part weights of them. For single positions it also reports how the
// time compares to that of reading as many bytes as weights and states have.
func benchLayer(b *testing.B, m seqmix.Streamer, batch, length int, work float64, bytes int) {
	b.Helper()
	seqmix.Pack(m)
	stream, err := m.NewStream(batch)
	if err != nil {
		b.Fatal(err)
	}
	x, y := randomSeq(newRand(1), batch, length, m.Dim()), tensor.NewSeq(batch, length, m.Dim())
	memory := &reader{memory: make([]float32, (bytes/4+readChunk-1)/readChunk*readChunk)}
	var best, peak float64
	bestRead := time.Hour
	for b.Loop() {
		peak = max(peak, kernel.PeakFMA()*float64(runtime.GOMAXPROCS(0)))
		if length == 1 {
			bestRead = min(bestRead, memory.once())
		}
		begin := time.Now()
		stream.Mix(y, x)
		best = max(best, 1/time.Since(begin).Seconds())
	}
	b.ReportMetric(best*float64(length*batch), "tokens/s")
	if length == 1 {
		b.ReportMetric(1/(best*bestRead.Seconds()), "×read")
	}
	if peak > 0 {
		b.ReportMetric(100*best*float64(length*batch)*work*1e-9/peak, "%FMA")
	}
}

// weightWork returns the flops of the products with the weights, for one position, and
// the bytes of all parameters.
func weightWork(m seqmix.Mixer) (flops float64, bytes int) {
	for _, p := range m.Params() {
		bytes += p.Bytes()
		if p.IsWeight() {
			flops += 2 * float64(p.Len())
		}
	}
	return flops, bytes
}

// BenchmarkMamba2 is a layer of mamba2-130m. Four flops for each state are counted,
// which is what the recurrence takes, and those of the products.
func BenchmarkMamba2(b *testing.B) {
	m := newMamba2(b, ssm.Mamba2Config{DModel: 768}, 1)
	flops, bytes := weightWork(m)
	const states = 1536 * 128
	for _, length := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprintf("L=%d", length), func(b *testing.B) {
			benchLayer(b, m, 1, length, flops+4*states, bytes+4*states)
		})
	}
}

// BenchmarkStateSpaceDual is what lies between the projections of such a layer.
func BenchmarkStateSpaceDual(b *testing.B) {
	const h, p, n = 24, 64, 128
	r := newRand(1)
	for _, length := range []int{1, 16, 64, 128, 1024} {
		b.Run(fmt.Sprintf("L=%d", length), func(b *testing.B) {
			src, dst := randomSeq(r, 1, length, h*p), tensor.NewSeq(1, length, h*p)
			s := ssm.SSD{
				A: tensor.New(h), Delta: randomSeq(r, 1, length, h), DeltaBias: tensor.New(h), Softplus: true,
				B: randomSeq(r, 1, length, n), C: randomSeq(r, 1, length, n), D: tensor.New(h),
			}
			for i := range s.A.Data() {
				s.A.Data()[i] = -float32(1 + 15*r.Float64())
				s.DeltaBias.Data()[i] = -4
			}
			var best, peak float64
			for b.Loop() {
				peak = max(peak, kernel.PeakFMA()*float64(runtime.GOMAXPROCS(0)))
				begin := time.Now()
				ssm.StateSpaceDual(dst, src, s)
				best = max(best, 1/time.Since(begin).Seconds())
			}
			b.ReportMetric(1e6/(best*float64(length)), "µs/token")
			if peak > 0 {
				b.ReportMetric(100*best*float64(length*4*h*p*n)*1e-9/peak, "%FMA")
			}
		})
	}
}

// BenchmarkMamba3 is a layer of the public models of 187 million: the recurrence takes
// four flops for each state and rank.
func BenchmarkMamba3(b *testing.B) {
	for name, cfg := range map[string]ssm.Mamba3Config{"SISO": {DModel: 768}, "MIMO": {DModel: 768, MIMO: true}} {
		m := newMamba3(b, cfg, 1)
		flops, bytes := weightWork(m)
		const states = 1536 * 128
		work := flops + 4*states
		if cfg.MIMO {
			work += 3 * 4 * states
		}
		for _, length := range []int{1, 16, 128, 1024} {
			b.Run(fmt.Sprintf("%s/L=%d", name, length), func(b *testing.B) {
				benchLayer(b, m, 1, length, work, bytes+4*states)
			})
		}
	}
}
