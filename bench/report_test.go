package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	s := samples{{30, 0.5}, {10, 0.9}, {20, 0.1}, {40, 0.6}}
	if s.best() != 40 || s.median() != 25 || s.share() != 0.55 {
		t.Errorf("best %g, median %g, share %g", s.best(), s.median(), s.share())
	}
	if got := s.times(samples{{10, 0}, {20, 0}, {10, 0}}); got != 2 {
		t.Errorf("%g times as fast, want the median of 3, 0.5 and 2", got)
	}
	if s = nil; s.times(samples{{1, 1}}) != 0 || s.best() != 0 || s.median() != 0 || s.share() != 0 {
		t.Error("no samples have figures")
	}
}

const benchmarkOutput = `goos: linux
pkg: github.com/seqmix/seqmix/internal/kernel
BenchmarkGemm/512x3072x768/tier=avx512-2         	     100	   5200000 ns/op	       95.10 %limit	       464.0 GFLOP/s
BenchmarkGemm/512x3072x768/tier=generic-2        	       1	 952000000 ns/op
BenchmarkMath/Exp/tier=avx512-2 	 9	 1234 ns/op	 13.1 elem/ns
BenchmarkMatrix/n=1024-2 	 9	 1234 ns/op	 2.5 ms	 3.5 GFLOP/s	 40 %peak	 0.25 ×dense
--- BENCH: BenchmarkMatrix
ok  	github.com/seqmix/seqmix/internal/kernel	1.2s
`

func TestParseBenchmarks(t *testing.T) {
	all, err := parseBenchmarks(strings.NewReader(benchmarkOutput), 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		t.Fatalf("%d benchmarks, want 4: %+v", len(all), all)
	}
	for i, want := range []struct {
		name  string
		rate  metric
		share float64
	}{
		{"Gemm/512x3072x768/tier=avx512", metric{464, "GFLOP/s"}, 0.951},
		{"Gemm/512x3072x768/tier=generic", metric{952000000, "ns/op"}, 0},
		{"Math/Exp/tier=avx512", metric{13.1, "elem/ns"}, 0},
		{"Matrix/n=1024", metric{3.5, "GFLOP/s"}, 0.4},
	} {
		if k := all[i]; k.Name != want.name || k.rate() != want.rate || k.share() != want.share {
			t.Errorf("%+v: rate %v, share %v, want %+v", k, k.rate(), k.share(), want)
		}
	}
	kept := keepTier(all, kernelSet{title: "set"}, "avx512")
	if len(kept) != 3 || kept[0].Name != "Gemm 512x3072x768" || kept[2].Name != "Matrix n=1024" || kept[1].Set != "set" {
		t.Errorf("%+v", kept)
	}
	if _, err := parseBenchmarks(strings.NewReader("BenchmarkX 1 2 ns/op x GB/s\n"), 1); err == nil {
		t.Error("a damaged line gave no error")
	}
}

func testReport() *report {
	return &report{
		Machine: "a machine", Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Threads: 2, Rounds: 3, Prompt: 512, Tokens: 64,
		Limits:  []limits{{500, 40}, {400, 60}},
		Missing: []string{"PyTorch (no such file)"},
		Results: []result{
			{Shape: "130m", Format: "float32", Who: ours, Version: "avx512", Bytes: 517e6, Prefill: samples{{1000, 0.5}, {900, 0.4}, {800, 0.3}}, Decode: samples{{90, 0.95}}, Cold: 300 * time.Millisecond, Peak: 600e6},
			{Shape: "130m", Format: "float32", Who: "peer F32", Version: "v1", Bytes: 517e6, Prefill: samples{{250, 0.1}, {250, 0.1}, {250, 0.1}}, Decode: samples{{60, 0.75}}, How: "torch.mv", Deviation: 1e-6},
			{Shape: "130m", Format: "float32", Who: "broken", Failed: "does not\nload"},
		},
		Kernels: []kernelResult{
			{Set: "Products", Name: "Gemm 1x2x3", Metrics: []metric{{100, "ns/op"}, {464, "GFLOP/s"}, {95, "%limit"}}},
			{Set: "Other", Name: "Exp", Metrics: []metric{{100, "ns/op"}, {13, "elem/ns"}}},
		},
		Convolutions: []convResult{
			{Length: 1024, Who: ours, Version: "avx512", Times: samples{{1000, 0.4}, {500, 0.3}}},
			{Length: 1024, Who: "FFTW", Version: "3", Times: samples{{400, 0.2}}, Deviation: 1e-7},
		},
		Failures: []string{"go test: no"},
	}
}

