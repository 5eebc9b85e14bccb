// Denoise removes noise from speech, as it would from a microphone: samples go through
// a causal network hop by hop, and clean ones come out a fraction of a second later.
//
//	go run ./examples/denoise -model DIR -in noisy.wav -out clean.wav
//
// The networks are those of CleanUMamba (arXiv:2410.11062,
// github.com/lab-emi/CleanUMamba), U-Nets with Mamba, Mamba-2, S4 or attention in the
// middle: see bottleneck.go for the difference. DIR holds one checkpoint or several, of
// which -net chooses one.
//
// Threads are one unless -threads says otherwise, so that the real-time factor is that
// of one core.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/seqmix/seqmix/examples/internal/progress"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "denoise:", err)
		os.Exit(1)
	}
}

// errFlags stands for an error that package flag has told the user.
var errFlags = errors.New("wrong flags")

// options are the flags.
type options struct {
	model, net   string
	in, out, ref string
	level        float64
	chunk        int
	threads      int
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("denoise", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.model, "model", "", "checkpoint, safetensors or PyTorch: a `path` of a file or of a folder of them")
	fs.StringVar(&o.net, "net", "", "`name` of the file in the folder, without its extension; not needed if there is\none file only or mamba is wanted")
	fs.StringVar(&o.in, "in", "", "noisy speech: a WAV `file`, one channel, 16 kHz")
	fs.StringVar(&o.out, "out", "", "`file` for the clean speech")
	fs.StringVar(&o.ref, "ref", "", "`file` with the true clean speech, to measure with")
	fs.Float64Var(&o.level, "level", 0, "loudness of the speech, as the standard deviation of the samples; 0 measures the\nwhole clip first, as published figures do; 0.1 suits live speech")
	fs.IntVar(&o.chunk, "chunk", 0, "samples that are handed over at a time; 0 is one hop of the network")
	fs.IntVar(&o.threads, "threads", 1, "threads to use; these networks are too small to gain from a second")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errFlags
	}
	return o, o.check(fs.Args())
}

func (o *options) check(rest []string) error {
	var missing []string
	for _, f := range []struct{ name, value string }{{"-model", o.model}, {"-in", o.in}, {"-out", o.out}} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case len(missing) > 0:
		return fmt.Errorf("%s missing (-help explains)", strings.Join(missing, ", "))
	case !(o.level >= 0 && o.level <= 1e3):
		return fmt.Errorf("-level %v, want a number from 0 to 1000", o.level)
	case o.chunk < 0:
		return fmt.Errorf("-chunk %d, want at least 0", o.chunk)
	case o.threads < 1:
		return fmt.Errorf("-threads %d, want at least 1", o.threads)
	}
	return nil
}

func run(args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(o.threads)
	path, err := findCheckpoint(o.model, o.net)
	if err != nil {
		return err
	}
	net, err := loadNetwork(path)
	if err != nil {
		return err
	}
	noisy, err := readWAV(o.in)
	if err != nil {
		return err
	}
	var clean []float32
	if o.ref != "" {
		if clean, err = readReference(o.ref, len(noisy)); err != nil {
			return err
		}
	}
	level := float32(o.level)
	if level == 0 {
		level = measureLevel(noisy)
	}
	if o.chunk == 0 {
		o.chunk = net.hop()
	}
	o.chunk = min(o.chunk, len(noisy))
	fmt.Fprintf(stdout, "network  %s: %s, %d parameters\n", path, net.kind, net.parameters)
	fmt.Fprintf(stdout, "clip     %s: %.2f s, level %.4f\n", o.in, seconds(len(noisy)), level)
	bar := progress.New(stderr, "denoising", int64(len(noisy)))
	out, times, err := stream(net, noisy, level, o.chunk, func(n int) { _ = bar.Add(n) })
	if err != nil {
		return err
	}
	if err := writeWAV(o.out, out); err != nil {
		return err
	}
	report(stdout, net, times, o.threads, noisy, out, clean)
	return nil
}

// readReference reads a clip of a known length.
func readReference(path string, length int) ([]float32, error) {
	x, err := readWAV(path)
	if err == nil && len(x) != length {
		err = fmt.Errorf("%s: %d samples, want %d as in the noisy clip", path, len(x), length)
	}
	return x, err
}

// measureLevel is the loudness of a clip as the networks were trained with it.
func measureLevel(x []float32) float32 { return float32(deviation(x)) + 1e-3 }
