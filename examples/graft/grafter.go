package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/train"
)

// A grafter puts other mixers into a model.
type grafter struct {
	options
	corpus  *corpus.Corpus
	out     io.Writer
	teacher *lm.Model
	config  hybrid.Config // of the teacher
	student *lm.Model
	grafted hybrid.Config // of the student
	judges  []train.Batch // held-out text
}

// room is how many bytes more than at the position where they are measured models that have
// filters as long as the text can take.
const room = 1024

func (g *grafter) run(ctx context.Context) error {
	var err error
	if g.judges, err = heldOut(g.corpus, g.length, g.held); err != nil {
		return err
	}
	if err := g.findTeacher(ctx); err != nil {
		return err
	}
	if g.layers == nil {
		g.layers = attentionLayers(g.config.Pattern)
	}
	if len(g.layers) == 0 {
		return fmt.Errorf("the teacher has no attention: its blocks are %v", g.config.Pattern)
	}
	judged := 0
	for _, b := range g.judges {
		judged += len(b.IDs)
	}
	fmt.Fprintf(g.out, "judged by %d bytes of held-out files, in sequences of %d; %s in blocks %v\n\n", judged, g.length, g.mixer, g.layers)
	if err := g.report("teacher", g.teacher); err != nil {
		return err
	}
	if err := g.replace(); err != nil {
		return err
	}
	if err := g.distill(ctx); err != nil {
		return err
	}
	if err := g.report(fmt.Sprintf("after %d steps of distillation", g.options.distill), g.student); err != nil {
		return err
	}
	if err := g.heal(ctx); err != nil {
		return err
	}
	return g.finish(ctx)
}

// report shows how good a model is.
func (g *grafter) report(what string, m *lm.Model) error {
	b, err := bits(m, g.judges)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.out, "%-44s %.4f %s\n", what, b, bitsPerByte)
	return err
}

// replace makes the student, and reports what the replacement alone does to the loss.
func (g *grafter) replace() error {
	var err error
	g.student, g.grafted, err = newStudent(g.teacher, g.config, g.layers, g.mixer, g.maxLen(), g.seed)
	if err != nil {
		return err
	}
	if err := g.report("layers replaced by random ones", g.student); err != nil || g.random {
		return err
	}
	const sequences = 16
	sample := g.corpus.Batch(g.seed+3, 0, sequences, g.length)
	if err := fromAttention(g.student, g.teacher, g.layers, sample.IDs, g.length); err != nil {
		return err
	}
	return g.report("layers replaced, initialised from attention", g.student)
}

// maxLen returns the length of texts that a student with filters can take.
func (g *grafter) maxLen() int { return max(g.position+room, g.length) }

// heal lets the student learn, and the teacher too if that is to be compared.
func (g *grafter) heal(ctx context.Context) error {
	l := lesson{model: g.student, teacher: g.teacher, kl: g.kl}
	if g.newOnly {
		l.frozen = exceptNew(g.student, g.layers)
	}
	if err := g.tune(ctx, "fine-tuning", l); err != nil {
		return err
	}
	// What is judged is what the file holds.
	if err := hybrid.Save(g.path(), g.grafted, g.student); err != nil {
		return err
	}
	if err := g.report(fmt.Sprintf("after %d steps of fine-tuning", g.steps), g.student); err != nil || !g.control {
		return err
	}
	same, _, err := newStudent(g.teacher, g.config, nil, "", g.teacher.MaxLen, g.seed)
	if err != nil {
		return err
	}
	if err := g.tune(ctx, "control", lesson{model: same}); err != nil {
		return err
	}
	return g.report(fmt.Sprintf("to compare: the teacher after %d steps more", g.steps), same)
}

// path returns where the student is written.
func (g *grafter) path() string { return filepath.Join(g.dir, modelFile) }

// finish measures what the student costs beside the teacher.
func (g *grafter) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.teacher.Quantize(g.student.Embedding.Weight.DType())
	models := []*lm.Model{g.teacher, g.student}
	n := g.position
	for _, m := range models {
		m.Pack()
		if m.MaxLen > 0 {
			n = min(n, m.MaxLen-burst*bursts)
		}
	}
	list, err := costs(models, g.text(n))
	if err != nil {
		return err
	}
	fmt.Fprintf(g.out, "\nafter %d bytes:\n", n)
	w := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "blocks\tbytes per second\tstate, bytes\t\n")
	for i, c := range []hybrid.Config{g.config, g.grafted} {
		fmt.Fprintf(w, "%s\t%.0f\t%d\t\n", strings.Join(c.Pattern, ","), 1/list[i].perByte.Seconds(), list[i].state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.out, "\n%s is written\n", g.path())
	return err
}

// text returns so many bytes of the corpus.
func (g *grafter) text(n int) []int {
	ids := make([]int, max(n, 1))
	for i := range ids {
		ids[i] = int(g.corpus.Text[i%len(g.corpus.Text)])
	}
	return ids
}
