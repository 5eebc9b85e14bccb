package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/examples/internal/hybrid"
)

// writeText makes a file that can be learnt: lines of which the second half repeats the
// first.
func writeText(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	words := []string{"ape", "bee", "cat", "dog", "elk", "fox"}
	for i := range 1500 {
		first, second := words[i*7%5], words[(i/5)%6]
		b.WriteString(first + " " + second + " " + first + " " + second + "\n")
	}
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func args(data, out string, more ...string) []string {
	return append([]string{"-data", data, "-out", out, "-dim", "32", "-heads", "2", "-hidden", "32", "-blocks", "2", "-layers", "1",
		"-length", "32", "-batch", "4", "-teacher", "150", "-distill", "40", "-steps", "40", "-held", "256", "-position", "400"}, more...)
}

var loss = regexp.MustCompile(`(?m)^([^ \n].*?) +([0-9.]+) bits per byte$`)

// losses returns the bits per byte that a run reported, and what of.
func losses(t *testing.T, log string) (what []string, bits []float64) {
	t.Helper()
	for _, m := range loss.FindAllStringSubmatch(log, -1) {
		b, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		what, bits = append(what, m[1]), append(bits, b)
	}
	return what, bits
}

// TestRun grafts every mixer, all from the same teacher.
func TestRun(t *testing.T) {
	data, out := writeText(t), t.TempDir()
	for i, mixer := range []string{"mamba2", "mamba", "hyena", "based"} {
		var log bytes.Buffer
		if err := run(context.Background(), args(data, out, "-mixer", mixer), &log); err != nil {
			t.Fatal(err)
		}
		if trained := strings.Contains(log.String(), "training a teacher"); trained != (i == 0) {
			t.Errorf("%s: the teacher was trained: %v", mixer, trained)
		}
		what, bits := losses(t, log.String())
		want := []string{"teacher", "layers replaced by random ones", "layers replaced, initialised from attention", "after 40 steps of distillation", "after 40 steps of fine-tuning"}
		if !slices.Equal(what, want) {
			t.Fatalf("%s: losses of %q, want %q", mixer, what, want)
		}
		if bits[0] > 2 {
			t.Errorf("%s: the teacher has learnt nothing: %v bits per byte", mixer, bits[0])
		}
		if bits[1] < bits[0] || bits[2] >= bits[1] || bits[3] >= bits[1] || bits[4] >= bits[1] {
			t.Errorf("%s: %v bits per byte", mixer, bits)
		}
		_, c, err := load(filepath.Join(out, modelFile))
		if err != nil {
			t.Fatal(err)
		}
		if pattern := []string{attentionName, mixers[mixer]}; !slices.Equal(c.Pattern, pattern) {
			t.Errorf("%s: blocks %v, want %v", mixer, c.Pattern, pattern)
		}
	}
}

// TestModel grafts into the model of a file, with the other choices there are.
func TestModel(t *testing.T) {
	data, first, second := writeText(t), t.TempDir(), t.TempDir()
	if err := run(context.Background(), args(data, first, "-distill", "0", "-steps", "0", "-mixer", "based", "-layers", "0"), io.Discard); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	more := []string{"-model", filepath.Join(first, modelFile), "-layers", "all", "-init", "random", "-tune", "new", "-kl", "0", "-control", "-steps", "10", "-distill", "5"}
	if err := run(context.Background(), args(data, second, more...), &log); err != nil {
		t.Fatal(err)
	}
	what, _ := losses(t, log.String())
	if len(what) != 5 || what[1] != "layers replaced by random ones" || what[4] != "to compare: the teacher after 10 steps more" {
		t.Errorf("losses of %q", what)
	}
	if _, c, err := load(filepath.Join(second, modelFile)); err != nil || !slices.Equal(c.Pattern, []string{"based", "mamba2-graft"}) {
		t.Errorf("blocks %v (%v)", c.Pattern, err)
	}
	if err := run(context.Background(), args(data, second, "-model", filepath.Join(first, modelFile), "-layers", "0"), io.Discard); err == nil {
		t.Error("a block without attention was replaced")
	}
	if err := run(context.Background(), args(data, first, "-dim", "64"), io.Discard); err == nil {
		t.Error("a teacher of another width was used")
	}
}

// stopper ends a context when something is written for the second time.
type stopper struct {
	cancel func()
	text   string
}

func (s stopper) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(s.text)) {
		s.cancel()
	}
	return len(b), nil
}

