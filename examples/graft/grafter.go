package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/train"
)

// A grafter puts other mixers into a model.
type grafter struct {
	options
	source  *source        // of the teacher
	mark    uint32         // of the teacher
	tokens  *corpus.Tokens // text to learn from, and to be judged by
	out     io.Writer
	teacher *lm.Model
	config  hybrid.Config // of the teacher
	student *lm.Model
	grafted hybrid.Config // of the student
	judges  []train.Batch // held-out text
	width   float64       // bytes per token of it
}

// room is how many tokens more than at the position where they are measured models that have
// filters as long as the text can take.
const room = 1024

func (g *grafter) run(ctx context.Context) error {
	if err := g.prepare(ctx); err != nil {
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
	fmt.Fprintf(g.out, "judged by %d %ss of held-out files, in sequences of %d; %s in blocks %v\n\n", judged, g.token(), g.length, g.mixer, g.layers)
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

// prepare finds the teacher and the text.
func (g *grafter) prepare(ctx context.Context) error {
	if g.model != "" {
		s, err := openTeacher(g.model, g.tokenizer)
		if err != nil {
			return err
		}
		if err := g.take(g.model, s); err != nil {
			return err
		}
		if _, err := newPattern(g.config, g.layers, g.mixer); err != nil {
			return err
		}
	}
	if err := g.findTokens(ctx); err != nil {
		return err
	}
	if g.source == nil {
		return g.ownTeacher(ctx)
	}
	return nil
}

// findTokens makes tokens of the text.
func (g *grafter) findTokens(ctx context.Context) error {
	c, err := g.findText(ctx)
	if err != nil {
		return err
	}
	if g.source == nil || g.source.config.Vocabulary == 0 {
		g.tokens = c.Encode(tokenizer.Bytes{}, []int{0})
	} else {
		// Held-out texts follow each other, as the others do: many are short.
		g.tokens = c.Encode(g.source.Tokenizer, g.source.Begin)
		g.tokens.Held = [][]int{slices.Concat(g.tokens.Held...)}
	}
	if g.length >= len(g.tokens.IDs) {
		return fmt.Errorf("-length %d: the text has %d", g.length, len(g.tokens.IDs))
	}
	if g.judges, err = heldOut(g.tokens, g.length, g.held); err != nil {
		return err
	}
	g.width = bytesPerToken(g.tokens, g.judges)
	return nil
}

// token returns what the teacher reads.
func (g *grafter) token() string {
	if g.source != nil && g.source.config.Vocabulary > 0 {
		return "token"
	}
	return "byte"
}

// unit returns that of losses of batches.
func (g *grafter) unit() string { return "bits per " + g.token() }

// report shows how good a model is.
func (g *grafter) report(what string, m *lm.Model) error {
	b, err := bits(m, g.judges)
	if err != nil {
		return err
	}
	if g.source.config.Vocabulary > 0 {
		_, err = fmt.Fprintf(g.out, "%-44s %.4f %s, %.4f %s\n", what, b, bitsPerToken, b/g.width, bitsPerByte)
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
	sample := g.tokens.Batch(g.seed+3, 0, sequences, g.length)
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
	if err := g.tune(ctx, fineTuning, l); err != nil {
		return err
	}
	// What is judged is what the file holds.
	if err := hybrid.Save(g.path(), g.grafted, g.student); err != nil {
		return err
	}
	if err := g.source.keepTokenizer(g.dir); err != nil {
		return err
	}
	if err := g.report(fmt.Sprintf("after %d steps of fine-tuning", g.steps), g.student); err != nil || !g.control {
		return err
	}
	same, _, err := newStudent(g.teacher, g.config, nil, "", g.teacher.MaxLen, g.seed)
	if err != nil {
		return err
	}
	if err := g.tune(ctx, control, lesson{model: same}); err != nil {
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
	fmt.Fprintf(g.out, "\nafter %d %ss:\n", n, g.token())
	w := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "blocks\t%ss per second\tstate, bytes\t\n", g.token())
	for i, c := range []hybrid.Config{g.config, g.grafted} {
		fmt.Fprintf(w, "%s\t%.0f\t%d\t\n", strings.Join(c.Pattern, ","), 1/list[i].perToken.Seconds(), list[i].state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(g.out, "\n%s is written\n", g.path()); err != nil {
		return err
	}
	return g.forget()
}

// text returns so many tokens of the corpus.
func (g *grafter) text(n int) []int {
	ids := make([]int, max(n, 1))
	for i := range ids {
		ids[i] = int(g.tokens.IDs[i%len(g.tokens.IDs)])
	}
	return ids
}
