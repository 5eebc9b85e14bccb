package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
)

// newModel writes a small model of bytes, of random weights, in the layout of
// state-spaces/mamba.
func newModel(t *testing.T) string {
	t.Helper()
	const dim, layers = 16, 2
	r := rand.New(rand.NewPCG(1, 2))
	e := nn.NewEmbedding(256, dim)
	e.Init(r, 0.5)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5)}
	for range layers {
		mamba, err := ssm.NewMamba(ssm.MambaConfig{DModel: dim})
		if err != nil {
			t.Fatal(err)
		}
		mamba.Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mamba})
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`{"d_model": %d, "n_layer": %d, "vocab_size": 256, "ssm_cfg": {}, "rms_norm": true, "pad_vocab_size_multiple": 8}`, dim, layers)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	rename := func(name string) string {
		switch {
		case strings.HasPrefix(name, "embedding."):
			return "backbone.embedding.weight"
		case strings.HasPrefix(name, "norm."):
			return "backbone.norm_f.weight"
		case strings.HasPrefix(name, "head."):
			return "lm_head.weight"
		}
		return "backbone." + name
	}
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), m, rename); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs the program and returns what it prints.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	c := command()
	var out, log bytes.Buffer
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&log)
	c.SetArgs(args)
	err = c.Execute()
	return out.String(), log.String(), err
}

// mustRun is run without errors.
func mustRun(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	out, log, err := run(t, stdin, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, log)
	}
	return out, log
}

func TestRun(t *testing.T) {
	dir := newModel(t)
	out, log := mustRun(t, "", "run", "-m", dir, "-n", "12", "Hello")
	if len(out) == 0 || !strings.Contains(log, "tokens/s") || !strings.Contains(log, "Mamba") {
		t.Errorf("printed %q and %q", out, log)
	}
	fromStdin, _ := mustRun(t, "Hello", "run", "-q", "-m", dir, "-n", "12")
	if fromStdin != out {
		t.Errorf("a prompt from standard input gives %q, as an argument %q", fromStdin, out)
	}
	asJSON, _ := mustRun(t, "", "run", "-q", "-m", dir, "-n", "12", "--json", "Hello")
	var r result
	if err := json.Unmarshal([]byte(asJSON), &r); err != nil {
		t.Fatal(err)
	}
	if r.Text+"\n" != out || r.Tokens != 12 || r.PromptTokens != 5 || r.Prompt != "Hello" || r.PerSecond <= 0 {
		t.Errorf("JSON %+v, text %q", r, out)
	}
	one, _ := mustRun(t, "", "run", "-q", "-m", dir, "-n", "20", "-t", "1", "--seed", "3", "Hello")
	two, _ := mustRun(t, "", "run", "-q", "-m", dir, "-n", "20", "-t", "1", "--seed", "3", "Hello")
	if one != two {
		t.Errorf("one seed gives %q and %q", one, two)
	}
}

func TestScore(t *testing.T) {
	dir := newModel(t)
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("some text"), 0o666); err != nil {
		t.Fatal(err)
	}
	out, _ := mustRun(t, "", "score", "-q", "-m", dir, "--json", "-f", file)
	var s scores
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	if s.Tokens != 8 || s.Bytes != 9 || math.Abs(s.Perplexity-math.Exp(s.NatsPer)) > 1e-9 || math.Abs(s.BitsPerByte-s.NatsPer*8/9/math.Ln2) > 1e-9 {
		t.Errorf("%+v", s)
	}
	each, _ := mustRun(t, "some text", "score", "-q", "-m", dir, "--each")
	if n := strings.Count(each, "\n"); n != 9 {
		t.Errorf("%d lines, want 9:\n%s", n, each)
	}
}

func TestEmbed(t *testing.T) {
	dir := newModel(t)
	for _, pool := range []string{"mean", "last"} {
		out, _ := mustRun(t, "", "embed", "-q", "-m", dir, "--pool", pool, "one", "another")
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var v vector
			if err := json.Unmarshal([]byte(line), &v); err != nil || len(v.Vector) != 16 || v.Tokens != []int{3, 7}[i] {
				t.Errorf("%s: %s (%v)", pool, line, err)
			}
		}
	}
}