// TestInterrupt interrupts runs. The teacher is the same as one that was not interrupted.
func TestInterrupt(t *testing.T) {
	data, whole, parts := writeText(t), t.TempDir(), t.TempDir()
	none := []string{"-distill", "0", "-steps", "0"}
	if err := run(context.Background(), args(data, whole, none...), io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := run(ctx, args(data, parts, none...), stopper{cancel, "training a teacher"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	if _, err := os.Stat(filepath.Join(parts, teacherRunFile)); err != nil {
		t.Error(err)
	}
	// The last is not the end, so that all is kept.
	for _, text := range []string{"initialised from attention", "distillation, step", "of distillation", "fine-tuning, step"} {
		ctx, cancel := context.WithCancel(context.Background())
		if err := run(ctx, args(data, parts), stopper{cancel, text}); !errors.Is(err, context.Canceled) {
			t.Errorf("after %q: error %v, want that of the context", text, err)
		}
	}
	a, err := os.ReadFile(filepath.Join(whole, teacherFile))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(parts, teacherFile)); err != nil || !bytes.Equal(a, b) {
		t.Errorf("another teacher (%v)", err)
	}

	// What was interrupted again and again is the same in the end, and leaves nothing behind.
	var models [2][]byte
	for i, dir := range []string{whole, parts} {
		var log bytes.Buffer
		if err := run(context.Background(), args(data, dir), &log); err != nil {
			t.Fatal(err)
		}
		if on := strings.Contains(log.String(), "fine-tuning goes on"); on != (dir == parts) {
			t.Errorf("%s: it went on: %v", dir, on)
		}
		if models[i], err = os.ReadFile(filepath.Join(dir, modelFile)); err != nil {
			t.Fatal(err)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "*-*.safetensors")); err != nil || len(files) > 0 {
			t.Errorf("%v were left behind (%v)", files, err)
		}
	}
	if !bytes.Equal(models[0], models[1]) {
		t.Error("another model")
	}
}

func TestErrors(t *testing.T) {
	data := writeText(t)
	for _, more := range [][]string{
		{"-layers", "2"}, {"-layers", "-1"}, {"-layers", "1,1"}, {"-layers", ""}, {"-layers", "x"}, {"-mixer", "lstm"}, {"-mixer", ""}, {"-init", "zero"},
		{"-tune", "none"}, {"-distill", "-1"}, {"-steps", "-1"}, {"-teacher", "0"}, {"-length", "1"}, {"-length", "100000000"}, {"-length", "2000"}, {"-batch", "0"},
		{"-held", "1"}, {"-position", "0"}, {"-lr", "0"}, {"-lr", "NaN"}, {"-distill-lr", "-1"}, {"-kl", "1.5"}, {"-kl", "NaN"}, {"-blocks", "0"}, {"-heads", "5"}, {"-dim", "0"},
		{"-model", "nowhere"}, {"-model", data}, {"-data", "nowhere"}, {"-unknown"}, {"x"},
	} {
		if err := run(context.Background(), args(data, t.TempDir(), append([]string{"-teacher", "1"}, more...)...), io.Discard); err == nil {
			t.Errorf("%q gave no error", more)
		}
	}
	if err := run(context.Background(), []string{"-help"}, io.Discard); err != nil {
		t.Error(err)
	}
}

// TestNoAttention has a teacher with nothing to replace.
func TestNoAttention(t *testing.T) {
	data, dir := writeText(t), t.TempDir()
	m, err := hybrid.New(hybrid.Config{Pattern: []string{"conv"}, Dim: 32, Heads: 2}, testRand())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "conv.safetensors")
	if err := hybrid.Save(path, hybrid.Config{Pattern: []string{"conv"}, Dim: 32, Heads: 2}, m); err != nil {
		t.Fatal(err)
	}
	for _, layers := range []string{"0", "all"} {
		if err := run(context.Background(), args(data, dir, "-model", path, "-layers", layers), io.Discard); err == nil {
			t.Errorf("-layers %s: no error", layers)
		}
	}
}
