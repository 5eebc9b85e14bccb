package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seqmix/seqmix/train"
)

// A part is one of those of the work in which something is learnt.
type part struct {
	name, unit string // the latter of losses
	adamw      *train.AdamW
	steps      int
	step       func(i int) (loss float64, err error)
}

// The names of parts.
const (
	distillation = "distillation"
	fineTuning   = "fine-tuning"
	control      = "control"
)

// partPath returns where a part is kept until all of the work is done. It is another one if
// the command, the teacher or the text is, so that nothing is gone on with but what was
// interrupted.
func (g *grafter) partPath(name string) string {
	o := g.options
	o.dir, o.held, o.control = "", 0, false // these change nothing of what is learnt
	h := fnv.New32a()
	fmt.Fprintf(h, "%x %d %+v", g.mark, len(g.tokens.IDs), o)
	return filepath.Join(g.dir, fmt.Sprintf("%s-%08x.safetensors", name, h.Sum32()))
}

// learn does the steps of a part that are left, until ctx ends, and keeps what was learnt.
func (g *grafter) learn(ctx context.Context, p part) error {
	path := g.partPath(p.name)
	if err := p.adamw.Load(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n := p.adamw.Steps(); n > 0 {
		fmt.Fprintf(g.out, "  %s goes on after step %d\n", p.name, n)
	}
	c := newCourse(g.out, p.name, p.unit, p.steps)
	defer c.finish()
	for i := p.adamw.Steps(); i < p.steps; i++ {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, p.adamw.Save(path))
		}
		loss, err := p.step(i)
		if err != nil {
			return err
		}
		if err := c.report(i+1, loss); err != nil {
			return err
		}
	}
	if p.steps == 0 {
		return nil
	}
	// The next part may be interrupted.
	return p.adamw.Save(path)
}

// forget removes what is of no use when all is done.
func (g *grafter) forget() error {
	var errs []error
	for _, name := range []string{distillation, fineTuning, control} {
		errs = append(errs, ignoreMissing(os.Remove(g.partPath(name))))
	}
	return errors.Join(errs...)
}
