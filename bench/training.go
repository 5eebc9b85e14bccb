package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/seqmix/seqmix/lm"
)

// A trainResult is what was measured of one contestant that trains one model.
type trainResult struct {
	Model        string
	Parameters   int
	Batch        string
	Who, Version string
	How          string
	Speed        samples // tokens a second
	Deviation    float64 // of the first losses from those of seqmix
}

const (
	trainCheck = 4               // steps whose losses are compared
	trainTurn  = 2 * time.Second // of measurements in a round, or one measurement if that takes longer
	trainShort = 0.25            // seconds that a measurement takes at least

	// trainTolerance is that of losses. Rounding is amplified where the gradient is almost
	// nothing, because AdamW divides by its size.
	trainTolerance = 1e-4
)

// training measures the training of all models by seqmix and, if it is there, PyTorch.
func (b *bench) training(shapes []trainShape) ([]trainResult, error) {
	c, err := b.startOurs("training", "float32")
	if err != nil {
		return nil, err
	}
	running := []*contestant{c}
	if b.torchTrain != nil {
		if c, err = b.torchTrain.startTraining(b.o.threads); err != nil {
			return nil, errors.Join(err, stopAll(running))
		}
		running = append(running, c)
	}
	bar := newBar(len(shapes)*b.o.rounds*len(running), "training")
	defer bar.Finish()
	var results []trainResult
	for i, s := range shapes {
		r, err := b.trainingOf(i, s, running, func() { bar.Add(1) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), stopAll(running))
		}
		for _, x := range r {
			b.say("training, %-18s %-24s %s tokens/s", x.Model, x.Who, speeds(x.Speed))
		}
		results = append(results, r...)
	}
	return results, stopAll(running)
}

// trainingOf measures one model.
func (b *bench) trainingOf(index int, s trainShape, running []*contestant, step func()) ([]trainResult, error) {
	m, err := s.model()
	if err != nil {
		return nil, err
	}
	results, err := b.beginTraining(index, s, m, running)
	if err != nil {
		return nil, err
	}
	steps := make([]int, len(running)) // of a measurement
	for range b.o.rounds {
		for i, c := range running {
			if err := b.trainRound(c, s, s.products(m), &steps[i], &results[i]); err != nil {
				return nil, err
			}
			step()
		}
	}
	return results, nil
}

// beginTraining opens a model, which seqmix, the first contestant, writes, and sees whether
// all lose the same.
func (b *bench) beginTraining(index int, s trainShape, m *lm.Model, running []*contestant) ([]trainResult, error) {
	path := filepath.Join(b.dir, "train.safetensors")
	results := make([]trainResult, len(running))
	var reference []float64
	for i, c := range running {
		if _, err := c.do(fmt.Sprintf("open %d %s", index, path)); err != nil {
			return nil, err
		}
		r, err := c.do(fmt.Sprint("steps ", trainCheck))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			reference = r.Losses
		}
		parameters, _ := m.Size()
		results[i] = trainResult{
			Model: s.name, Parameters: parameters, Batch: fmt.Sprintf("%d×%d", s.batch, s.length),
			Who: c.name, Version: c.version, How: r.How, Deviation: deviation(r.Losses, reference),
		}
		if d := results[i].Deviation; !(d <= trainTolerance) {
			return nil, fmt.Errorf("%s: losses %v, want %v: this is another model", c.name, r.Losses, reference)
		}
	}
	return results, nil
}

// trainRound measures a contestant for some time. The first round of all finds out how many
// steps make a measurement.
func (b *bench) trainRound(c *contestant, s trainShape, products float64, steps *int, result *trainResult) error {
	if *steps == 0 {
		r, err := c.do("steps 2")
		if err != nil {
			return err
		}
		*steps = max(1, int(math.Ceil(2*trainShort/r.Seconds)))
	}
	before := b.probed()
	for begin := time.Now(); ; {
		r, err := c.do(fmt.Sprint("steps ", *steps))
		if err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		after := b.probed()
		rate := float64(*steps) / r.Seconds
		result.Speed = append(result.Speed, sample{rate * float64(s.tokens()), ratio(2e-9*products*rate, before.max(after).FMA)})
		before = after
		if time.Since(begin) > trainTurn {
			return nil
		}
	}
}
