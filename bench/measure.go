package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// A result is what was measured of one contestant with one model.
type result struct {
	Shape, Format string
	Who           string // "seqmix" or a peer
	Version       string
	Bytes         int // of the weights in the file, which decoding a token reads once

	Prefill, Decode samples
	How             string        // of a peer that has several ways to decode
	Deviation       float64       // of its logits, see format
	Peak            int           // bytes of memory at most
	Cold            time.Duration // from the start of the process to the first logits; the best
	Failed          string        // why there are no figures
}

// A bench runs contestants.
type bench struct {
	o          options
	llama      []llamaBuild
	torch      *torchPeer
	torchTrain *torchPeer
	fftw       *fftwPeer
	probe      *prober
	dir        string // for files
	say        func(format string, a ...any)
	limits     []limits // all that were probed

	references map[string][]float64
}

// An entry is a contestant that is to be started.
type entry struct {
	name      string
	file      string
	weights   string  // the format that it rounds the weights of the file to
	tolerance float64 // of its logits
	start     func() (*contestant, error)
}

// ourTolerance is that of seqmix, which rounds weights but not activations.
const ourTolerance = 1e-4

// run measures a shape in one format: everybody is started, then they take turns.
func (b *bench) run(s shape, f format) ([]result, error) {
	files, err := b.write(s, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, path := range files {
			os.Remove(path)
		}
	}()
	var results []result
	var running []*contestant
	var places []int // of the results of those that run
	for _, e := range b.entries(f, files) {
		r := result{Shape: s.name, Format: f.name, Who: e.name, Bytes: newMamba(s, f.kind).size()}
		c, err := b.ready(e, &r)
		if err != nil {
			if e.name == ours {
				return nil, err
			}
			r.Failed = err.Error()
			b.say("%s %s: %s: %v", s.name, f.name, e.name, err)
		} else {
			running, places = append(running, c), append(places, len(results))
		}
		results = append(results, r)
	}
	measured := make([]*result, len(running))
	for i, place := range places {
		measured[i] = &results[place]
	}
	bar := newBar((1+decodesPerRound)*b.o.rounds*len(running), s.name+" "+f.name)
	defer bar.Finish()
	for range b.o.rounds {
		if err := b.round(running, s, measured, func() { bar.Add(1) }); err != nil {
			return nil, errors.Join(err, stopAll(running))
		}
	}
	for i, c := range running {
		measured[i].How, measured[i].Peak = c.how, c.peakMemory()
	}
	return results, stopAll(running)
}

func stopAll(running []*contestant) error {
	var all []error
	for _, c := range running {
		all = append(all, c.stop())
	}
	return errors.Join(all...)
}

const ours = "seqmix"

// entries returns who takes part.
func (b *bench) entries(f format, files map[kind]string) []entry {
	list := []entry{{ours, files[f.kind], f.name, ourTolerance, func() (*contestant, error) { return b.startOurs(files[f.kind], f.name) }}}
	peer := func(name string, k kind, start func(name, file string, threads int) (*contestant, error)) {
		list = append(list, entry{name, files[k], "float32", f.tolerance, func() (*contestant, error) { return start(name, files[k], b.o.threads) }})
	}
	for _, l := range b.llama {
		for _, k := range append([]kind{f.kind}, f.others...) {
			peer(fmt.Sprintf("%s %s", l.name, k), k, l.start)
		}
	}
	if b.torch != nil && (f.kind == f32 || f.kind == bf16) {
		peer("PyTorch "+f.name, f.kind, b.torch.start)
	}
	return list
}

func (b *bench) startOurs(file, weights string, flags ...string) (*contestant, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append([]string{self, "-serve", file, "-formats", weights}, flags...)
	return start(ours, argv, []string{"GOMAXPROCS=" + strconv.Itoa(b.o.threads)})
}

// write writes the files of a model that the contestants read.
func (b *bench) write(s shape, f format) (map[kind]string, error) {
	files := map[kind]string{}
	kinds := []kind{f.kind}
	if len(b.llama) > 0 {
		kinds = append(kinds, f.others...)
	}
	for _, k := range kinds {
		path := filepath.Join(b.dir, fmt.Sprintf("mamba-%s-%s.gguf", s.name, k))
		if err := writeFile(path, newMamba(s, k)); err != nil {
			return nil, err
		}
		files[k] = path
	}
	return files, nil
}

func writeFile(path string, g *gguf) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	bar := newBar(g.size(), "writing "+filepath.Base(path))
	err = g.write(out, func(n int) { bar.Add(n) })
	bar.Finish()
	return errors.Join(err, out.Close())
}

