package zoology

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/train"
)

// A Trial is one run of an experiment.
type Trial struct {
	Setting   Setting
	Contender Contender
	Seed      uint64 // of the parameters and of the data
}

// A Progress is the report of a step of a trial.
type Progress struct {
	train.Step
	Steps int       // of the whole trial, if it does not stop early
	Tests []float64 // accuracies, after the last step of an epoch; else nil
}

// A Result is what came of a trial.
type Result struct {
	Setting    string  `json:"setting"`
	Contender  string  `json:"contender"`
	DModel     int     `json:"d_model"`
	Rate       float64 `json:"learning_rate"`
	Seed       uint64  `json:"seed"`
	Parameters int     `json:"parameters"`
	StateBytes int     `json:"state_bytes"` // after as many positions as the longest sequence, see StateBytes
	Steps      int     `json:"steps"`
	Seconds    float64 `json:"seconds"` // of training and tests
	Loss       float64 `json:"loss"`    // mean of the last epoch
	Tests      []Test  `json:"tests"`
}

// A Test is the outcome of one test.
type Test struct {
	SeqLen   int     `json:"input_seq_len"`
	Pairs    int     `json:"num_kv_pairs"`
	Accuracy float64 `json:"accuracy"`

	// Ceiling is what a window allows without guesses (see [MQAR.WindowCeiling]), if the
	// contender has one.
	Ceiling float64 `json:"ceiling,omitempty"`
}

// Accuracy returns the mean of all tests, which is that of all sequences together.
func (r Result) Accuracy() float64 {
	sum := 0.0
	for _, t := range r.Tests {
		sum += t.Accuracy
	}
	return sum / float64(len(r.Tests))
}

// Hardest returns the last test.
func (r Result) Hardest() Test { return r.Tests[len(r.Tests)-1] }

// NewModel returns the model of the trial before training.
func (t Trial) NewModel() (*lm.Model, error) {
	vocabulary, length, err := t.Setting.Shape()
	if err != nil {
		return nil, err
	}
	cfg := ModelConfig{Vocabulary: vocabulary, DModel: t.Setting.DModel, Block: t.Contender.Block}.withDefaults()
	return NewModel(cfg, func(layer int) (seqmix.Mixer, error) {
		return t.Contender.New(layer, cfg.DModel, length)
	}, rand.New(rand.NewPCG(t.Seed, modelStream)))
}

// modelStream is the stream of random numbers of parameters.
const modelStream = 1<<63 - 1

// Run trains a model, and tests it after each epoch. It returns the accuracies of the last
// epoch. report, which may be nil, is called after each step; its error ends the trial, as
// that of the context does. The result is the same to the bit for any number of cores, but
// for the time.
func (t Trial) Run(ctx context.Context, report func(Progress) error) (Result, error) {
	m, err := t.NewModel()
	if err != nil {
		return Result{}, err
	}
	run, err := t.newRun(m)
	if err != nil {
		return Result{}, err
	}
	begin := time.Now()
	r := t.newResult(m)
	tests, err := t.testBatches()
	if err != nil {
		return Result{}, err
	}
	steps := t.Setting.EpochSteps()
	var epoch train.Score
	err = run.Run(ctx, func(s train.Step) error {
		p := Progress{Step: s, Steps: steps * t.Setting.Epochs}
		epoch.Add(s.Score)
		r.Steps = s.Step + 1
		if r.Steps%steps == 0 {
			if p.Tests, err = accuracies(run.Gradient(), tests); err != nil {
				return err
			}
			r.Loss, epoch = epoch.Mean(), train.Score{}
		}
		if report != nil {
			if err := report(p); err != nil {
				return err
			}
		}
		return r.note(p.Tests, t.Setting.Stop)
	})
	r.Seconds = time.Since(begin).Seconds()
	if err != nil && err != errSolved {
		return Result{}, fmt.Errorf("zoology: %s: %w", t.Contender.Name, err)
	}
	return r, t.addCeilings(&r)
}

func (t Trial) newRun(m *lm.Model) (*train.Run, error) {
	s := t.Setting
	return train.NewRun(m, train.Config{
		Steps: s.EpochSteps() * s.Epochs,
		Batch: func(step int) ([]train.Batch, error) {
			b, err := s.Batch(t.Seed, step)
			return []train.Batch{b}, err
		},
		Rate:  EpochCosine(s.Rate, s.EpochSteps(), s.Epochs),
		AdamW: train.AdamWConfig{WeightDecay: s.WeightDecay},
	})
}

func (t Trial) newResult(m *lm.Model) Result {
	s := t.Setting
	_, length, _ := s.Shape()
	r := Result{Setting: s.Name, Contender: t.Contender.Name, DModel: m.Dim(), Rate: s.Rate, Seed: t.Seed}
	r.Parameters, _ = m.Size()
	r.StateBytes, _ = StateBytes(m, length) // 0 if it is not known
	for _, task := range s.Test {
		task = task.WithDefaults()
		r.Tests = append(r.Tests, Test{SeqLen: task.SeqLen, Pairs: task.Pairs})
	}
	return r
}

func (t Trial) testBatches() ([]train.Batch, error) {
	var list []train.Batch
	for i := range t.Setting.Test {
		b, err := t.Setting.TestBatch(t.Seed, i)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// errSolved ends a run that needs no more steps.
var errSolved = errors.New("solved")

// note keeps accuracies, if there are new ones, and returns errSolved if all are above
// stop.
func (r *Result) note(tests []float64, stop float64) error {
	if tests == nil {
		return nil
	}
	least := 1.0
	for i, a := range tests {
		r.Tests[i].Accuracy = a
		least = min(least, a)
	}
	if stop > 0 && least > stop {
		return errSolved
	}
	return nil
}

// testElements bounds the activations of a test that are in memory at a time.
const testElements = 1 << 14

// accuracies scores the model with each batch.
func accuracies(g *train.Gradient, tests []train.Batch) ([]float64, error) {
	var list []float64
	for _, b := range tests {
		var sum train.Score
		for n := max(1, testElements/b.Len); b.Size() > 0; {
			n = min(n, b.Size())
			score, err := g.Score(train.Batch{IDs: b.IDs[:n*b.Len], Labels: b.Labels[:n*b.Len], Len: b.Len})
			if err != nil {
				return nil, err
			}
			sum.Add(score)
			b.IDs, b.Labels = b.IDs[n*b.Len:], b.Labels[n*b.Len:]
		}
		list = append(list, sum.Accuracy())
	}
	return list, nil
}

// ceilingSequences is how many sequences a ceiling is estimated from: to 0.005.
const ceilingSequences = 10_000

func (t Trial) addCeilings(r *Result) error {
	if t.Contender.Window == 0 {
		return nil
	}
	for i, task := range t.Setting.Test {
		c, err := task.WindowCeiling(t.Contender.Window, ceilingSequences, Rand(rand.New(rand.NewPCG(t.Seed, testStream-2))))
		if err != nil {
			return err
		}
		r.Tests[i].Ceiling = c
	}
	return nil
}
