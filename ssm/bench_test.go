package ssm_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// newMamba130M returns the layers of a language model of the shape of mamba-130m, with
// random weights.
func newMamba130M(b *testing.B, format tensor.DType) seqmix.Stack {
	b.Helper()
	const layers, dim = 24, 768
	r := newRand(1)
	var s seqmix.Stack
	for range layers {
		m, err := ssm.NewMamba(ssm.MambaConfig{DModel: dim})
		if err != nil {
			b.Fatal(err)
		}
		m.Init(r)
		s = append(s, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: m})
	}
	for _, p := range s.Params() {
		if p.IsWeight() {
			p.Convert(format)
		}
	}
	seqmix.Pack(s)
	return s
}

// BenchmarkMamba130MPrefill reads prompts of 512 tokens, and reports what share of the
// peak of multiply-adds of the cores in use the matrix products alone would be.
func BenchmarkMamba130MPrefill(b *testing.B) {
	const length = 512
	model := newMamba130M(b, tensor.Float32)
	flops := 0.0
	for _, p := range model.Params() {
		if p.IsWeight() {
			flops += 2 * length * float64(p.Len())
		}
	}
	stream, err := model.NewStream(1)
	if err != nil {
		b.Fatal(err)
	}
	x, y := tensor.NewSeq(1, length, model.Dim()), tensor.NewSeq(1, length, model.Dim())
	r := newRand(1)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	var best, peak float64
	for b.Loop() {
		peak = max(peak, kernel.PeakFMA()*float64(runtime.GOMAXPROCS(0)))
		begin := time.Now()
		stream.Reset()
		stream.Mix(y, x)
		best = max(best, 1/time.Since(begin).Seconds())
	}
	b.ReportMetric(best*length, "tokens/s")
	if peak > 0 {
		b.ReportMetric(100*best*flops*1e-9/peak, "%FMA")
	}
}

// BenchmarkMamba130MDecode generates token by token, and reports how the time of a
// token compares to that of reading as many bytes as the weights have.
func BenchmarkMamba130MDecode(b *testing.B) {
	for _, format := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4} {
		b.Run(fmt.Sprintf("weights=%v", format), func(b *testing.B) {
			model := newMamba130M(b, format)
			size := 0
			for _, p := range model.Params() {
				size += p.Bytes()
			}
			stream, err := model.NewStream(1)
			if err != nil {
				b.Fatal(err)
			}
			x := tensor.NewSeq(1, 1, model.Dim())
			read := &reader{memory: make([]float32, size/4)}
			for i := range read.memory {
				read.memory[i] = 1
			}
			bestToken, bestRead := time.Hour, time.Hour
			for b.Loop() {
				bestRead = min(bestRead, read.once())
				begin := time.Now()
				stream.Mix(x, x)
				bestToken = min(bestToken, time.Since(begin))
			}
			b.ReportMetric(1/bestToken.Seconds(), "tokens/s")
			b.ReportMetric(float64(size)/float64(bestToken.Nanoseconds()), "GB/s")
			b.ReportMetric(float64(bestToken)/float64(bestRead), "×read")
		})
	}
}

// A reader reads memory with all cores.
type reader struct{ memory []float32 }

const readChunk = 1 << 16

func (r *reader) once() time.Duration {
	begin := time.Now()
	par.Do(len(r.memory)/readChunk, 1, r)
	return time.Since(begin)
}

// Run reads chunks lo to hi-1.
func (r *reader) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		kernel.PeakRead(r.memory[i*readChunk : (i+1)*readChunk])
	}
}
