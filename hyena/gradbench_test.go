package hyena

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkGradient measures Record and Backward beside Mix, in turn, with new parameters
// each time as in training. The best times of either give times-Mix, how many times as long
// the gradients take.
func BenchmarkGradient(b *testing.B) {
	for _, n := range []int{1024, 4096, 16384} {
		m := newHyena(b, Config{DModel: 128, LMax: n, EmbDim: 5}, 1)
		striped := newBenchStriped(b)
		b.Run(fmt.Sprintf("Hyena/n=%d", n), func(b *testing.B) {
			benchGradient(b, m, n, func() { tensor.Scale(m.d.Data(), 1.0001, m.d.Data()) })
		})
		b.Run(fmt.Sprintf("Striped/n=%d", n), func(b *testing.B) { benchGradient(b, striped, n, func() {}) })
	}
}

func newBenchStriped(b *testing.B) *Striped {
	m, err := NewStriped(StripedConfig{CascadeConfig: CascadeConfig{Dim: 128}})
	if err != nil {
		b.Fatal(err)
	}
	m.Init(newRand(3))
	return m
}

func benchGradient(b *testing.B, m seqmix.Trainer, n int, step func()) {
	x := randomSeq(newRand(2), 1, n, m.Dim())
	y, dx, grads := like(x), like(x), seqmix.NewGrads(m)
	mix, train := math.Inf(1), math.Inf(1)
	for b.Loop() {
		step()
		begin := time.Now()
		m.Mix(y, x)
		mix = min(mix, time.Since(begin).Seconds())
		step()
		begin = time.Now()
		tape, err := m.Record(y, x)
		if err != nil {
			b.Fatal(err)
		}
		tape.Backward(dx, y, grads)
		train = min(train, time.Since(begin).Seconds())
	}
	b.ReportMetric(train/mix, "times-Mix")
	b.ReportMetric(mix*1e3, "ms-Mix")
}
