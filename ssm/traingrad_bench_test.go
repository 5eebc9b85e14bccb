package ssm_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/ssm"
)

// benchmarkTraining records m and takes the gradient back. It reports the share of the
// processor's peak that the multiply-adds of the weights are: one on the way forth for
// each, two on the way back.
func benchmarkTraining(b *testing.B, m seqmix.Trainer, batch, length int) {
	src := randomSeq(newRand(1), batch, length, m.Dim())
	dst, grads := like(src), seqmix.NewGrads(m)
	weights := 0
	for _, p := range m.Params() {
		if p.IsWeight() {
			weights += p.Len()
		}
	}
	var peak float64
	b.ReportAllocs()
	for b.Loop() {
		peak = max(peak, kernel.PeakFMA())
		tape, err := m.Record(dst, src)
		if err != nil {
			b.Fatal(err)
		}
		tape.Backward(dst, dst, grads)
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	positions := float64(batch * length)
	b.ReportMetric(positions/seconds, "tokens/s")
	b.ReportMetric(100*6*float64(weights)*positions/seconds/(1e9*peak*float64(runtime.GOMAXPROCS(0))), "%peak")
}

func BenchmarkMambaTraining(b *testing.B) {
	for _, s := range []struct{ dim, batch, length int }{{64, 64, 64}, {256, 8, 512}} {
		b.Run(fmt.Sprintf("d=%d/L=%d", s.dim, s.length), func(b *testing.B) {
			benchmarkTraining(b, newMamba(b, ssm.MambaConfig{DModel: s.dim}, 1), s.batch, s.length)
		})
	}
}
