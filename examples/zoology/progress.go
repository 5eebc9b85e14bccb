package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/zoology"
)

// progress shows how far a sweep is, and accuracies as they become known.
type progress struct {
	bar    *progressbar.ProgressBar
	steps  int // of one trial
	trials int // so far
	tests  []float64
}

func newProgress(w io.Writer, s zoology.Sweep) *progress {
	steps := s.Setting.EpochSteps() * s.Setting.Epochs
	return &progress{steps: steps, bar: progressbar.NewOptions(steps*len(s.Trials()),
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(isTerminal(w)), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionShowCount())}
}

func (p *progress) report(t zoology.Trial, s zoology.Progress) error {
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

func (p *progress) finish() { _ = p.bar.Finish() }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
