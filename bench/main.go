// Bench measures seqmix and, where they are installed, its peers, in one run, in turn,
// and between probes of what the machine can do, and writes the tables and plots of
// docs/benchmarks.md:
//
//	go run ./bench
//	go run ./bench -shapes 130m,370m,1.4b -npm /tmp/peers -python /usr/bin/python3
//
// bench/README.md says how to install the peers.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/tensor"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	shapes         []shape
	formats        []format
	peers          []string
	threads        int
	rounds         int
	prompt, tokens int
	probe          int // bytes
	npm, llama     string
	python         string
	kernels        bool
	convolutions   bool
	training       bool
	benchtime      string
	out, plots     string
	raw            string
	dir            string
	serve          string // a file: be the contestant
	exact          bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	shapeList := f.String("shapes", "130m", "models: some of tiny, 130m, 370m, 1.4b; empty for none")
	formatList := f.String("formats", "float32,bfloat16,int8,int4", "formats of weights")
	peerList := f.String("peers", "llama,torch,fftw", "peers to measure where they are installed; empty for none")
	f.IntVar(&o.threads, "threads", threadsOf(), "threads of everybody")
	f.IntVar(&o.rounds, "rounds", 3, "rounds, in each of which everybody has a turn")
	f.IntVar(&o.prompt, "prompt", 512, "tokens to read at once")
	f.IntVar(&o.tokens, "tokens", 64, "tokens to read one by one")
	f.IntVar(&o.probe, "probe", probeBytes>>20, "MB of memory to probe the bandwidth with")
	f.StringVar(&o.npm, "npm", os.Getenv("SEQMIX_BENCH_NPM"), "directory where npm installed node-llama-cpp; or $SEQMIX_BENCH_NPM")
	f.StringVar(&o.llama, "llama", os.Getenv("SEQMIX_BENCH_LLAMA"), "further builds of the same version of llama.cpp, as name=directory,…; or $SEQMIX_BENCH_LLAMA")
	f.StringVar(&o.python, "python", cmp.Or(os.Getenv("SEQMIX_BENCH_PYTHON"), "python3"), "Python to look for PyTorch in; or $SEQMIX_BENCH_PYTHON")
	f.BoolVar(&o.kernels, "kernels", true, "run the benchmarks of kernels too")
	f.BoolVar(&o.convolutions, "convolutions", true, "measure long convolutions too")
	f.BoolVar(&o.training, "training", true, "measure training too")
	f.StringVar(&o.benchtime, "benchtime", "300ms", "how long each of them runs")
	f.StringVar(&o.out, "out", filepath.Join("docs", "benchmarks.md"), "file for the tables; - for standard output")
	f.StringVar(&o.plots, "plots", "docs", "directory for the plots; empty for none")
	f.StringVar(&o.raw, "json", "", "file for all measurements")
	f.StringVar(&o.dir, "dir", "", "directory for models, of up to 6 GB at a time, which are removed afterwards (default: a new one in the system's)")
	f.StringVar(&o.serve, "serve", "", "load this file, in the one format of -formats, and answer commands: what bench itself runs; conv for convolutions, training for training")
	f.BoolVar(&o.exact, "exact", false, "with -serve, multiply the weights in float32, whatever they were rounded to")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err1, err2 error
	if *shapeList != "" {
		o.shapes, err1 = chooseShapes(*shapeList)
	}
	o.formats, err2 = chooseFormats(*formatList)
	o.peers = strings.FieldsFunc(*peerList, func(r rune) bool { return r == ',' })
	return o, cmp.Or(err1, err2, o.check(f.Args()))
}

func (o *options) check(rest []string) error {
	for _, p := range o.peers {
		if !slices.Contains([]string{"llama", "torch", "fftw"}, p) {
			return fmt.Errorf("-peers: no peer %q, want some of llama, torch, fftw", p)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case min(o.threads, o.rounds, o.prompt, o.tokens, o.probe) < 1:
		return errors.New("-threads, -rounds, -prompt, -tokens and -probe: want at least 1")
	case o.serve != "" && len(o.formats) != 1:
		return errors.New("-serve: want one format")
	}
	return nil
}

func run(args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.serve != "" {
		return serve(o.serve, o.formats[0].weights, o.exact, os.Stdin, os.Stdout)
	}
	runtime.GOMAXPROCS(o.threads)
	r := &report{
		Date: time.Now(), Machine: machine(), Command: command(args),
		Load: load(), Threads: o.threads, Rounds: o.rounds, Prompt: o.prompt, Tokens: o.tokens,
	}
	if err := measureAgainstPeers(o, r); err != nil {
		return err
	}
	if o.kernels {
		if err := measureKernels(o, r); err != nil {
			return err
		}
	}
	return o.publish(r)
}

// command returns the command line, with quotes where a shell needs them.
func command(args []string) string {
	line := "go run ./bench"
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " '\"$;&|<>*?()") {
			a = strconv.Quote(a)
		}
		line += " " + a
	}
	return line
}

func say(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }

// newBar returns a progress bar, which shows only where somebody looks.
func newBar(n int, title string) *progressbar.ProgressBar {
	var out io.Writer = io.Discard
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		out = os.Stderr
	}
	return progressbar.NewOptions(n, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(title),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
}

