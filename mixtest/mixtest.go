// Package mixtest checks that a mixer keeps the contract of package seqmix, in the
// manner of testing/fstest. It serves the mixers of this module as well as those
// that others write:
//
//	func TestMyMixer(t *testing.T) {
//		if err := mixtest.Test(newMyMixer(), mixtest.Options{}); err != nil {
//			t.Error(err)
//		}
//	}
//
// The checks cannot know what a mixer is meant to compute, but they know that all
// ways to compute it agree: whole or in pieces, in place or not, alone or in a
// batch, saved and restored, on one core or many, and that gradients are the slopes
// of what they are the gradients of. A comparison of Mix with a plain loop is all
// that is left to write.
//
// Give the mixer random parameters first: zeros hide mistakes. Run the tests with
// the race detector, too.
package mixtest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Options says how to test. The zero value of a field stands for its default.
type Options struct {
	// Batch is the number of sequences, 2 by default, and Len that of positions, 13
	// by default. Mixers that take shortcuts for long or short sequences should
	// be tested with both.
	Batch, Len int

	// Tol is how far results may be apart that are the same but for rounding,
	// relative to the largest magnitude of the result. The default is 1e-5.
	Tol float64

	// GradTol is how far gradients may be from finite differences, relative to the
	// largest gradient of the same parameter. The default is 2e-3.
	GradTol float64

	// Scale is the standard deviation of the random inputs, 1 by default.
	Scale float64

	// Seed is where the random numbers begin.
	Seed uint64
}

func (o Options) withDefaults() Options {
	setDefault(&o.Batch, 2)
	setDefault(&o.Len, 13)
	setDefault(&o.Tol, 1e-5)
	setDefault(&o.GradTol, 2e-3)
	setDefault(&o.Scale, 1)
	return o
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Test runs [TestMixer], and [TestStreamer] and [TestTrainer] if m streams and
// trains. A mixer whose NewStream or Record returns an error that wraps
// errors.ErrUnsupported does not. The error joins those of all checks that failed.
func Test(m seqmix.Mixer, o Options) error {
	errs := []error{TestMixer(m, o)}
	if s, ok := m.(seqmix.Streamer); ok && supported(func() error { _, err := s.NewStream(1); return err }) {
		errs = append(errs, TestStreamer(s, o))
	}
	if t, ok := m.(seqmix.Trainer); ok && supported(func() error { return tryRecord(t) }) {
		errs = append(errs, TestTrainer(t, o))
	}
	return errors.Join(errs...)
}

// supported reports whether f does not say that something is unsupported. If f
// panics, the checks are to find out why.
func supported(f func() error) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = true
		}
	}()
	return !errors.Is(f(), errors.ErrUnsupported)
}

func tryRecord(m seqmix.Trainer) error {
	x := tensor.NewSeq(1, 1, m.Dim())
	_, err := m.Record(tensor.NewSeq(1, 1, m.Dim()), x)
	return err
}

// TestMixer checks what holds of every [seqmix.Mixer]:
//
//   - its output is finite and not zero everywhere;
//   - wrong shapes panic with a *tensor.ShapeError, and partial overlap panics;
//   - dst may be src, src is not changed, parts of longer sequences can be read and
//     written, and nothing beside them is;
//   - the sequences of a batch do not influence one another;
//   - many goroutines may use it at once;
//   - the number of cores does not change a bit of the result;
//   - the parameters have names of their own and a fixed order;
//   - packing weights does not change a bit of the result.
//
// It changes GOMAXPROCS and the packing of weights for a while and puts them back.
func TestMixer(m seqmix.Mixer, o Options) error {
	return run(m, o, []check{
		{"output", checkOutput},
		{"shape errors", checkShapes},
		{"empty sequences", checkEmpty},
		{"in place", checkInPlace},
		{"memory outside dst and src", checkOutside},
		{"batch", checkBatch},
		{"concurrent Mix", checkConcurrent},
		{"number of cores", checkCores},
		{"parameters", checkParams},
		{"packing", checkPack},
	})
}

