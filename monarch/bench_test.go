package monarch_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
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

// BenchmarkMixers reports the time of a position, of a whole sequence and of a stream.
func BenchmarkMixers(b *testing.B) {
	const d, length = 768, 512
	for _, bm := range []struct {
		name  string
		mixer func() (seqmix.Mixer, error)
	}{
		{"Mixer", func() (seqmix.Mixer, error) {
			return initialized(monarch.NewMixer(monarch.MixerConfig{Dim: d, LMax: length}))
		}},
		{"causal Mixer", func() (seqmix.Mixer, error) {
			return initialized(monarch.NewMixer(monarch.MixerConfig{Dim: d, LMax: length, Bidirectional: new(false)}))
		}},
		{"CausalMixer", func() (seqmix.Mixer, error) {
			return initialized(monarch.NewCausalMixer(monarch.CausalConfig{Dim: d, LMax: length}))
		}},
		{"PolynomialMixer", func() (seqmix.Mixer, error) {
			return initialized(monarch.NewPolynomialMixer(monarch.PolynomialConfig{Dim: d, LMax: length}))
		}},
		{"MLP", func() (seqmix.Mixer, error) {
			return initialized(monarch.NewMLP(monarch.MLPConfig{Dim: d, Hidden: 4 * d}))
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			m, err := bm.mixer()
			if err != nil {
				b.Fatal(err)
			}
			seqmix.Pack(m)
			src, dst := randomSeq(1, 1, length, d), tensor.NewSeq(1, length, d)
			whole := bestOf(b, func() { m.Mix(dst, src) })[0]
			b.ReportMetric(whole/1e3/length, "µs/position")
			s, err := seqmix.NewStream(m, 1)
			if err != nil {
				return
			}
			begin := time.Now()
			for t := range length {
				s.Mix(dst.Slice(t, t+1), src.Slice(t, t+1))
			}
			b.ReportMetric(float64(time.Since(begin).Microseconds())/length, "µs/streamed")
		})
	}
}

// initialized draws the parameters of a mixer.
func initialized[M interface {
	seqmix.Mixer
	Init(*rand.Rand)
}](m M, err error) (seqmix.Mixer, error) {
	if err != nil {
		return nil, err
	}
	m.Init(newRand(1))
	return m, nil
}
