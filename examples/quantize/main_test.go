package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// stories returns the flags for a small model, if it is there.
func stories(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	dir := filepath.Join(root, "weights", "stories260K")
	if _, err := os.Stat(dir); root == "" || err != nil {
		t.Skip("no SEQMIX_TESTDATA with weights/stories260K")
	}
	return []string{"-model", filepath.Join(dir, "stories260K.bin"), "-tokenizer", filepath.Join(dir, "tok512.bin")}
}

// TestRun predicts the story that comes with a model, and one that it writes.
func TestRun(t *testing.T) {
	args := append(stories(t), "-tokens", "600", "-decode", "3")
	story := filepath.Join(os.Getenv("SEQMIX_TESTDATA"), "weights", "stories260K", "expected.txt")
	for name, more := range map[string][]string{"file": {"-text", story}, "own": {"-seed", "3"}} {
		var out bytes.Buffer
		if err := run(append(args[:len(args):len(args)], more...), &out, io.Discard); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2+len(formats) {
			t.Fatalf("%s: printed\n%s", name, &out)
		}
		for i, d := range formats {
			if !strings.HasPrefix(strings.TrimSpace(lines[2+i]), d.String()+" ") {
				t.Errorf("%s: line %q is not of %v", name, lines[2+i], d)
			}
		}
	}
}

// TestMeasure checks that smaller formats take less memory, and what they cost: next to
// nothing in 16 and 8 bits, more in 4, which this small model feels most.
func TestMeasure(t *testing.T) {
	o, err := parseFlags(append(stories(t), "-tokens", "1500"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var tx text
	var rows []row
	for i, d := range formats {
		m, err := o.open(d)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if tx, err = o.read(m); err != nil {
				t.Fatal(err)
			}
		}
		r, err := measure(m, tx, 1, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		if r.tokens != tx.tokens() || tx.tokens() < 1400 {
			t.Errorf("%v: %d tokens predicted of %d", d, r.tokens, tx.tokens())
		}
		rows = append(rows, r)
	}
	for i, bound := range map[tensor.DType]float64{tensor.BFloat16: 0.01, tensor.Int8: 0.01, tensor.Int4: 0.2} {
		r := rows[i]
		if change := r.perplexity()/rows[0].perplexity() - 1; change > bound || change < -bound {
			t.Errorf("%v: perplexity %v instead of %v", i, r.perplexity(), rows[0].perplexity())
		}
		if r.size >= rows[i-1].size {
			t.Errorf("%v: %d bytes, in the format before %d", i, r.size, rows[i-1].size)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{}, {"-model", "x", "y"}, {"-model", "x", "-tokens", "0"}, {"-nonsense"}, {"-model", "does/not/exist"}} {
		if err := run(args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