// TestStreamer checks what holds of every [seqmix.Streamer] and its streams, beyond
// [TestMixer]:
//
//   - however a sequence is cut, the pieces give what the whole does;
//   - no output depends on a later input, nor on another sequence, even if that is NaN or
//     infinite;
//   - streams of one mixer do not influence one another, on several goroutines
//     neither;
//   - streams advanced by [seqmix.MixEach] do what they do alone, bit for bit;
//   - [seqmix.MixLast] computes the last of the outputs, and leaves the stream where Mix does;
//   - Reset returns to the beginning, and clones are independent, bit for bit;
//   - a saved state is read back into the same, a used and a new stream, which then
//     continue bit for bit;
//   - damaged, truncated and foreign states are errors and change nothing;
//   - wrong shapes panic, and nothing outside dst is written;
//   - in steady state Mix allocates nothing (not checked with the race detector on);
//   - the number of cores does not change a bit of the result.
func TestStreamer(m seqmix.Streamer, o Options) error {
	return run(m, o, []check{
		{"cuts", checkCuts},
		{"causality", checkCausality},
		{"causality of what is not finite", checkNonFinite},
		{"independent streams", checkStreams},
		{"streams together", checkTogether},
		{"the last output", checkLast},
		{"Reset", checkReset},
		{"Clone", checkClone},
		{"save and restore", checkRestore},
		{"damaged state", checkDamaged},
		{"stream shape errors", checkStreamShapes},
		{"memory outside dst and src of a stream", checkStreamOutside},
		{"allocations", checkAllocations},
		{"number of cores of a stream", checkStreamCores},
	})
}

// TestTrainer checks what holds of every [seqmix.Trainer], beyond [TestMixer]:
//
//   - Record computes what Mix does, in place too, and changes nothing else;
//   - the gradients of the input and of each parameter agree with finite differences;
//   - Backward adds to the gradients of parameters, may be called again, may have
//     dsrc for ddst, and writes nowhere else;
//   - frozen parameters are left out, and do not change the rest;
//   - many goroutines may record at once;
//   - the number of cores does not change a bit of the gradients;
//   - if [seqmix.RecordSegment] supports it, segments that hand on their states and the
//     gradients of these give what the whole does, and the gradient of a first state
//     agrees with finite differences.
//
// Finite differences move the parameters a little and put them back. Gradients of
// parameters that are not float32 are not compared with them.
func TestTrainer(m seqmix.Trainer, o Options) error {
	return run(m, o, []check{
		{"Record", checkRecord},
		{"gradients", checkGradients},
		{"Backward again", checkBackwardAgain},
		{"Backward in place", checkBackwardInPlace},
		{"memory outside the gradient", checkBackwardOutside},
		{"frozen parameters", checkFrozen},
		{"concurrent Record", checkConcurrentRecord},
		{"number of cores of gradients", checkGradientCores},
		{"segments", checkSegments},
	})
}

// A check is one property of a mixer.
type check struct {
	name string
	run  func(*tester) error
}

// tester is what all checks begin with.
type tester struct {
	Options
	m    seqmix.Mixer
	rand *rand.Rand
	src  tensor.Seq // a random input
	want tensor.Seq // Mix of it
}

func run(m seqmix.Mixer, o Options, checks []check) error {
	o = o.withDefaults()
	t := &tester{Options: o, m: m, rand: rand.New(rand.NewPCG(o.Seed, 1))}
	if err := t.guard(check{"Mix", (*tester).prepare}); err != nil {
		return err
	}
	var errs []error
	for _, c := range checks {
		errs = append(errs, t.guard(c))
	}
	return errors.Join(errs...)
}

// prepare computes want.
func (t *tester) prepare() error {
	if t.m.Dim() < 1 {
		return fmt.Errorf("the width is %d (Dim)", t.m.Dim())
	}
	t.src = t.random(t.Batch, t.Len)
	t.want = t.mix(t.src)
	return nil
}

// guard runs a check and makes an error of a panic.
func (t *tester) guard(c check) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			err = fmt.Errorf("mixtest: %T: %s: %w", t.m, c.name, err)
		}
	}()
	return c.run(t)
}
