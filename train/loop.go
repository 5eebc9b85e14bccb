package train

import (
	"context"
	"fmt"
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
)

// A Config describes a training run.
type Config struct {
	// Steps is the length of the run.
	Steps int

	// Batch returns the batches of a step, the gradients of which are averaged. It is a
	// function of the step, and not of what was asked before: so a run that is resumed
	// sees the same batches.
	Batch func(step int) ([]Batch, error)

	// Rate returns the learning rate of a step: see [WarmupCosine].
	Rate func(step int) float64

	// Clip bounds the norm of the gradients, see [Clip]; 0 for no bound.
	Clip float64

	AdamW  AdamWConfig
	Shards int // see [NewGradient]

	// Segments divide long sequences and say how far gradients go back through them:
	// see [Segments]. The zero value leaves sequences whole.
	Segments Segments

	// Frozen says which parameters do not change; nil for none.
	Frozen func(name string) bool
}

// A Step is the report of one step.
type Step struct {
	Step  int     // from 0
	Score Score   // before the step, of all its batches
	Rate  float64 // the learning rate
	Norm  float64 // of the gradients, before they were clipped
}

// A Run is a training run of a language model.
type Run struct {
	model    *lm.Model
	cfg      Config
	gradient *Gradient
	adamw    *AdamW
	grads    seqmix.Grads
}

// NewRun returns a run at its beginning. The parameters of m must be float32 and not
// packed; they are trained in place.
func NewRun(m *lm.Model, cfg Config) (*Run, error) {
	if cfg.Steps < 0 || cfg.Batch == nil || cfg.Rate == nil || !(cfg.Clip >= 0) {
		return nil, fmt.Errorf("train: a run of %d steps, clipped at %v, without batches (%v) or rates (%v)", cfg.Steps, cfg.Clip, cfg.Batch == nil, cfg.Rate == nil)
	}
	if err := cfg.Segments.check(); err != nil {
		return nil, err
	}
	g, err := NewGradient(m, cfg.Shards)
	if err != nil {
		return nil, err
	}
	g.Segments = cfg.Segments
	r := &Run{model: m, cfg: cfg, gradient: g, grads: seqmix.Grads{}}
	r.adamw, err = NewAdamW(cfg.AdamW, m.Params())
	if err != nil {
		return nil, err
	}
	for _, q := range r.adamw.params {
		if !q.p.IsConstant() && (cfg.Frozen == nil || !cfg.Frozen(q.name)) {
			r.grads[q.p] = newLike(q.p)
		}
	}
	return r, nil
}

// Steps returns the number of steps so far.
func (r *Run) Steps() int { return r.adamw.Steps() }

// Gradient returns what computes the gradients, to score other batches with.
func (r *Run) Gradient() *Gradient { return r.gradient }

// Run goes on until the last step, until the context ends or until report, which is
// called after each step, returns an error; it returns that error, or that of the context.
// The run can then be saved and gone on with.
func (r *Run) Run(ctx context.Context, report func(Step) error) error {
	for r.Steps() < r.cfg.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := r.step(r.Steps())
		if err != nil {
			return err
		}
		if report == nil {
			continue
		}
		if err := report(s); err != nil {
			return err
		}
	}
	return nil
}

// step makes one step.
func (r *Run) step(n int) (Step, error) {
	batches, err := r.cfg.Batch(n)
	if err != nil {
		return Step{}, err
	}
	s := Step{Step: n, Rate: r.cfg.Rate(n)}
	for _, g := range r.grads {
		clear(g.Data())
	}
	for _, b := range batches {
		score, err := r.gradient.Add(r.grads, b, 1/float64(len(batches)))
		if err != nil {
			return Step{}, fmt.Errorf("step %d: %w", n, err)
		}
		s.Score.Add(score)
	}
	s.Norm = Norm(r.grads, r.model.Params())
	if math.IsNaN(s.Norm) || math.IsInf(s.Norm, 0) {
		return Step{}, fmt.Errorf("train: step %d: the norm of the gradients is %v, the loss %v; the parameters are those before the step", n, s.Norm, s.Score.Mean())
	}
	if r.cfg.Clip > 0 {
		Clip(r.grads, s.Norm, r.cfg.Clip)
	}
	r.adamw.Step(r.grads, s.Rate)
	return s, nil
}
