package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// A kernelSet is benchmarks of a package of the root module, which compare themselves with
// the limits of the machine, in turn with what they measure.
type kernelSet struct {
	title, pkg, pattern string
}

// kernelSets are those of the table. The patterns leave out what is said elsewhere.
var kernelSets = []kernelSet{
	{"Matrix products", "./internal/kernel", "^BenchmarkGemm$"},
	{"One row times weights from memory", "./internal/kernel", "^BenchmarkGemv$"},
	{"Elementary functions", "./internal/kernel", "^BenchmarkMath$/^(Exp|SiLU|Softplus|RMSNorm)$"},
	{"Selective scan, compared with its exponentials alone", "./internal/kernel", "^BenchmarkSelectiveScan$"},
	{"Long convolution, 768 channels, one core", "./nn", "^BenchmarkLongConv$"},
	{"Hyena, order 2, width 768, one core", "./hyena", "^BenchmarkHyena$"},
	{"Attention, 12 heads of 64", "./attention", "^BenchmarkDotProduct$/^TIER$/^L=(512|4096)$"},
	{"Taylor attention, 12 heads of 16 and 64", "./based", "^BenchmarkAttention$"},
	{"Monarch matrices", "./monarch", "^BenchmarkMatrix$"},
}

// A kernelResult is a line of what a benchmark prints.
type kernelResult struct {
	Set     string
	Name    string // without the set's and the tier's
	Metrics []metric
}

type metric struct {
	Value float64
	Unit  string
}

// find returns the value with a unit.
func (k *kernelResult) find(unit string) (float64, bool) {
	for _, m := range k.Metrics {
		if m.Unit == unit {
			return m.Value, true
		}
	}
	return 0, false
}

// rate returns the first metric of the benchmark's own that is not a share, or its time.
func (k *kernelResult) rate() metric {
	var time metric
	for _, m := range k.Metrics {
		switch {
		case m.Unit == "ns/op":
			time = m
		case strings.HasSuffix(m.Unit, "/s") && m.Unit != "MB/s", strings.HasSuffix(m.Unit, "/ns"):
			return m
		}
	}
	return time
}

// share returns the share of a limit, from 0 to 1, and 0 if the benchmark does not know.
func (k *kernelResult) share() float64 {
	for _, unit := range []string{"%limit", "%peak", "%FMA", "%read"} {
		if v, ok := k.find(unit); ok {
			return v / 100
		}
	}
	return 0
}

// runKernels runs the benchmarks of a set in the root module, for the best tier of the
// machine.
func runKernels(root string, set kernelSet, tier, benchtime string, threads int) ([]kernelResult, error) {
	pattern := strings.ReplaceAll(set.pattern, "TIER", "tier="+tier)
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime, "-cpu", strconv.Itoa(threads), set.pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(threads))
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", strings.Join(cmd.Args, " "), err, out, errors.String())
	}
	all, err := parseBenchmarks(strings.NewReader(string(out)), threads)
	return keepTier(all, set, tier), err
}

// keepTier leaves out what was measured in other tiers, and shortens names.
func keepTier(all []kernelResult, set kernelSet, tier string) []kernelResult {
	var kept []kernelResult
	for _, k := range all {
		var parts []string
		other := false
		for part := range strings.SplitSeq(k.Name, "/") {
			if t, ok := strings.CutPrefix(part, "tier="); ok {
				other = other || t != tier
			} else {
				parts = append(parts, part)
			}
		}
		if !other {
			k.Set, k.Name = set.title, strings.Join(parts, " ")
			kept = append(kept, k)
		}
	}
	return kept
}

// parseBenchmarks reads the output of go test -bench. Names lose the word Benchmark and
// the number of processors.
func parseBenchmarks(r io.Reader, procs int) ([]kernelResult, error) {
	var all []kernelResult
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		k := kernelResult{Name: strings.TrimPrefix(fields[0], "Benchmark")}
		if procs > 1 {
			k.Name = strings.TrimSuffix(k.Name, "-"+strconv.Itoa(procs))
		}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			k.Metrics = append(k.Metrics, metric{v, fields[i+1]})
		}
		all = append(all, k)
	}
	return all, lines.Err()
}

// moduleRoot returns the directory of the root module.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/seqmix/seqmix").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// threadsOf is the default of -threads.
func threadsOf() int { return runtime.GOMAXPROCS(0) }
