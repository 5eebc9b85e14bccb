package hyena

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// oneCore restricts a benchmark to one core, which is what the probe measures.
func oneCore(b *testing.B) {
	old := runtime.GOMAXPROCS(1)
	b.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// benchShare runs f in turn with a probe of the multiply-add peak, and reports the best
// rate and its share of the best peak.
func benchShare(b *testing.B, flops float64, f func()) {
	b.Helper()
	var best, peak float64
	f()
	for b.Loop() {
		peak = max(peak, kernel.PeakFMA())
		begin := time.Now()
		f()
		best = max(best, flops/float64(time.Since(begin).Nanoseconds()))
	}
	b.ReportMetric(best, "GFLOP/s")
	b.ReportMetric(flops/best/1e6, "best-ms")
	if peak > 0 {
		b.ReportMetric(100*best/peak, "%peak")
	}
}

// BenchmarkHyena computes the whole operator of order 2 and width 768 on one core. The
// operations are those of the projections, which are nearly all, and the textbook count
// of the convolution.
func BenchmarkHyena(b *testing.B) {
	oneCore(b)
	const d = 768
	for _, n := range []int{1024, 4096, 16384} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			m := newHyena(b, Config{DModel: d, LMax: n, EmbDim: 5, W: 10}, 1)
			seqmix.Pack(m)
			src := randomSeq(newRand(2), 1, n, d)
			dst := like(src)
			flops := float64(n) * d * (8*d + 10*math.Log2(float64(n)) + 6)
			benchShare(b, flops, func() { m.Mix(dst, src) })
		})
	}
}

// BenchmarkHyenaDecode computes positions one by one, up to 4096, exactly and with
// filters distilled to 32 poles.
func BenchmarkHyenaDecode(b *testing.B) {
	oneCore(b)
	const d, n = 768, 4096
	m := newHyena(b, Config{DModel: d, LMax: n, EmbDim: 5, W: 10}, 1)
	seqmix.Pack(m)
	fits := make([]ChannelFit, d)
	for c := range fits { // any poles serve
		f := &fits[c].Fit
		for i := range 16 {
			f.Distances = append(f.Distances, complex(-0.001*float64(i+1), 0.01*float64(i)))
			f.Residues = append(f.Residues, 0.1)
		}
	}
	filter, err := newDistilled(fits)
	if err != nil {
		b.Fatal(err)
	}
	short := &Distilled{hyena: m, filters: []*Modal{filter}}
	for name, m := range map[string]seqmix.Mixer{"exact": m, "distilled": short} {
		b.Run(name, func(b *testing.B) {
			s, err := seqmix.NewStream(m, 1)
			if err != nil {
				b.Fatal(err)
			}
			x := randomSeq(newRand(2), 1, 1, d)
			y := like(x)
			for b.Loop() {
				if s.(*Stream).Len() == n {
					s.Reset()
				}
				s.Mix(y, x)
			}
			b.ReportMetric(1e9*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "positions/s")
		})
	}
}

// BenchmarkModal filters 4096 positions of 768 channels on one core with the filters of
// StripedHyena (2 complex states), Evo (8) and Evo 2 (16 real ones), and, to compare,
// with an explicit filter of as many taps.
func BenchmarkModal(b *testing.B) {
	oneCore(b)
	const d, n = 768, 4096
	src := randomSeq(newRand(2), 1, n, d)
	dst := like(src)
	run := func(name string, m seqmix.Mixer) {
		b.Run(name, func(b *testing.B) {
			best := math.Inf(1)
			m.Mix(dst, src)
			for b.Loop() {
				begin := time.Now()
				m.Mix(dst, src)
				best = min(best, float64(time.Since(begin).Nanoseconds()))
			}
			b.ReportMetric(best/1e6, "best-ms")
			b.ReportMetric(best/(d*n), "ns/element")
		})
	}
	run("S=2", newModal(b, ModalConfig{Dim: d}, 1))
	run("S=8", newModal(b, ModalConfig{Dim: d, States: 8}, 1))
	run("S=16,real", newModal(b, ModalConfig{Dim: d, Form: LogPoles}, 1))
	m := newModal(b, ModalConfig{Dim: d}, 1)
	h := tensor.MatOf(make([]float32, n*d), n, d)
	m.Taps(h)
	run("explicit", nn.NewLongConv(h))
}

// BenchmarkFilter makes the taps of the implicit filter of HyenaDNA small-32k.
func BenchmarkFilter(b *testing.B) {
	oneCore(b)
	m := newHyena(b, Config{DModel: 256, LMax: 32770, EmbDim: 5, W: 10}, 1)
	for b.Loop() {
		m.taps(m.cfg.LMax)
	}
}