func TestReport(t *testing.T) {
	var b bytes.Buffer
	testReport().write(&b, []string{"plot.png"})
	for _, want := range []string{
		"- Machine: a machine; 2 threads in use.\n", "- Date: 2026-01-02 03:04.\n", "400 to 500 GFLOP/s of multiply-adds, 40.0 to 60.0 GB/s",
		"- Not measured: PyTorch (no such file).\n", "- peer F32: v1.\n", "![](plot.png)\n", "### 130m\n",
		"| float32 | seqmix | 517 | 1000 (900) | 40 % |  | 90 (90) | 95 % |  | 0.30 | 600 | 0.0e+00 |\n",
		"| float32 | peer F32, torch.mv | 517 | 250 (250) | 10 % | 3.60 | 60 (60) | 75 % | 1.50 |",
		"| float32 | broken | 0 | failed: does not load |",
		"| 1024 | seqmix (avx512) | 1 (1.33) | 35 % |  | 0.0e+00 |\n", "| 1024 | FFTW (3) | 2.5 (2.5) | 20 % | 2.50 | 1.0e-07 |\n",
		"| Gemm 1x2x3 | 464 GFLOP/s | 95 % |\n", "| Exp | 13 elem/ns |  |\n", "Failed: go test: no\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, b.String())
		}
	}
}

// What people wrote around the marks stays.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	r := testReport()
	if err := r.update(path, nil); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(first), "# Benchmarks\n\n"+beginMark) || !strings.HasSuffix(string(first), endMark) {
		t.Errorf("%s", first)
	}
	if err := os.WriteFile(path, []byte("Before.\n"+string(first)+"After.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	r.Machine = "another machine"
	if err := r.update(path, nil); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Before.\n" + strings.Replace(string(first), "a machine", "another machine", 1) + "After.\n"; string(second) != want {
		t.Errorf("got\n%s\nwant\n%s", second, want)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := r.update(path, nil); err == nil {
		t.Error("a file without marks was written to")
	}
}

func TestPlots(t *testing.T) {
	r := testReport()
	o := options{out: filepath.Join(t.TempDir(), "docs", "b.md")}
	o.plots = filepath.Join(filepath.Dir(o.out), "plots")
	names, err := o.draw(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(names, " ") != "plots/bench-130m-prefill.png plots/bench-130m-decode.png plots/bench-kernels.png" {
		t.Errorf("%q", names)
	}
	for _, n := range names {
		f, err := os.Open(filepath.Join(filepath.Dir(o.out), n))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(f); err != nil {
			t.Errorf("%s: %v", n, err)
		}
		f.Close()
	}
}

func TestCommand(t *testing.T) {
	if got := command([]string{"-peers", "", "-dir", "a b", "-rounds", "2"}); got != `go run ./bench -peers "" -dir "a b" -rounds 2` {
		t.Error(got)
	}
}

func TestFamily(t *testing.T) {
	for who, want := range map[string]string{ours: ours, "llama.cpp native BF16": "llama.cpp native", "llama.cpp Q4_0": "llama.cpp", "PyTorch bfloat16": "PyTorch"} {
		if got := family(who); got != want {
			t.Errorf("%s is of the family %q, want %q", who, got, want)
		}
	}
}

// TestRun measures a tiny model without peers and looks at what comes out.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	out, raw := filepath.Join(dir, "docs", "b.md"), filepath.Join(dir, "raw.json")
	err := run([]string{"-shapes", "tiny", "-peers", "", "-threads", "1", "-rounds", "2", "-prompt", "16", "-tokens", "4", "-probe", "1",
		"-kernels=false", "-convolutions=false", "-out", out, "-plots", filepath.Join(dir, "docs"), "-json", raw, "-dir", dir})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range formats {
		if !strings.Contains(string(text), "| "+f.name+" | seqmix |") {
			t.Errorf("no line for %s:\n%s", f.name, text)
		}
	}
	if data, err := os.ReadFile(raw); err != nil || !bytes.Contains(data, []byte(`"Rate"`)) {
		t.Errorf("raw data: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "seqmix-bench*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-shapes", "3b"}, {"-formats", "int3"}, {"-peers", "rival"}, {"-rounds", "0"}, {"-threads", "0"}, {"file"},
		{"-serve", "x"}, {"-serve", "/no/such/file", "-formats", "int8"},
	} {
		if err := run(args); err == nil {
			t.Errorf("%q gave no error", args)
		}
	}
}

func TestProbe(t *testing.T) {
	p := newProber(2, 1<<20)
	l := p.measure()
	if known := l.FMA > 0; known != (l.Read > 0) {
		t.Errorf("%+v: one limit is known and the other not", l)
	}
	if m := (limits{1, 4}).max(limits{2, 3}); m != (limits{2, 4}) {
		t.Error(m)
	}
}
