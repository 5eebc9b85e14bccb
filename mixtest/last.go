package mixtest

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// checkLast reads sequences of which only the last output is wanted, at the beginning and
// behind other positions, and then goes on with the stream.
func checkLast(t *tester) error {
	for _, c := range [][2]int{{0, t.Len}, {0, 1}, {0, t.half()}, {1, t.half()}, {t.half(), t.Len}, {t.Len / 3, t.Len - 1}} {
		if from, to := c[0], c[1]; from < to {
			if err := t.lastOf(from, to); err != nil {
				return fmt.Errorf("positions %d to %d of %d: %w", from, to-1, t.Len, err)
			}
		}
	}
	s, dim := t.stream(t.Batch), t.src.Dim
	return errors.Join(
		shapePanic("no position", func() { seqmix.MixLast(s, t.random(t.Batch, 1), t.src.Slice(0, 0)) }),
		shapePanic("room for no output", func() { seqmix.MixLast(s, t.random(t.Batch, 0), clone(t.src)) }),
		shapePanic("room for two outputs", func() { seqmix.MixLast(s, t.random(t.Batch, 2), clone(t.src)) }),
		shapePanic("another batch", func() { seqmix.MixLast(s, t.random(t.Batch+1, 1), clone(t.src)) }),
		shapePanic("another batch than the stream has", func() { seqmix.MixLast(s, t.random(t.Batch+1, 1), t.random(t.Batch+1, 3)) }),
		shapePanic("another width", func() {
			seqmix.MixLast(s, tensor.NewSeq(t.Batch, 1, dim+1), tensor.NewSeq(t.Batch, 3, dim+1))
		}),
	)
}

// lastOf checks the last output of some positions, and that the stream then is where it
// would be after all outputs of them.
func (t *tester) lastOf(from, to int) error {
	s := t.stream(t.Batch)
	feed(s, t.src.Slice(0, from), from)
	all := s.Clone()
	feed(all, t.src.Slice(from, to), to-from)

	src, dst := frame(t.src.Slice(from, to), -12345.5), frame(tensor.NewSeq(t.Batch, 1, t.src.Dim), -12345.5)
	seqmix.MixLast(s, dst.Seq, src.Seq)
	rest := t.src.Slice(to, t.Len)
	return errors.Join(
		near(dst.Seq, t.want.Slice(to-1, to), t.Tol),
		explain(dst.intact(), "outside dst"),
		explain(src.intact(), "outside src"),
		explain(near(feed(s, rest, rest.Len), feed(all, rest, rest.Len), t.Tol), "the positions after that"),
	)
}
