package zoology

import (
	"context"
	"errors"
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

// tiny is a setting of a few seconds.
func tiny() Setting {
	s := recall("tiny", 64, 32, 4, 100, 2, 3)
	s.DModel, s.BatchSize, s.TestExamples, s.Rate = 32, 32, 200, 1e-2
	return s
}

// TestLearns checks that attention behind a convolution learns to recall, and that one
// without sight of most values does not exceed its ceiling by more than guesses allow.
func TestLearns(t *testing.T) {
	var last Progress
	steps := 0
	r, err := Trial{tiny(), Attention(), 1}.Run(context.Background(), func(p Progress) error {
		last = p
		steps++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Hardest().Accuracy < 0.95 || r.Steps != steps || !slices.Equal(last.Tests, []float64{r.Tests[0].Accuracy, r.Tests[1].Accuracy}) {
		t.Errorf("attention: %+v after %d steps", r, steps)
	}
	window, short := 4, tiny()
	short.Epochs = 2
	s, err := Trial{short, Sliding(window), 1}.Run(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range s.Tests {
		// Who does not see the value can guess one of the others.
		most := test.Ceiling + (1-test.Ceiling)/2 + 0.05
		if test.Accuracy > most || test.Ceiling <= 0 || test.Ceiling > 0.9 {
			t.Errorf("a window of %d: accuracy %.3f with %d pairs, ceiling %.3f", window, test.Accuracy, test.Pairs, test.Ceiling)
		}
	}
}

// TestTrialRepeats checks that a trial gives the same bits on one core and on two.
func TestTrialRepeats(t *testing.T) {
	s := tiny()
	s.Epochs, s.Train[0].Steps, s.Train[1].Steps = 1, 5, 5
	s.Stop = 0
	var results []Result
	for _, cores := range []int{1, 2} {
		before := runtime.GOMAXPROCS(cores)
		r, err := Trial{s, Based(4), 3}.Run(context.Background(), nil)
		runtime.GOMAXPROCS(before)
		if err != nil {
			t.Fatal(err)
		}
		r.Seconds = 0
		results = append(results, r)
	}
	if !reflect.DeepEqual(results[0], results[1]) {
		t.Errorf("%+v on one core, %+v on two", results[0], results[1])
	}
}

func TestTrialStops(t *testing.T) {
	stop := errors.New("enough")
	_, err := Trial{tiny(), Attention(), 1}.Run(context.Background(), func(Progress) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("the error of the report became %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Trial{tiny(), Attention(), 1}).Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the error of the context became %v", err)
	}
	s := tiny()
	s.Stop, s.Epochs, s.Train, s.Alternate = 1e-9, 5, []Segment{{s.Test[0], 1}, {s.Test[1], 2}}, false
	if r, err := (Trial{s, Attention(), 1}).Run(context.Background(), nil); err != nil || r.Steps%3 != 0 {
		t.Errorf("%d steps in epochs of 3, %v", r.Steps, err)
	}
}

func TestEpochCosine(t *testing.T) {
	rate := EpochCosine(3e-3, 10, 4)
	for step, want := range map[int]float64{0: .003, 9: .003, 10: .00256066, 25: .0015, 39: .00043934} {
		if got := rate(step); math.Abs(got-want) > 1e-8 {
			t.Errorf("step %d: %v, want %v", step, got, want)
		}
	}
}

func TestSegments(t *testing.T) {
	s := BasedFigure2()
	if n := s.EpochSteps(); n != 391+4*79 {
		t.Errorf("%d steps", n)
	}
	for step, pairs := range map[int]int{0: 4, 390: 4, 391: 8, 391 + 79: 16, 391 + 4*79 - 1: 64, 391 + 4*79: 4} {
		if got := s.task(step).(MQAR).Pairs; got != pairs {
			t.Errorf("step %d has %d pairs, want %d", step, got, pairs)
		}
	}
	if v, n, err := s.Shape(); v != 8192 || n != 1024 || err != nil {
		t.Errorf("%d tokens, %d positions, %v", v, n, err)
	}
	a := Ordering()
	if a.task(4).(MQAR).Pairs != 8 || a.EpochSteps() != 375 {
		t.Errorf("tasks do not alternate: %v", a.task(4))
	}
	for _, bad := range []Setting{{}, {Train: a.Train}, {Train: []Segment{{MQAR{}, 0}}, Test: a.Test, BatchSize: 1, Epochs: 1, TestExamples: 1}} {
		if _, _, err := bad.Shape(); err == nil {
			t.Errorf("%+v: no error", bad)
		}
		if _, err := (Trial{bad, Attention(), 1}).Run(context.Background(), nil); err == nil {
			t.Errorf("%+v: no error of Run", bad)
		}
	}
}

// TestFresh checks that no two batches are the same, and that tests are none of them.
func TestFresh(t *testing.T) {
	s := tiny()
	seen := map[int]bool{}
	key := func(ids []int) int {
		k := 0
		for _, id := range ids {
			k = k*31 + id
		}
		return k
	}
	for step := range 50 {
		b, err := s.Batch(7, step)
		if err != nil {
			t.Fatal(err)
		}
		if k := key(b.IDs); seen[k] {
			t.Errorf("step %d repeats another", step)
		} else {
			seen[k] = true
		}
		again, _ := s.Batch(7, step)
		if !slices.Equal(b.IDs, again.IDs) || b.Seed != again.Seed {
			t.Errorf("step %d is not always the same", step)
		}
	}
	for i := range s.Test {
		b, err := s.TestBatch(7, i)
		if err != nil || seen[key(b.IDs)] {
			t.Errorf("test %d: %v", i, err)
		}
	}
}

func TestSweep(t *testing.T) {
	s := tiny()
	s.Epochs, s.Train[0].Steps, s.Train[1].Steps = 1, 1, 1
	sweep := Sweep{Setting: s, Contenders: []Contender{Attention(), Based(2)}, Widths: []int{8, 16}, Rates: []float64{1e-3, 1e-2}, Seeds: []uint64{1, 2, 3}}
	if n := len(sweep.Trials()); n != 24 {
		t.Errorf("%d trials", n)
	}
	sweep.Seeds = nil
	results, err := sweep.Run(context.Background(), func(tr Trial, p Progress) error {
		if p.Steps != 2 || tr.Seed != 1 {
			t.Errorf("%d steps, seed %d", p.Steps, tr.Seed)
		}
		return nil
	})
	if err != nil || len(results) != 8 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	best := Best(results)
	if len(best) != 4 {
		t.Fatalf("%d best of 4 models", len(best))
	}
	for i, b := range best {
		if pair := results[2*i : 2*i+2]; b.Accuracy() != max(pair[0].Accuracy(), pair[1].Accuracy()) || b.DModel != pair[0].DModel {
			t.Errorf("the best of %+v is %+v", pair, b)
		}
	}
	if one := (Sweep{Setting: s, Contenders: all()[:1]}).Trials(); len(one) != 1 || one[0].Setting.Rate != s.Rate {
		t.Errorf("%+v", one)
	}
}
