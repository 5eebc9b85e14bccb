package ssm_test

import (
	"fmt"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/ssm"
)

// BenchmarkSegment measures a segment with states on both sides, there and back, beside
// the same positions on their own: the difference is what the states cost.
func BenchmarkSegment(b *testing.B) {
	const batch, dim = 4, 64
	for name, m := range map[string]seqmix.SegmentTrainer{
		"S4D":   newS4D(b, ssm.S4DConfig{DModel: dim}, 1),
		"S4":    newS4(b, ssm.S4Config{DModel: dim}, 1),
		"Shift": newShift(b, ssm.ShiftConfig{DModel: dim}, 1),
	} {
		for _, length := range []int{16, 256} {
			src := randomSeq(newRand(1), batch, length, dim)
			dst, grads := like(src), seqmix.NewGrads(m)
			b.Run(fmt.Sprintf("%s/%d/alone", name, length), func(b *testing.B) {
				for range b.N {
					tape, _ := m.Record(dst, src)
					tape.Backward(dst, src, grads)
				}
			})
			_, state, err := m.RecordSegment(dst, src, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d/states", name, length), func(b *testing.B) {
				for range b.N {
					tape, _, _ := m.RecordSegment(dst, src, state)
					tape.BackwardSegment(dst, src, state, grads)
				}
			})
		}
	}
}
