package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestFlagErrors(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "-model, -in, -out missing"},
		{"-model m -in a", "-out missing"},
		{"-model m -in a -out b c", `unexpected argument "c"`},
		{"-model m -in a -out b -level -1", "-level -1"},
		{"-model m -in a -out b -level NaN", "-level NaN"},
		{"-model m -in a -out b -chunk -1", "-chunk -1"},
		{"-model m -in a -out b -threads 0", "-threads 0"},
		{"-model m -in a -out b -net", errFlags.Error()},
		{"-model m -in a -out b -loud", errFlags.Error()},
		{"-help", flag.ErrHelp.Error()},
	} {
		_, err := parseFlags(strings.Fields(test.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.args, err, test.want)
		}
	}
}

// TestRun runs the program on a tiny network.
func TestRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := tinyNetwork(1, tinyMamba).save(t, "tiny")
	in, out, ref := filepath.Join(dir, "in.wav"), filepath.Join(dir, "out.wav"), filepath.Join(dir, "ref.wav")
	x, clean := noise(1, 3000), noise(2, 3000)
	for path, clip := range map[string][]float32{in: x, ref: clean} {
		if err := writeWAV(path, clip); err != nil {
			t.Fatal(err)
		}
	}
	var results [][]byte
	for _, extra := range []string{"", "-chunk 1000", "-chunk 9999 -threads 2", "-net tiny -ref " + ref} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"-model", dir, "-in", in, "-out", out}, strings.Fields(extra)...)
		if err := run(args, &stdout, &stderr); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`network  \S+tiny.safetensors: Mamba, \d+ parameters`,
			`clip     \S+in.wav: 0\.19 s, level 0\.10\d\d`,
			`real-time factor \d\.\d{4}: .* for 0\.19 s of speech`,
			`latency  1\.3 ms`,
		} {
			if !regexp.MustCompile(want).Match(stdout.Bytes()) {
				t.Errorf("%s: no %q in the output:\n%s", extra, want, &stdout)
			}
		}
		if ratio := regexp.MustCompile(`SI-SDR   -\d+\.\d\d dB in, -?\d+\.\d\d dB out, [+-]\d+\.\d\d dB`); ratio.Match(stdout.Bytes()) != strings.Contains(extra, "-ref") {
			t.Errorf("%s: SI-SDR with -ref and not without it:\n%s", extra, &stdout)
		}
		if stderr.Len() > 0 {
			t.Errorf("%s: a bar where there is no terminal: %q", extra, &stderr)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, b)
	}
	for _, b := range results[1:] {
		if !bytes.Equal(b, results[0]) {
			t.Error("results differ that are the same but for chunks and threads")
		}
	}
	got, err := readWAV(out)
	if err != nil {
		t.Fatal(err)
	}
	read, err := readWAV(in)
	if err != nil {
		t.Fatal(err)
	}
	want := whole(t, tinyNetwork(1, tinyMamba).build(t), read, measureLevel(read))
	for i := range want {
		want[i] = float32(toInt16(want[i])) / 32768
	}
	if !slices.Equal(got, want) {
		t.Error("the file is not what the network gives")
	}
}

func TestRunErrors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := tinyNetwork(1, tinyMamba).save(t, "tiny")
	in, short := filepath.Join(dir, "in.wav"), filepath.Join(dir, "short.wav")
	for path, n := range map[string]int{in: 100, short: 99} {
		if err := writeWAV(path, noise(1, n)); err != nil {
			t.Fatal(err)
		}
	}
	none := filepath.Join(dir, "none", "x.wav")
	out := filepath.Join(dir, "out.wav")
	for _, test := range []struct {
		name, model, in, out, ref, want string
	}{
		{"no model", none, in, out, "", "no such file"},
		{"a model that is none", in, in, out, "", "in.wav"},
		{"no clip", dir, none, out, "", "no such file"},
		{"a clip that is none", dir, filepath.Join(dir, "tiny.safetensors"), out, "", "not a WAV file"},
		{"a reference of another length", dir, in, out, short, "99 samples, want 100"},
		{"no place for the result", dir, in, none, "", "no such file"},
	} {
		args := []string{"-model", test.model, "-in", test.in, "-out", test.out, "-ref", test.ref}
		err := run(args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	if err := run([]string{"-nonsense"}, io.Discard, io.Discard); !errors.Is(err, errFlags) {
		t.Errorf("wrong flag: %v", err)
	}
}
