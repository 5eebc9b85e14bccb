// Train trains a language model of bytes, a hybrid of several mixers, on text files. By
// default these are the source of Go's standard library, which is on the disk of everybody
// who can run this.
//
//	go run ./examples/train
//	go run ./examples/train -pattern mamba,mamba,attention,based -data notes/ -ext .txt,.md
//
// It can be interrupted, by Ctrl-C too, and goes on where it was when it is started again
// with the same arguments. At the end it writes a model that examples/generate reads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/train"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, context.Canceled) {
		fmt.Println("\ninterrupted: start again with the same arguments to go on")
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	model hybrid.Config

	data, extensions string
	length, batch    int
	segments         train.Segments
	steps, warmup    int
	rate             float64
	seed             uint64
	dir              string
	every            int // steps between two reports of held-out text, with a sample
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("train", flag.ContinueOnError)
	pattern := f.String("pattern", "mamba,mamba,attention,mamba,based,mamba", "mixers of the blocks: "+strings.Join(hybrid.Mixers, ", "))
	f.IntVar(&o.model.Dim, "dim", 192, "width of the model")
	f.IntVar(&o.model.Heads, "heads", 3, "heads of attention and Based")
	f.IntVar(&o.model.Window, "window", 128, "previous positions that attention sees")
	f.IntVar(&o.model.Hidden, "hidden", 384, "width of the gated network in each block; 0 for none")
	f.StringVar(&o.data, "data", "", "file or folder with text (default: the source of Go's standard library)")
	f.StringVar(&o.extensions, "ext", ".go", "extensions of the files in the folder, separated by commas")
	f.IntVar(&o.length, "length", 512, "bytes of a sequence")
	f.IntVar(&o.batch, "batch", 16, "sequences of a step")
	f.IntVar(&o.segments.Len, "segment", 0, "bytes of a segment, for sequences that are too long for the memory; 0 for whole ones")
	f.IntVar(&o.segments.Truncate, "truncate", 0, "segments that gradients go back through; 0 for all")
	f.IntVar(&o.steps, "steps", 3000, "steps")
	f.IntVar(&o.warmup, "warmup", 100, "steps in which the learning rate rises")
	f.Float64Var(&o.rate, "lr", 3e-3, "learning rate")
	f.Uint64Var(&o.seed, "seed", 1, "makes another model of the same data")
	f.StringVar(&o.dir, "out", "trained", "folder for the run and the model")
	f.IntVar(&o.every, "every", 250, "steps between two looks at held-out text")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.model.Pattern = strings.Split(*pattern, ",")
	if o.data == "" {
		dir, err := corpus.StandardLibrary()
		if err != nil {
			return o, fmt.Errorf("%w (-data names other text)", err)
		}
		o.data = dir
	}
	o.model.MaxLen = max(o.length, 8192)
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.length < 2 || o.batch < 1 || o.steps < 1 || o.warmup < 0 || o.warmup >= o.steps || o.every < 1:
		return o, fmt.Errorf("-length %d -batch %d -steps %d -warmup %d -every %d: want at least 2, 1, 1, 0 and 1, and -warmup below -steps", o.length, o.batch, o.steps, o.warmup, o.every)
	case !(o.rate > 0):
		return o, fmt.Errorf("-lr %v: want more than 0", o.rate)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := corpus.Read(o.data, strings.Split(o.extensions, ","))
	if err != nil {
		return err
	}
	t, err := newTrainer(o, c, out)
	if err != nil {
		return err
	}
	return t.run(ctx)
}
