package zoology

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/train"
)

// A Setting is an experiment, but for the mixer: what is learnt, and how.
type Setting struct {
	Name   string
	DModel int // width of the model

	// Train are the tasks of the batches of an epoch, and Alternate whether they take
	// turns or come one after the other. No sequence is seen twice.
	Train     []Segment
	Alternate bool
	BatchSize int
	Epochs    int

	// Test are the tasks that the model is tested with after each epoch, with so many
	// sequences each, the most difficult one last.
	Test         []MQAR
	TestExamples int

	// Rate is the learning rate of the first epoch: see [EpochCosine].
	Rate        float64
	WeightDecay float64 // of all parameters
	Dropout     float64 // of embeddings
	Stop        float64 // the run ends after an epoch with more than this in every test; 0 for never
}

// A Segment is a part of an epoch.
type Segment struct {
	Task  Task
	Steps int // batches
}

// EpochCosine returns the schedule of Zoology: the learning rate is the same throughout
// an epoch of the given number of steps, and in epoch e
//
//	lr · (1 + cos(π·e/epochs))/2
//
// so that it does not reach 0.
func EpochCosine(lr float64, steps, epochs int) func(step int) float64 {
	return func(step int) float64 {
		return lr * (1 + math.Cos(math.Pi*float64(step/steps)/float64(epochs))) / 2
	}
}

// EpochSteps returns the number of batches of an epoch.
func (s Setting) EpochSteps() int {
	n := 0
	for _, g := range s.Train {
		n += g.Steps
	}
	return n
}

// Shape returns the size of the vocabulary and the length of the longest sequence of all
// tasks, or an error if the setting is not possible.
func (s Setting) Shape() (vocabulary, length int, err error) {
	if len(s.Train) == 0 || len(s.Test) == 0 || s.BatchSize < 1 || s.Epochs < 1 || s.TestExamples < 1 {
		return 0, 0, fmt.Errorf("zoology: setting %q with %d tasks to train, %d to test, batch size %d, %d epochs and %d test sequences",
			s.Name, len(s.Train), len(s.Test), s.BatchSize, s.Epochs, s.TestExamples)
	}
	tasks := make([]Task, 0, len(s.Train)+len(s.Test))
	for _, g := range s.Train {
		if g.Steps < 1 {
			return 0, 0, fmt.Errorf("zoology: setting %q with a segment of %d steps", s.Name, g.Steps)
		}
		tasks = append(tasks, g.Task)
	}
	for _, t := range s.Test {
		tasks = append(tasks, t)
	}
	for _, t := range tasks {
		v, n, err := t.Shape()
		if err != nil {
			return 0, 0, err
		}
		vocabulary, length = max(vocabulary, v), max(length, n)
	}
	return vocabulary, length, nil
}

// task returns the task of a step.
func (s Setting) task(step int) Task {
	step %= s.EpochSteps()
	if s.Alternate {
		return s.Train[step%len(s.Train)].Task
	}
	for _, g := range s.Train {
		if step < g.Steps {
			return g.Task
		}
		step -= g.Steps
	}
	panic("zoology: no such step")
}

// testStream is the stream of random numbers of the first test. Those of training are the
// steps.
const testStream = 1 << 63

// Batch returns the sequences of a step. They depend on nothing but the seed and the step.
func (s Setting) Batch(seed uint64, step int) (train.Batch, error) {
	b, err := s.task(step).Generate(s.BatchSize, Rand(rand.New(rand.NewPCG(seed, uint64(step)))))
	b.Dropout, b.Seed = s.Dropout, seed<<32+uint64(step)
	return b, err
}

// TestBatch returns the sequences of test i.
func (s Setting) TestBatch(seed uint64, i int) (train.Batch, error) {
	return s.Test[i].Generate(s.TestExamples, Rand(rand.New(rand.NewPCG(seed, testStream+uint64(i)))))
}
