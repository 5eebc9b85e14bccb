// Graft takes a trained language model with attention, puts other mixers in the place of
// some of its attention layers, and heals it: the new layers begin as near to the old ones
// as their shapes allow, learn to do what these do, and then the whole model learns for a
// while. So StripedHyena was made, and Mamba in the Llama (arXiv:2408.15237).
//
//	go run ./examples/graft
//	go run ./examples/graft -mixer based -layers 0,1,2,3
//	go run ./examples/graft -model trained/model.safetensors -layers 2
//	go run ./examples/graft -model stories260K.bin -data stories.txt
//
// The model can be one that examples/train wrote; a Llama in a folder of Hugging Face; or a
// file of llama2.c. Of the latter two, text is read with their own tokenizer, which lies
// beside them, and is kept beside the new model. If no text is given, such a model writes
// what it learns from itself.
//
// Without -model it first trains a small model of bytes on the source of Go's standard
// library, and keeps it for the next time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/examples/internal/hybrid"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, context.Canceled) {
		fmt.Println("\ninterrupted: what has been learnt is kept, and the same command goes on")
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "graft:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	model     string // file or folder of the teacher; "" for one that is trained here
	tokenizer string // its tokenizer; "" for the one beside it
	layers    []int  // nil for all layers of attention
	mixer     string // as the pattern of the new model calls it
	random    bool   // whether the new layers begin at random

	teacherConfig hybrid.Config
	teacherSteps  int

	distill, steps int
	distillRate    float64
	rate           float64
	kl             float64 // share of the teacher's predictions in what is learnt
	newOnly        bool    // only new layers and norms learn
	control        bool    // whether the teacher learns as long, to compare

	data          string // "" for what the teacher calls for
	extensions    []string
	samples       int // texts that the teacher writes if it has to
	length, batch int
	held          int // tokens of held-out text
	position      int // at which speeds and states are measured
	seed          uint64
	dir           string
}

// mixers lists what -mixer may be, with the names that patterns have for them.
var mixers = map[string]string{"mamba": "mamba-graft", "mamba2": "mamba2-graft", "hyena": "hyena-graft", "based": "based"}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("graft", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "", "model that examples/train wrote, folder of a Llama of Hugging Face, or file of llama2.c (default: trains a small one, and keeps it in -out)")
	f.StringVar(&o.tokenizer, "tokenizer", "", "tokenizer of a Llama, file or folder (default: what lies beside -model)")
	layers := f.String("layers", "1,3", "blocks whose attention is replaced, from 0, or all")
	mixer := f.String("mixer", "mamba2", "what takes its place: mamba, mamba2, hyena, based")
	start := f.String("init", "attention", "what the new layers begin as: attention, random")
	f.IntVar(&o.distill, "distill", 150, "steps in which the new layers learn to do what the old ones do")
	f.IntVar(&o.steps, "steps", 150, "steps in which the model learns afterwards")
	f.Float64Var(&o.distillRate, "distill-lr", 3e-3, "learning rate of the new layers")
	f.Float64Var(&o.rate, "lr", 1e-3, "learning rate of the model afterwards")
	f.Float64Var(&o.kl, "kl", 0.5, "share of the teacher's predictions, beside the text, in what the model learns")
	tune := f.String("tune", "all", "what learns afterwards: all, new (the new layers and all norms)")
	f.BoolVar(&o.control, "control", false, "let the teacher learn for as many steps too, to compare")
	f.IntVar(&o.teacherSteps, "teacher", 600, "steps in which the teacher learns, without -model")
	f.IntVar(&o.teacherConfig.Dim, "dim", 128, "its width")
	f.IntVar(&o.teacherConfig.Heads, "heads", 4, "its heads")
	f.IntVar(&o.teacherConfig.Hidden, "hidden", 256, "width of the gated network in each of its blocks")
	blocks := f.Int("blocks", 4, "its blocks")
	f.StringVar(&o.data, "data", "", "file or folder with text (default: for a Llama, what it writes itself, which is kept in -out; else the source of Go's standard library)")
	f.IntVar(&o.samples, "samples", 1000, "texts that a Llama writes itself, without -data")
	extensions := f.String("ext", ".go", "extensions of the files in the folder of -data, separated by commas")
	f.IntVar(&o.length, "length", 256, "bytes, or tokens of a Llama, of a sequence")
	f.IntVar(&o.batch, "batch", 16, "sequences of a step")
	f.IntVar(&o.held, "held", 100_000, "bytes, or tokens, of held-out text that models are judged by")
	f.IntVar(&o.position, "position", 4096, "position at which the speed of decoding and the state are measured")
	f.Uint64Var(&o.seed, "seed", 1, "makes another teacher and other batches")
	f.StringVar(&o.dir, "out", "grafted", "folder for the teacher and the new model")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.mixer = mixers[*mixer]
	if o.mixer == "" {
		return o, fmt.Errorf("-mixer %s: want mamba, mamba2, hyena or based", *mixer)
	}
	var err error
	if o.layers, err = parseLayers(*layers); err != nil {
		return o, err
	}
	if o.random, err = choice("-init", *start, "attention", "random"); err != nil {
		return o, err
	}
	if o.newOnly, err = choice("-tune", *tune, "all", "new"); err != nil {
		return o, err
	}
	if *blocks < 1 || *blocks > 1000 {
		return o, fmt.Errorf("-blocks %d: want 1 to 1000", *blocks)
	}
	o.teacherConfig.Pattern = slices.Repeat([]string{attentionName}, *blocks)
	o.teacherConfig.Window = unlimited
	o.extensions = strings.Split(*extensions, ",")
	return o, o.check()
}

const (
	attentionName = "attention"

	unlimited = 1 << 20 // a window that holds any text
)

// parseLayers reads a list of blocks.
func parseLayers(list string) ([]int, error) {
	if list == "all" {
		return nil, nil
	}
	var layers []int
	for s := range strings.SplitSeq(list, ",") {
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 || slices.Contains(layers, i) {
			return nil, fmt.Errorf("-layers %s: %q is no other block (want numbers from 0, separated by commas, or all)", list, s)
		}
		layers = append(layers, i)
	}
	slices.Sort(layers)
	return layers, nil
}

// choice reports whether a flag has the second of its two values.
func choice(name, value, first, second string) (bool, error) {
	if value != first && value != second {
		return false, fmt.Errorf("%s %s: want %s or %s", name, value, first, second)
	}
	return value == second, nil
}

func (o *options) check() error {
	switch {
	case o.distill < 0 || o.steps < 0 || o.teacherSteps < 1:
		return fmt.Errorf("-distill %d -steps %d -teacher %d: want at least 0, 0 and 1", o.distill, o.steps, o.teacherSteps)
	case o.length < 2 || o.batch < 1 || o.held < o.length || o.position < 1:
		return fmt.Errorf("-length %d -batch %d -held %d -position %d: want at least 2, 1, -length and 1", o.length, o.batch, o.held, o.position)
	case o.samples < 1:
		return fmt.Errorf("-samples %d: want at least 1", o.samples)
	case !(o.rate > 0) || !(o.distillRate > 0):
		return fmt.Errorf("-lr %v -distill-lr %v: want more than 0", o.rate, o.distillRate)
	case !(o.kl >= 0 && o.kl <= 1):
		return fmt.Errorf("-kl %v: want 0 to 1", o.kl)
	}
	return nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o777); err != nil {
		return err
	}
	g := &grafter{options: o, out: out}
	return g.run(ctx)
}
