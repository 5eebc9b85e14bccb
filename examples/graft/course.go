package main

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/progress"
)

// A course shows how far one part of the work is, and its loss: on a terminal by a bar, and
// anywhere by a few lines.
type course struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	what  string
	unit  string // of losses
	steps int
	loss  float64 // mean of the last ones
}

// lines is how many reports a part has at the most.
const lines = 4

func newCourse(out io.Writer, what, unit string, steps int) *course {
	bar := progress.New(os.Stderr, "", int64(steps), progressbar.OptionFullWidth(), progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount())
	return &course{out: out, what: what, unit: unit, steps: steps, bar: bar}
}

// report says how many steps are done, and the loss of the last one.
func (p *course) report(done int, loss float64) error {
	if p.loss == 0 {
		p.loss = loss
	}
	p.loss += (loss - p.loss) / 20
	p.bar.Describe(fmt.Sprintf("%s %.3f %s", p.what, p.loss, p.unit))
	// A bar that cannot be drawn is no reason to stop.
	_ = p.bar.Set(done)
	if done%max(p.steps/lines, 1) != 0 || done == p.steps {
		return nil
	}
	_ = p.bar.Clear()
	_, err := fmt.Fprintf(p.out, "  %s, step %d of %d: %.3f %s\n", p.what, done, p.steps, p.loss, p.unit)
	return err
}

// set says how many steps are done of what has no loss.
func (p *course) set(done int) {
	p.bar.Describe(p.what)
	_ = p.bar.Set(done)
}

func (p *course) finish() { _ = p.bar.Finish() }
