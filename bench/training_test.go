package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
)

func TestTrainee(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	open := "open 0 " + path
	var v trainee
	if _, err := v.do("steps 1"); err == nil {
		t.Error("steps before there is a model: no error")
	}
	var first []float64
	for range 2 { // to open is to begin again
		if _, err := v.do(open); err != nil {
			t.Fatal(err)
		}
		r, err := v.do("steps 3")
		if err != nil || len(r.Losses) != 3 || r.Seconds <= 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		if first == nil {
			first = r.Losses
		} else if !slices.Equal(r.Losses, first) {
			t.Errorf("losses %v, then %v", first, r.Losses)
		}
		if r, err = v.do("steps 2"); err != nil || len(r.Losses) != 2 {
			t.Errorf("two more steps: %+v, %v", r, err)
		}
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.Metadata()["layers"]; got != trainShapes[0].layers {
		t.Errorf("layers %q", got)
	}
	for _, bad := range []string{"open 99 " + path, "open x " + path, "steps 0", "steps", "decode 1"} {
		if _, err := v.do(bad); err == nil {
			t.Errorf("%q gave no error", bad)
		}
	}
}

// All models can be made, have what their names promise, and labels where they should.
func TestTrainShapes(t *testing.T) {
	for _, s := range trainShapes {
		m, err := s.model()
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if n := strings.Count(s.layers, ",") + 1; len(m.Layers) != n {
			t.Errorf("%s: %d layers, want %d", s.name, len(m.Layers), n)
		}
		if n, _ := m.Size(); strings.HasPrefix(s.name, "hybrid") && (n < 2.5e6 || n > 3.5e6) {
			t.Errorf("%s: %d parameters", s.name, n)
		}
		b := s.batchOf(3, m.Embedding.Vocabulary())
		labels := 0
		for _, l := range b.Labels {
			if l >= 0 {
				labels++
			}
		}
		if len(b.IDs) != s.tokens() || labels != s.tokens()/s.every {
			t.Errorf("%s: %d tokens and %d labels", s.name, len(b.IDs), labels)
		}
	}
}

// TestTraining trains with PyTorch too, if it is there, and compares losses.
func TestTraining(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	o, err := parse([]string{"-threads", "1", "-rounds", "1", "-shapes", "", "-convolutions=false"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{o: o, dir: t.TempDir(), say: t.Logf, probe: newProber(1, 1<<20)}
	t.Log(b.findPeers())
	results, err := b.training(trainShapes[:2])
	if err != nil {
		t.Fatal(err)
	}
	each := 1
	if b.torchTrain != nil {
		each = 2
	}
	if len(results) != 2*each {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		if r.Speed.best() <= 0 || r.Version == "" {
			t.Errorf("%+v", r)
		}
	}
}

func TestTrainingReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	inference := testReport()
	if err := inference.update(path, nil); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for machine := range 2 { // the second time in place of the first
		r := &report{Machine: fmt.Sprint("machine ", machine), Rounds: 3, Training: []trainResult{
			{Model: "m", Parameters: 77, Batch: "2×3", Who: ours, Version: "avx512", Speed: samples{{300, 0.5}, {200, 0.4}, {100, 0.3}}},
			{Model: "m", Parameters: 77, Batch: "2×3", Who: "PyTorch", Version: "1", How: "shifted", Speed: samples{{100, 0.1}}, Deviation: 1e-7},
		}}
		if err := r.update(path, nil); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(after, before) {
			t.Error("what was there before has changed")
		}
		training := string(after[len(before):])
		for _, want := range []string{
			fmt.Sprint("Machine: machine ", machine), "| m | 77 | 2×3 | seqmix avx512 | 300 (200) | 40 % |  | 0.0e+00 |\n",
			"| m | 77 | 2×3 | PyTorch 1, shifted | 100 (100) | 10 % | 3.00 | 1.0e-07 |\n",
		} {
			if strings.Count(training, want) != 1 {
				t.Errorf("the report does not say %q once:\n%s", want, training)
			}
		}
	}
}
