package ssm_test

import (
	"fmt"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkLTI computes 256 channels by each of the two faces, and by the one that Mix
// chooses. The impulse responses are there from the beginning.
func BenchmarkLTI(b *testing.B) {
	const dim = 256
	mixers := map[string]ltiMixer{
		"S4D,N=16":  newS4D(b, ssm.S4DConfig{DModel: dim, DState: 16}, 1),
		"S4D,N=64":  newS4D(b, ssm.S4DConfig{DModel: dim, DState: 64}, 1),
		"S4D,N=256": newS4D(b, ssm.S4DConfig{DModel: dim, DState: 256}, 1),
		"S4,N=64":   newS4(b, ssm.S4Config{DModel: dim}, 1), // as it begins: not by its modes
	}
	for _, name := range []string{"S4D,N=16", "S4D,N=64", "S4D,N=256", "S4,N=64"} {
		for _, n := range []int{64, 256, 1024, 4096} {
			for _, face := range []string{"recurrence", "convolution", "mix"} {
				b.Run(fmt.Sprintf("%s/L=%d/%s", name, n, face), func(b *testing.B) {
					m := mixers[name]
					x, y := randomSeq(newRand(1), 1, n, dim), tensor.NewSeq(1, n, dim)
					cputest.BenchEachTier(b, func(b *testing.B) {
						run := func() { ssm.MixBy(face, m, y, x) }
						if face == "mix" {
							run = func() { m.Mix(y, x) }
						}
						run()
						for b.Loop() {
							run()
						}
						b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*dim), "ns/element")
					})
				})
			}
		}
	}
}

// BenchmarkLTIStep decodes one position of 256 channels.
func BenchmarkLTIStep(b *testing.B) {
	const dim = 256
	for name, m := range map[string]seqmix.Streamer{
		"S4D": newS4D(b, ssm.S4DConfig{DModel: dim}, 1),
		"S4":  newS4(b, ssm.S4Config{DModel: dim}, 1),
	} {
		b.Run(name, func(b *testing.B) {
			s, x := newStream[*ssm.LTIStream](b, m, 1), randomSeq(newRand(1), 1, 1, dim)
			y := tensor.NewSeq(1, 1, dim)
			for b.Loop() {
				s.Mix(y, x)
			}
		})
	}
}
