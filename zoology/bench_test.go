package zoology

import (
	"testing"

	"github.com/seqmix/seqmix/train"
)

// BenchmarkStep measures a step of training in the setting a3, of 64 sequences of 64
// tokens with the average number of labels.
func BenchmarkStep(b *testing.B) {
	for _, c := range []Contender{Attention(), Sliding(32), Based(16), Based(8), ELU(64), BaseConv(), Mamba(16), Hyena()} {
		b.Run(c.Name, func(b *testing.B) {
			s := Ordering()
			t := Trial{s, c, 1}
			m, err := t.NewModel()
			if err != nil {
				b.Fatal(err)
			}
			batch, err := s.Batch(1, 1)
			if err != nil {
				b.Fatal(err)
			}
			run, err := train.NewRun(m, train.Config{
				Steps: b.N,
				Batch: func(int) ([]train.Batch, error) { return []train.Batch{batch}, nil },
				Rate:  func(int) float64 { return 1e-3 },
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := run.Run(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(batch.IDs)*b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
