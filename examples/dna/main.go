// Dna says how likely a language model of DNA finds a sequence, base by base.
//
//	go run ./examples/dna -model DIR -in FILE.fa -out plot.png
//
// The models are HyenaDNA (arXiv:2306.15794, huggingface.co/LongSafari), of which the
// smallest reads a thousand bases at a time and the largest a million. A sequence that is
// longer is read in windows, each from scratch. With -overlap, a window begins with bases
// that the one before has judged, which are then only context.
//
// It prints a table of the mean loss per base, in nats: that of a model that knows nothing
// is ln 4 = 1.386. -out draws it along the sequence, -bases writes it for every base. Files
// of any size are read as a stream.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/progress"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "dna:", err)
		os.Exit(1)
	}
}

// errFlags stands for an error that package flag has told the user.
var errFlags = errors.New("wrong flags")

// options are the flags.
type options struct {
	model, in, out, bases string
	window, overlap       int
	json                  bool
	threads               int
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("dna", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.model, "model", "", "checkpoint of a HyenaDNA: a `path` of a file or of a folder, with a config.json")
	fs.StringVar(&o.in, "in", "", "sequences: a FASTA `file`")
	fs.StringVar(&o.out, "out", "", "PNG `file` for a plot of the loss along the sequences")
	fs.StringVar(&o.bases, "bases", "", "`file` for the loss of every base, as tab-separated values")
	fs.IntVar(&o.window, "window", 0, "bases that are read at a time; 0 is as many as the model can take")
	fs.IntVar(&o.overlap, "overlap", 0, "bases at the beginning of a window that the window before has judged")
	fs.BoolVar(&o.json, "json", false, "print JSON in place of a table")
	fs.IntVar(&o.threads, "threads", runtime.GOMAXPROCS(0), "threads to use")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errFlags
	}
	return o, o.check(fs.Args())
}

func (o *options) check(rest []string) error {
	var missing []string
	for _, f := range []struct{ name, value string }{{"-model", o.model}, {"-in", o.in}} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case len(missing) > 0:
		return fmt.Errorf("%s missing (-help explains)", strings.Join(missing, ", "))
	case o.out != "" && !strings.EqualFold(filepath.Ext(o.out), ".png"):
		return fmt.Errorf("-out %s, want a name that ends in .png", o.out)
	case o.window < 0 || o.window == 1:
		return fmt.Errorf("-window %d, want at least 2, or 0 for as many as the model can take", o.window)
	case o.overlap < 0:
		return fmt.Errorf("-overlap %d, want at least 0", o.overlap)
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
	m, err := loadModel(o.model, o.window, o.overlap)
	if err != nil {
		return err
	}
	in, err := os.Open(o.in)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder, want a FASTA file", o.in)
	}
	bases, err := createTable(o.bases)
	if err != nil {
		return err
	}
	bar := progress.New(stderr, "reading", info.Size(), progressbar.OptionShowBytes(true))
	records, err := m.judge(newFASTA(o.in, io.TeeReader(in, bar)), bases)
	if err := errors.Join(err, bases.close()); err != nil {
		return err
	}
	_ = bar.Finish()
	if o.out != "" {
		if err := draw(o.out, records); err != nil {
			return err
		}
	}
	return report(stdout, m, records, o)
}
