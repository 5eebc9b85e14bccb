package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func tinyFile(t *testing.T, k kind) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := writeFile(path, newMamba(shapes[0], k)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestContestant(t *testing.T) {
	b := &bench{o: options{threads: 1}}
	c, err := b.startOurs(tinyFile(t, q8), "int8")
	if err != nil {
		t.Fatal(err)
	}
	if c.version == "" {
		t.Error("no version")
	}
	once, err := b.logits(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(once) != shapes[0].vocabulary {
		t.Fatalf("%d logits", len(once))
	}
	if _, err := c.do("decode 3"); err != nil {
		t.Fatal(err)
	}
	again, err := b.logits(c) // a prefill forgets what was before
	if err != nil || deviation(again, once) != 0 {
		t.Errorf("logits differ by %g from those of the same text before (%v)", deviation(again, once), err)
	}
	if r, err := c.do("prefill 5"); err != nil || r.Seconds <= 0 {
		t.Errorf("prefill took %v s (%v)", r.Seconds, err)
	}
	other, err := c.do("logits")
	if err != nil || deviation(other.Logits, once) < 0.1 {
		t.Errorf("another text gave the same logits, but for %g (%v)", deviation(other.Logits, once), err)
	}
	for _, bad := range []string{"dance 3", "prefill", "decode 0", ""} {
		if _, err := c.do(bad); err == nil || !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if p := c.peakMemory(); runtime.GOOS == "linux" && (p < 1<<20 || p > 1<<30) {
		t.Errorf("a peak of %d bytes", p)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if _, err := c.do("decode 1"); err == nil {
		t.Error("a process that has ended answered")
	}
	if _, err := b.startOurs(filepath.Join(t.TempDir(), "none.gguf"), "int8"); err == nil || !strings.Contains(err.Error(), "none.gguf") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Rounded weights give what the same weights give in float32, and not what others give.
func TestReference(t *testing.T) {
	b := &bench{o: options{threads: 1}}
	path := tinyFile(t, f32)
	exact, err := b.reference(path, "float32")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range formats[1:] {
		want, err := b.reference(path, f.name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.startOurs(path, f.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.logits(c)
		if err != nil {
			t.Fatal(err)
		}
		if d := deviation(got, want); !(d <= ourTolerance) {
			t.Errorf("%s: logits differ by %g", f.name, d)
		}
		if d := deviation(got, exact); !(d > 1e-4) {
			t.Errorf("%s: logits differ by %g from those of float32: nothing was rounded", f.name, d)
		}
		c.stop()
	}
}

func TestParseReply(t *testing.T) {
	r, err := parseReply([]byte(`{"seconds":0.25,"how":"torch.mv"}` + "\n"))
	if err != nil || r.Seconds != 0.25 || r.How != "torch.mv" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := parseReply([]byte(`{"logits":[1,-2.5e-3]}`)); err != nil || len(r.Logits) != 2 || r.Logits[1] != -0.0025 {
		t.Errorf("%+v, %v", r, err)
	}
	for line, want := range map[string]string{`{"error":"out of memory"}`: "out of memory", "Killed\n": "Killed", `{"logits":[nan]}`: "nan"} {
		if _, err := parseReply([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestParsePeak(t *testing.T) {
	if got := parsePeak("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"); got != 12345<<10 {
		t.Errorf("%d bytes", got)
	}
	if got := parsePeak("Name:\tx\n"); got != 0 {
		t.Errorf("%d bytes, want 0", got)
	}
}

// Peers compute the same function, if they are there.
func TestPeers(t *testing.T) {
	o, err := parse([]string{"-threads", "1", "-rounds", "1", "-prompt", "8", "-tokens", "2"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{o: o, dir: t.TempDir(), say: t.Logf, probe: newProber(1, 1<<20)}
	missing := b.findPeers()
	if len(b.llama) == 0 && b.torch == nil {
		t.Skip(missing)
	}
	for _, f := range formats {
		results, err := b.run(shapes[0], f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Failed != "" || r.Prefill.best() <= 0 || r.Decode.best() <= 0 || r.Version == "" {
				t.Errorf("%s %s: %+v", f.name, r.Who, r)
			}
		}
	}
}

func TestLlamaMissing(t *testing.T) {
	if _, err := findLlama(t.TempDir(), "", t.TempDir()); err == nil {
		t.Error("an empty directory has llama.cpp")
	}
	module := filepath.Join(t.TempDir(), "llama")
	if err := os.Mkdir(module, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(module, "binariesGithubRelease.json"), []byte(`{"release": "v9"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if v, err := llamaVersion(filepath.Dir(module)); v != "v9" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := findTorch("no-such-python", t.TempDir(), "x.py", nil); err == nil {
		t.Error("a Python that is not there has PyTorch")
	}
}
