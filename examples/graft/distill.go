package main

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// mixerParams yields the parameters of the mixers of some blocks.
func mixerParams(m *lm.Model, layers []int) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, i := range layers {
			for name, p := range residual(m, i).Mixer.Params() {
				if !yield(fmt.Sprintf("%d.%s", i, name), p) {
					return
				}
			}
		}
	}
}

// isConstant reports whether a parameter is one of Hyena's that do not learn: the positions
// that filters are made of, and their windows.
func isConstant(name string) bool {
	return strings.Contains(name, "pos_emb.") || strings.Contains(name, "modulation.")
}

// distill teaches each new mixer, on its own, to do what the one in its place in the teacher
// does with the inputs that it has there. The loss is the mean square of the difference over
// that of what is to be.
func (g *grafter) distill(ctx context.Context) error {
	params := mixerParams(g.student, g.layers)
	adamw, err := train.NewAdamW(train.AdamWConfig{Beta2: 0.99}, params)
	if err != nil {
		return err
	}
	rate := train.WarmupCosine(0, g.distillRate, g.distillRate/20, g.options.distill/20, g.options.distill)
	s := newShards(params, isConstant)
	learn := func(step int) (float64, error) {
		b := g.tokens.Batch(g.seed+1, step, g.batch, g.length)
		loss, grads, err := s.run(b.Size(), func(lo, hi int, grads seqmix.Grads) (float64, error) {
			return imitate(g.student, g.teacher, g.layers, b.IDs[lo*b.Len:hi*b.Len], b.Len, grads)
		})
		if err != nil {
			return 0, err
		}
		train.Clip(grads, train.Norm(grads, params), 1)
		adamw.Step(grads, rate(step))
		return loss / float64(min(b.Size(), maxShards)), nil
	}
	return g.learn(ctx, part{distillation, "of the outputs unexplained", adamw, g.options.distill, learn})
}

// imitate adds the gradients of how far the new mixers are from the old ones on some
// sequences, relative to the size of what these make, and returns the mean of that.
func imitate(student, teacher *lm.Model, layers, ids []int, length int, grads seqmix.Grads) (float64, error) {
	sites, err := observe(teacher, ids, length, layers)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, i := range layers {
		in, want := sites[i].in, sites[i].out
		y := tensor.NewSeq(in.Batch, in.Len, in.Dim)
		tape, err := seqmix.Record(residual(student, i).Mixer, y, in)
		if err != nil {
			return 0, err
		}
		size := float64(tensor.SumSquares(want.Data)) / float64(len(want.Data))
		loss := train.MeanSquare(y.Data, y.Data, want.Data) / size
		if math.IsNaN(loss) {
			return 0, fmt.Errorf("block %d: the distillation diverged; try a smaller -distill-lr", i)
		}
		tensor.Scale(y.Data, float32(1/size), y.Data)
		tape.Backward(y, y, grads)
		sum += loss / float64(len(layers))
	}
	return sum, nil
}
