package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
)

// writeText makes a folder of files that are easy to learn.
func writeText(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 120 {
		name := filepath.Join(dir, strings.Repeat("a", i%7+1)+string(rune('0'+i%10))+string(rune('a'+i/10))+".txt")
		if err := os.WriteFile(name, []byte(strings.Repeat("the cat sat on the mat\n", 5)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other.bin"), []byte("not this"), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func args(data, out string, more ...string) []string {
	return append([]string{"-data", data, "-ext", ".txt", "-out", out, "-pattern", "mamba,attention", "-dim", "32", "-heads", "2", "-hidden", "32",
		"-length", "32", "-batch", "4", "-steps", "60", "-warmup", "5", "-every", "30", "-lr", "0.01"}, more...)
}

func TestRun(t *testing.T) {
	data, out := writeText(t), t.TempDir()
	var log bytes.Buffer
	if err := run(context.Background(), args(data, out), &log); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(filepath.Join(out, modelFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, c, err := hybrid.Load(f); err != nil || !slices.Equal(c.Pattern, []string{"mamba", "attention"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, want := range []string{"step 30", "bits per byte of the held-out files"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is missing:\n%s", want, log.String())
		}
	}
}

// TestLearns checks that text which repeats itself is learnt, from whole sequences and
// from segments.
func TestLearns(t *testing.T) {
	for _, flags := range [][]string{nil, {"-segment", "12"}, {"-segment", "12", "-truncate", "1"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) { testLearns(t, flags) })
	}
}

func testLearns(t *testing.T, flags []string) {
	o, err := parse(args(writeText(t), t.TempDir(), flags...))
	if err != nil {
		t.Fatal(err)
	}
	c, err := corpus.Read(o.data, []string{".txt"})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(o, c, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	before, err := c.BitsPerByte(tr.model, heldBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	after, err := c.BitsPerByte(tr.model, heldBytes)
	if err != nil {
		t.Fatal(err)
	}
	if after > before/3 {
		t.Errorf("%.3f bits per byte of held-out text before, %.3f after", before, after)
	}
}

// TestInterrupt stops a run and goes on: the model must be the one of a run that was not
// stopped.
func TestInterrupt(t *testing.T) {
	data, whole, parts := writeText(t), t.TempDir(), t.TempDir()
	if err := run(context.Background(), args(data, whole), new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := run(ctx, args(data, parts), cutter{cancel}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	var log bytes.Buffer
	if err := run(context.Background(), args(data, parts), &log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "going on after step") {
		t.Errorf("it did not go on:\n%s", log.String())
	}
	a, err := os.ReadFile(filepath.Join(whole, modelFile))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(parts, modelFile))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the models differ (%v)", err)
	}
	if err := run(context.Background(), args(data, parts, "-dim", "64"), &log); err == nil {
		t.Error("a run with other arguments went on")
	}
}

// cutter ends a run when it reports its thirtieth step.
type cutter struct{ cancel func() }

func (c cutter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("step 30")) {
		c.cancel()
	}
	return len(b), nil
}

func TestErrors(t *testing.T) {
	for _, list := range [][]string{
		{"-data", "nowhere"}, {"-length", "1"}, {"-lr", "0"}, {"-steps", "10", "-warmup", "10"}, {"-segment", "-1"}, {"-truncate", "1"}, {"-unknown"}, {"x"},
		{"-data", t.TempDir()}, args(writeText(t), t.TempDir(), "-pattern", "rnn"), args(writeText(t), t.TempDir(), "-length", "1000000"),
	} {
		if err := run(context.Background(), list, new(bytes.Buffer)); err == nil {
			t.Errorf("%q gave no error", list)
		}
	}
}