// checkTokens is the length of the text after which logits are compared.
const checkTokens = 48

// reference returns the logits of a file with its weights rounded to a format, and no
// rounding after that but of float32.
func (b *bench) reference(file, weights string) ([]float64, error) {
	key := file + " " + weights
	if l, ok := b.references[key]; ok {
		return l, nil
	}
	c, err := b.startOurs(file, weights, "-exact")
	if err != nil {
		return nil, err
	}
	logits, err := b.logits(c)
	if err := errors.Join(err, c.stop()); err != nil {
		return nil, err
	}
	if b.references == nil {
		b.references = map[string][]float64{}
	}
	b.references[key] = logits
	return logits, nil
}

func (b *bench) logits(c *contestant) ([]float64, error) {
	if _, err := c.do(fmt.Sprint("prefill ", checkTokens-4)); err != nil {
		return nil, err
	}
	if _, err := c.do("decode 4"); err != nil {
		return nil, err
	}
	r, err := c.do("logits")
	return r.Logits, err
}

// ready starts a contestant several times, to see how soon it answers, and checks that it
// computes the function that it is to compute. What it returns has done no more than answer,
// so that its memory is not that of the check.
func (b *bench) ready(e entry, r *result) (*contestant, error) {
	for i := 1; ; i++ {
		c, err := e.start()
		if err != nil {
			return nil, err
		}
		_, err = c.do("prefill 1")
		t := time.Since(c.started)
		switch {
		case err != nil:
		case i == 1:
			r.Version, r.Cold = c.version, t
			err = b.check(c, e, r)
		default:
			r.Cold = min(r.Cold, t)
		}
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		if i == coldStarts {
			return c, nil
		}
		if err := c.stop(); err != nil {
			return nil, err
		}
	}
}

// check compares the logits of a contestant with those that its weights give.
func (b *bench) check(c *contestant, e entry, r *result) error {
	logits, err := b.logits(c)
	if err != nil {
		return err
	}
	reference, err := b.reference(e.file, e.weights)
	if err != nil {
		return err
	}
	r.Deviation = deviation(logits, reference)
	if !(r.Deviation <= e.tolerance) {
		return fmt.Errorf("logits differ by %.3g, want at most %g: this is another function", r.Deviation, e.tolerance)
	}
	return nil
}

// coldStarts is how often a process is started to find out how soon it answers; the file
// is in memory from the second time on.
const coldStarts = 2

// deviation returns |a - b| / |b|.
func deviation(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.NaN()
	}
	var d, n float64
	for i := range b {
		d += (a[i] - b[i]) * (a[i] - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

// decodesPerRound is how often everybody decodes in a round. The speed of memory changes
// more, from second to second, than that of arithmetic.
const decodesPerRound = 3

// round lets everybody read a prompt in turn, and then everybody decode in turn. Turns are
// short, so that a machine that becomes slower does so for all.
func (b *bench) round(running []*contestant, s shape, results []*result, step func()) error {
	for i, c := range running {
		if err := b.turn(c, "prefill", b.o.prompt, func(rate float64, l limits) {
			results[i].Prefill = append(results[i].Prefill, sample{rate, ratio(2e-9*float64(s.products())*rate, l.FMA)})
		}); err != nil {
			return err
		}
		step()
	}
	for k := range decodesPerRound * len(running) {
		r := results[k%len(running)]
		if err := b.turn(running[k%len(running)], "decode", b.o.tokens, func(rate float64, l limits) {
			r.Decode = append(r.Decode, sample{rate, ratio(1e-9*float64(r.Bytes)*rate, l.Read)})
		}); err != nil {
			return err
		}
		step()
	}
	return nil
}

// turn measures how many tokens a second a contestant reads, between two probes, of which
// the higher counts.
func (b *bench) turn(c *contestant, command string, n int, add func(rate float64, l limits)) error {
	before := b.probed()
	reply, err := c.do(fmt.Sprint(command, " ", n))
	if err != nil {
		return err
	}
	if reply.Seconds <= 0 {
		return fmt.Errorf("%s: took %v s", c.name, reply.Seconds)
	}
	time.Sleep(20 * time.Millisecond) // until its threads have stopped spinning
	add(float64(n)/reply.Seconds, before.max(b.probed()))
	if reply.How != "" {
		c.how = reply.How
	}
	return nil
}

func (b *bench) probed() limits {
	l := b.probe.measure()
	b.limits = append(b.limits, l)
	return l
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// versions returns what was measured, without repetitions.
func versions(results []result) []string {
	var all []string
	for _, r := range results {
		v := r.Who + ": " + r.Version
		if r.Version != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
