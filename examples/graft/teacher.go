package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// The files in the folder of a run.
const (
	teacherRunFile = "teacher-run.safetensors"
	teacherFile    = "teacher.safetensors"
	modelFile      = "model.safetensors"
)

// ownTeacher loads the teacher in -out, and trains it before if there is none.
func (g *grafter) ownTeacher(ctx context.Context) error {
	path := filepath.Join(g.dir, teacherFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := g.trainTeacher(ctx, path); err != nil {
			return err
		}
	}
	s, err := openSaved(path)
	if err != nil {
		return err
	}
	if !sameConfig(s.config, g.teacherConfig) {
		return fmt.Errorf("%s is another model than -blocks, -dim, -heads and -hidden say: -out names another folder", path)
	}
	return g.take(path, s)
}

// take makes a model the teacher.
func (g *grafter) take(path string, s *source) error {
	if s.MaxLen > 0 && g.length > s.MaxLen {
		return fmt.Errorf("-length %d: %s takes %d", g.length, path, s.MaxLen)
	}
	g.source, g.teacher, g.config = s, s.Model.Model, s.config
	g.mark = s.fingerprint(g.seed) // before anything is rounded
	parameters, _ := s.Size()
	fmt.Fprintf(g.out, "teacher  %s: %d parameters, blocks %v\n", path, parameters, s.config.Pattern)
	return nil
}

func sameConfig(a, b hybrid.Config) bool {
	return slices.Equal(a.Pattern, b.Pattern) && a.Dim == b.Dim && a.Heads == b.Heads && a.Window == b.Window && a.Hidden == b.Hidden
}

// load reads a model, in float32 to be trained.
func load(path string) (*lm.Model, hybrid.Config, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, hybrid.Config{}, err
	}
	defer f.Close()
	m, c, err := hybrid.Load(f)
	if err != nil {
		return nil, c, err
	}
	m.Quantize(tensor.Float32)
	return m, c, nil
}

// trainTeacher trains a model, or goes on with it, and writes it.
func (g *grafter) trainTeacher(ctx context.Context, path string) error {
	config := g.teacherConfig
	m, err := hybrid.New(config, rand.New(rand.NewPCG(g.seed, 0)))
	if err != nil {
		return err
	}
	const rate = 4e-3
	r, err := train.NewRun(m, train.Config{
		Steps: g.teacherSteps,
		Batch: func(step int) ([]train.Batch, error) {
			return []train.Batch{g.tokens.Batch(g.seed, step, g.batch, g.length)}, nil
		},
		Rate:  train.WarmupCosine(0, rate, rate/10, g.teacherSteps/12, g.teacherSteps),
		Clip:  1,
		AdamW: train.AdamWConfig{Beta2: 0.95, WeightDecay: 0.1, NoDecay: train.DecayMatrices},
	})
	if err != nil {
		return err
	}
	runPath := filepath.Join(g.dir, teacherRunFile)
	if err := r.Load(runPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (a teacher of another shape? -out names another folder)", err)
	}
	fmt.Fprintf(g.out, "training a teacher with %d blocks of attention on %.1f million bytes of text, from step %d\n", len(config.Pattern), float64(len(g.tokens.IDs))/1e6, r.Steps())
	p := newCourse(g.out, "teacher", bitsPerByte, g.teacherSteps)
	err = r.Run(ctx, func(s train.Step) error {
		return p.report(s.Step+1, s.Score.Mean()/math.Ln2)
	})
	p.finish()
	if err != nil {
		return errors.Join(err, r.Save(runPath))
	}
	if err := hybrid.Save(path, config, m); err != nil {
		return err
	}
	return ignoreMissing(os.Remove(runPath))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
