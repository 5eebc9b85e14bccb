package hyena

import (
	"fmt"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkGradient measures Record and Backward, with new parameters each time as in
// training, beside Mix.
func BenchmarkGradient(b *testing.B) {
	for _, n := range []int{1024, 8192} {
		m := newHyena(b, Config{DModel: 128, LMax: n, EmbDim: 5}, 1)
		x := randomSeq(newRand(2), 1, n, 128)
		y, dx := like(x), like(x)
		step := func() { tensor.Scale(m.d.Data(), 1.0001, m.d.Data()) }
		b.Run(fmt.Sprintf("Mix/n=%d", n), func(b *testing.B) {
			for b.Loop() {
				step()
				m.Mix(y, x)
			}
		})
		b.Run(fmt.Sprintf("Backward/n=%d", n), func(b *testing.B) {
			grads := seqmix.NewGrads(m)
			b.ReportAllocs()
			for b.Loop() {
				step()
				tape, err := m.Record(y, x)
				if err != nil {
					b.Fatal(err)
				}
				tape.Backward(dx, y, grads)
			}
		})
	}
}
