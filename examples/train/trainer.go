package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/examples/internal/progress"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/train"
)

// A trainer is a training run with its reports.
type trainer struct {
	options
	corpus *corpus.Corpus
	model  *lm.Model
	train  *train.Run
	out    io.Writer
	bar    *progressbar.ProgressBar
	began  time.Time
	first  int     // the step at which this process began
	loss   float64 // of the last steps, in bits per byte
}

// The files of a run.
const (
	runFile   = "run.safetensors"
	modelFile = "model.safetensors"
)

func newTrainer(o options, c *corpus.Corpus, out io.Writer) (*trainer, error) {
	if o.length >= len(c.Text) {
		return nil, fmt.Errorf("-length %d: the text has %d bytes", o.length, len(c.Text))
	}
	m, err := hybrid.New(o.model, rand.New(rand.NewPCG(o.seed, 0)))
	if err != nil {
		return nil, err
	}
	t := &trainer{options: o, corpus: c, model: m, out: out}
	t.train, err = train.NewRun(m, train.Config{
		Steps: o.steps,
		Batch: func(step int) ([]train.Batch, error) {
			return []train.Batch{c.Batch(o.seed, step, o.batch, o.length)}, nil
		},
		Rate:     train.WarmupCosine(0, o.rate, o.rate/10, o.warmup, o.steps),
		Clip:     1,
		Segments: o.segments,
		AdamW:    train.AdamWConfig{Beta2: 0.95, WeightDecay: 0.1, NoDecay: train.DecayMatrices},
	})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o777); err != nil {
		return nil, err
	}
	err = t.train.Load(filepath.Join(o.dir, runFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (a run with other arguments? -out names another folder)", err)
	}
	return t, nil
}

// run trains to the end, or until ctx ends, and saves.
func (t *trainer) run(ctx context.Context) error {
	parameters, _ := t.model.Size()
	fmt.Fprintf(t.out, "%d parameters; %.1f MB of text in %d files, %d of them held out\n", parameters, float64(t.corpus.Bytes)/1e6, t.corpus.Files, len(t.corpus.Held))
	t.first, t.began = t.train.Steps(), time.Now()
	if t.first > 0 {
		fmt.Fprintf(t.out, "going on after step %d\n", t.first)
	}
	t.bar = progress.New(os.Stderr, "", int64(t.steps), progressbar.OptionFullWidth(), progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount())
	t.bar.Set(t.first)
	err := t.train.Run(ctx, t.report)
	t.bar.Clear()
	if saveErr := t.train.Save(filepath.Join(t.dir, runFile)); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	if err != nil {
		return err
	}
	bits, err := t.corpus.BitsPerByte(t.model, math.MaxInt)
	if err != nil {
		return err
	}
	if err := hybrid.Save(filepath.Join(t.dir, modelFile), t.options.model, t.model); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%.4f bits per byte of the held-out files; %s is written\n", bits, filepath.Join(t.dir, modelFile))
	return nil
}

// report shows a step, and from time to time how well the model does on held-out text.
func (t *trainer) report(s train.Step) error {
	bits := s.Score.Mean() / math.Ln2
	if t.loss == 0 {
		t.loss = bits
	}
	t.loss += (bits - t.loss) / 20
	done := s.Step + 1
	speed := float64((done-t.first)*t.batch*t.length) / time.Since(t.began).Seconds()
	t.bar.Describe(fmt.Sprintf("%.3f bits/byte, %.0f bytes/s", t.loss, speed))
	t.bar.Set(done)
	if done%t.every != 0 || done == t.steps {
		return nil
	}
	if err := t.train.Save(filepath.Join(t.dir, runFile)); err != nil {
		return err
	}
	held, err := t.corpus.BitsPerByte(t.model, heldBytes)
	if err != nil {
		return err
	}
	text, err := t.sample()
	if err != nil {
		return err
	}
	t.bar.Clear()
	fmt.Fprintf(t.out, "step %d: %.3f bits per byte, of held-out text %.3f; %.0f bytes/s\n%s\n\n", done, t.loss, held, speed, text)
	return nil
}

// heldBytes is how much of held-out text is looked at from time to time.
const heldBytes = 50_000

// sample lets the model write a few lines.
func (t *trainer) sample() (string, error) {
	s, err := t.model.NewSession()
	if err != nil {
		return "", err
	}
	if err := s.Feed(0); err != nil {
		return "", err
	}
	var ids []int
	o := lm.Options{MaxTokens: 300, Stop: []int{0}, Sampler: lm.Sampler{Temperature: 0.7, TopP: 0.95, Seed: t.seed}}
	for id, err := range s.Generate(context.Background(), o) {
		if err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	return tokenizer.Bytes{}.Decode(ids...), nil
}
