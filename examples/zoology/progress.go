package main

import (
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/progress"
	"github.com/seqmix/seqmix/zoology"
)

// sweepProgress shows how far a sweep is, and accuracies as they become known.
type sweepProgress struct {
	bar    *progressbar.ProgressBar
	steps  int // of one trial
	trials int // so far
	tests  []float64
}

func newProgress(w io.Writer, s zoology.Sweep) *sweepProgress {
	steps := s.Setting.EpochSteps() * s.Setting.Epochs
	return &sweepProgress{steps: steps, bar: progress.New(w, "", int64(steps*len(s.Trials())), progressbar.OptionFullWidth(), progressbar.OptionShowCount())}
}

func (p *sweepProgress) report(t zoology.Trial, s zoology.Progress) error {
	if s.Step.Step == 0 {
		p.trials++
		p.tests = nil
	}
	if s.Tests != nil {
		p.tests = s.Tests
	}
	text := fmt.Sprintf("%-10s loss %.3f", t.Contender.Name, s.Score.Mean())
	if p.tests != nil {
		text += fmt.Sprintf(" accuracy %.3f", p.tests[len(p.tests)-1])
	}
	p.bar.Describe(text)
	// A bar that cannot be drawn is no reason to stop.
	_ = p.bar.Set((p.trials-1)*p.steps + s.Step.Step + 1)
	return nil
}

func (p *sweepProgress) finish() { _ = p.bar.Finish() }