// The encoder is the one whose results package checkpoint compares with those of its
// authors' code.
func TestEmbedEncoder(t *testing.T) {
	const dir = "testdata/m2-bert"
	e, err := checkpoint.LoadEncoder(dir, checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]int{{3, 1, 4, 1, 5}, {9, 2, 6}}
	x, err := e.Encode(texts, nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := e.Embed(texts)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for pool, want := range map[string]tensor.Mat{"": own, "first": x.First(), "mean": x.Mean()} {
		out, _ := mustRun(t, "", "embed", "-q", "-m", dir, "--pool", pool, "--ids", "3 1 4 1 5", "9 2 6")
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var v vector
			if err := json.Unmarshal([]byte(line), &v); err != nil || !slices.Equal(v.Vector, want.Row(i)) || v.Tokens != len(texts[i]) {
				t.Errorf("--pool %q: %s (%v), want %v", pool, line, err, want.Row(i))
			}
			seen[fmt.Sprint(v.Vector)] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d different vectors of 2 texts in 3 ways", len(seen))
	}
	for _, args := range [][]string{
		{"--pool", "last", "--ids", "1"}, {"--ids", "1 x"}, {"--ids", "1 100000"}, {"--ids", ""}, {"no tokenizer"},
	} {
		if _, _, err := run(t, "", append([]string{"embed", "-q", "-m", dir}, args...)...); err == nil {
			t.Errorf("%q gave no error", args)
		}
	}
	if _, _, err := run(t, "", "run", "-q", "-m", dir, "--tokenizer", "bytes", "x"); err == nil {
		t.Error("an encoder continued a text")
	}
}

func TestBenchAndQuantize(t *testing.T) {
	dir := newModel(t)
	out, _ := mustRun(t, "", "bench", "-q", "-m", dir, "-p", "8", "-n", "4", "-r", "1", "--json", "--weights", "bfloat16")
	var s speed
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Prefill <= 0 || s.Decode <= 0 || s.State <= 0 {
		t.Errorf("%s (%v)", out, err)
	}
	table, _ := mustRun(t, "some text to predict", "quantize", "-q", "-m", dir, "-p", "8", "-n", "4")
	for _, format := range formats() {
		if !strings.Contains(table, format) {
			t.Errorf("no row for %s:\n%s", format, table)
		}
	}
}

func TestInspectAndConvert(t *testing.T) {
	dir := newModel(t)
	out, _ := mustRun(t, "", "inspect", "--tensors", dir)
	for _, want := range []string{"Mamba", "backbone.layers.1.mixer.in_proj.weight", "[64 16]"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	half := filepath.Join(t.TempDir(), "model.safetensors")
	mustRun(t, "", "convert", "--to", "bfloat16", dir, half)
	f, err := checkpoint.Open(half)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if e, ok := f.Lookup("backbone.layers.0.mixer.in_proj.weight"); !ok || e.DType() != checkpoint.BF16 {
		t.Error("the weight is not bfloat16")
	}
	same := filepath.Join(t.TempDir(), "same.safetensors")
	mustRun(t, "", "convert", dir, same)
	if out, _ := mustRun(t, "", "inspect", same); !strings.Contains(out, "A_log") {
		t.Errorf("a single file:\n%s", out)
	}
}

func TestErrors(t *testing.T) {
	dir := newModel(t)
	for _, args := range [][]string{
		{"run"}, {"run", "-m", "nowhere", "x"}, {"run", "-m", dir, "--weights", "float7", "x"}, {"run", "-m", dir, "-t", "-1", "x"},
		{"run", "-m", dir, ""}, {"run", "-m", dir, "--tokenizer", "nowhere", "x"}, {"score", "-m", dir, "x"}, {"score", "-m", dir, "-f", "f", "x"},
		{"embed", "-m", dir, "--pool", "max", "x"}, {"embed", "-m", dir, "--pool", "first", "x"}, {"bench", "-m", dir, "-p", "0"}, {"inspect", "nowhere"},
		{"convert", dir}, {"convert", "--to", "int8", dir, "x"}, {"--threads", "-1", "inspect", dir}, {"unknown"},
	} {
		if _, _, err := run(t, "", args...); err == nil {
			t.Errorf("%q gave no error", args)
		}
	}
}

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		stops []string
		text  string
		want  string
	}{
		{nil, "abc", "abc"},
		{[]string{"b"}, "abc", "a"},
		{[]string{"bcd"}, "abcx", "abcx"},
		{[]string{"", "cd", "bcd"}, "abcde", "a"},
		{[]string{"xx"}, "abx", "abx"},
	} {
		var out bytes.Buffer
		s := &stopper{decoder: tokenizer.NewDecoder(tokenizer.Bytes{}, true), stops: c.stops, out: &out}
		for _, id := range (tokenizer.Bytes{}).Encode(c.text) {
			if s.next(id) {
				break
			}
		}
		s.close()
		if out.String() != c.want || s.all.String() != c.want {
			t.Errorf("%q up to %q: %q, want %q", c.text, c.stops, out.String(), c.want)
		}
	}
}