// measureAgainstPeers measures all models in all formats, convolutions, and training.
func measureAgainstPeers(o options, r *report) error {
	if len(o.shapes) == 0 && !o.convolutions && !o.training {
		return nil
	}
	work, err := os.MkdirTemp(o.dir, "seqmix-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	defer removeWhenInterrupted(work)()
	b := &bench{o: o, dir: work, say: say, probe: newProber(o.threads, o.probe<<20)}
	r.Missing = b.findPeers()
	for _, m := range r.Missing {
		say("not measured: %s", m)
	}
	for _, s := range o.shapes {
		for _, f := range o.formats {
			results, err := b.run(s, f)
			if err != nil {
				return fmt.Errorf("%s %s: %w", s.name, f.name, err)
			}
			for _, x := range results {
				if x.Failed == "" {
					say("%s %-8s %-24s prefill %s, decode %s tokens/s", x.Shape, x.Format, x.Who, speeds(x.Prefill), speeds(x.Decode))
				}
			}
			r.Results = append(r.Results, results...)
		}
	}
	if o.convolutions {
		if r.Convolutions, err = b.convolutions(); err != nil {
			return fmt.Errorf("convolutions: %w", err)
		}
	}
	if o.training {
		if r.Training, err = b.training(trainShapes); err != nil {
			return fmt.Errorf("training: %w", err)
		}
	}
	r.Limits = b.limits
	return nil
}

// removeWhenInterrupted removes a directory, which may hold gigabytes, when the user ends
// the program, until the function is called that it returns.
func removeWhenInterrupted(dir string) (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-c; ok {
			os.RemoveAll(dir)
			os.Exit(1)
		}
	}()
	return func() {
		signal.Stop(c)
		close(c)
	}
}

// findPeers finds the peers that are installed, and returns why others are not.
func (b *bench) findPeers() []string {
	var missing []string
	var err error
	if slices.Contains(b.o.peers, "llama") && len(b.o.shapes) > 0 {
		if b.llama, err = findLlama(b.o.npm, b.o.llama, b.dir); err != nil {
			b.llama = nil
			missing = append(missing, "llama.cpp ("+err.Error()+")")
		}
	}
	if slices.Contains(b.o.peers, "torch") && len(b.o.shapes) > 0 {
		if b.torch, err = findTorch(b.o.python, b.dir, "mamba.py", torchScript); err != nil {
			missing = append(missing, "PyTorch ("+err.Error()+")")
		}
	}
	if slices.Contains(b.o.peers, "torch") && b.o.training {
		if b.torchTrain, err = findTorch(b.o.python, b.dir, "train.py", torchTraining); err != nil {
			missing = append(missing, "training with PyTorch ("+err.Error()+")")
		}
	}
	if slices.Contains(b.o.peers, "fftw") && b.o.convolutions {
		if b.fftw, err = findFFTW(b.dir); err != nil {
			missing = append(missing, "FFTW ("+err.Error()+")")
		}
	}
	return missing
}

// measureKernels runs the benchmarks of all kernels.
func measureKernels(o options, r *report) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	bar := newBar(len(kernelSets), "kernels")
	for _, set := range kernelSets {
		bar.Describe(set.title)
		found, err := runKernels(root, set, tensor.CPU(), o.benchtime, o.threads)
		if err != nil {
			r.Failures = append(r.Failures, err.Error())
		}
		r.Kernels = append(r.Kernels, found...)
		bar.Add(1)
	}
	return bar.Finish()
}

// publish writes what was measured.
func (o *options) publish(r *report) error {
	if o.raw != "" {
		data, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.raw, data, 0o666); err != nil {
			return err
		}
	}
	plots, err := o.draw(r)
	if err != nil {
		return err
	}
	if o.out == "-" {
		if r.inference() {
			r.write(os.Stdout, plots)
		}
		if len(r.Training) > 0 {
			r.training(os.Stdout)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o777); err != nil {
		return err
	}
	if err := r.update(o.out, plots); err != nil {
		return err
	}
	say("written: %s", o.out)
	return nil
}

// draw draws the plots and returns their names as the file of tables has them.
func (o *options) draw(r *report) ([]string, error) {
	if o.plots == "" {
		return nil, nil
	}
	if err := os.MkdirAll(o.plots, 0o777); err != nil {
		return nil, err
	}
	var names []string
	add := func(file string, draw func(path string) error) error {
		path := filepath.Join(o.plots, file)
		names = append(names, filepath.ToSlash(relative(filepath.Dir(o.out), path)))
		return draw(path)
	}
	var all []error
	for shape, results := range byShape(r.Results) {
		all = append(all, add("bench-"+shape+"-prefill.png", func(path string) error {
			return drawModels(path, fmt.Sprintf("Mamba %s, reading %d tokens at once", shape, r.Prompt), results, func(x result) samples { return x.Prefill })
		}), add("bench-"+shape+"-decode.png", func(path string) error {
			return drawModels(path, fmt.Sprintf("Mamba %s, token by token", shape), results, func(x result) samples { return x.Decode })
		}))
	}
	if slices.ContainsFunc(r.Kernels, func(k kernelResult) bool { return k.share() > 0 }) {
		all = append(all, add("bench-kernels.png", func(path string) error { return drawKernels(path, r.Kernels) }))
	}
	return names, errors.Join(all...)
}

// byShape yields the results of each shape, which lie together.
func byShape(results []result) iter.Seq2[string, []result] {
	return func(yield func(string, []result) bool) {
		for len(results) > 0 {
			shape, n := results[0].Shape, 1
			for n < len(results) && results[n].Shape == shape {
				n++
			}
			if !yield(shape, results[:n]) {
				return
			}
			results = results[n:]
		}
	}
}

// relative returns a path as seen from a directory.
func relative(dir, path string) string {
	if r, err := filepath.Rel(dir, path); err == nil {
		return r
	}
	return path
}
