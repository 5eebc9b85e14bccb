package main

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// A lesson is what a model learns in the last part.
type lesson struct {
	model   *lm.Model
	teacher *lm.Model              // whose predictions are to be met too; nil for none
	kl      float64                // how much these count; the text counts 1-kl
	frozen  func(name string) bool // nil if all learns
}

// tune lets a model learn from text and from the predictions of a teacher.
func (g *grafter) tune(ctx context.Context, what string, l lesson) error {
	m := l.model
	adamw, err := train.NewAdamW(train.AdamWConfig{Beta2: 0.95, WeightDecay: 0.1, NoDecay: train.DecayMatrices}, m.Params())
	if err != nil {
		return err
	}
	rate := train.WarmupCosine(0, g.rate, g.rate/20, g.steps/20, g.steps)
	s := newShards(m.Params(), func(name string) bool { return isConstant(name) || l.frozen != nil && l.frozen(name) })
	learn := func(step int) (float64, error) {
		b := g.tokens.Batch(g.seed+2, step, g.batch, g.length)
		loss, grads, err := s.run(b.Size(), func(lo, hi int, grads seqmix.Grads) (float64, error) {
			return l.gradient(train.Batch{IDs: b.IDs[lo*b.Len : hi*b.Len], Labels: b.Labels[lo*b.Len : hi*b.Len], Len: b.Len}, len(b.Labels), grads)
		})
		if err != nil {
			return 0, err
		}
		train.Clip(grads, train.Norm(grads, m.Params()), 1)
		adamw.Step(grads, rate(step))
		return loss / math.Ln2, nil
	}
	return g.learn(ctx, part{what, g.unit(), adamw, g.steps, learn})
}

var errDiverged = errors.New("the loss is no number; try a smaller -lr")

// gradient adds the gradient of the loss on some sequences, divided by count, which is the
// number of labels of the whole batch, and returns this share of the cross-entropy.
func (l *lesson) gradient(b train.Batch, count int, grads seqmix.Grads) (float64, error) {
	m := l.model
	x := tensor.NewSeq(b.Size(), b.Len, m.Dim())
	if err := m.Embedding.Lookup(x, b.IDs); err != nil {
		return 0, err
	}
	h := tensor.NewSeq(x.Batch, x.Len, x.Dim)
	layers := append(append(seqmix.Stack{}, m.Layers...), m.Norm)
	tape, err := layers.Record(h, x)
	if err != nil {
		return 0, err
	}
	logits := tensor.NewSeq(x.Batch, x.Len, m.Head.Out())
	m.Head.Apply(logits, h)
	loss, err := l.loss(logits, b, count)
	if err != nil {
		return 0, err
	}
	dh := tensor.NewSeq(x.Batch, x.Len, x.Dim)
	m.Head.Backward(dh, logits, h, grads)
	tape.Backward(dh, dh, grads)
	m.Embedding.Backward(dh, b.IDs, grads)
	return loss, nil
}

// loss makes logits the gradient of (1-kl)·cross-entropy + kl·KL(teacher ‖ model), divided
// by count: where p are the predictions, the cross-entropy of a label adds p - onehot to it,
// and the divergence p - q with the predictions q of the teacher. It returns the sum of the
// cross-entropies, divided by count.
func (l *lesson) loss(logits tensor.Seq, b train.Batch, count int) (float64, error) {
	scale := 1 / float32(count)
	if l.teacher == nil || l.kl == 0 {
		loss := train.CrossEntropy(logits.Mat(), b.Labels, scale).Loss / float64(count)
		return loss, isNumber(loss)
	}
	h := tensor.NewSeq(b.Size(), b.Len, l.teacher.Dim())
	if err := l.teacher.Embedding.Lookup(h, b.IDs); err != nil {
		return 0, err
	}
	l.teacher.Layers.Mix(h, h)
	l.teacher.Norm.Mix(h, h)
	q := tensor.NewSeq(b.Size(), b.Len, logits.Dim)
	l.teacher.Head.Apply(q, h)
	// p - onehot, which becomes p - (1-kl)·onehot - kl·q.
	loss := train.CrossEntropy(logits.Mat(), b.Labels, scale).Loss / float64(count)
	kl := float32(l.kl) * scale
	for i, label := range b.Labels {
		row, target := logits.Mat().Row(i), q.Mat().Row(i)
		tensor.Softmax(target, target)
		tensor.Axpy(-kl, target, row)
		row[label] += kl
	}
	return loss, isNumber(loss)
}

func isNumber(loss float64) error {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return errDiverged
	}
	return nil
}

// exceptNew reports which parameters of a student do not change if only new mixers and norms
// learn.
func exceptNew(m *lm.Model, layers []int) func(name string) bool {
	learns := map[*tensor.Tensor]bool{}
	for _, p := range mixerParams(m, layers) {
		learns[p] = true
	}
	frozen := map[string]bool{}
	for name, p := range m.Params() {
		frozen[name] = !learns[p] && !strings.Contains(name, "norm.")
	}
	return func(name string) bool { return frozen[name] }
}
