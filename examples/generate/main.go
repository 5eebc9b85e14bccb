// Generate writes Go code with a small hybrid model that comes with it: Mamba, attention
// over a window, and Based. The model was trained by examples/train on the source of Go's
// standard library; README.md is its card.
//
//	go run ./examples/generate
//	go run ./examples/generate -prompt 'func reverse(s string) string {' -n 400
//	go run ./examples/generate -model trained/model.safetensors
//
// With -judge it says instead how many bits the model takes for a byte of the files that
// were held out from training, beside compressors and n-grams.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

//go:embed model.safetensors
var embedded []byte

// defaultPrompt is what the model goes on with if nothing else is asked for.
const defaultPrompt = `// Reverse returns a copy of s with its bytes in reverse order.
func Reverse(s string) string {
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp), errors.Is(err, context.Canceled):
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// errFlags stands for an error that package flag has told the user.
var errFlags = errors.New("wrong flags")

// options are what the command line says.
type options struct {
	model, prompt string
	prompted      bool // whether there is a -prompt
	n             int
	sampler       lm.Sampler
	weights       tensor.DType
	judge         bool
	data          string
	extensions    string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.model, "model", "", "`file` that examples/train or examples/graft wrote (default: the model within)")
	f.StringVar(&o.prompt, "prompt", defaultPrompt, "`text` to go on with; empty for a new file, as it is for models of other tokens than bytes if there is none")
	f.IntVar(&o.n, "n", 1000, "bytes, or other tokens of the model, to write, at most")
	f.Float64Var(&o.sampler.Temperature, "temperature", 0.9, "how daring to be; 0 takes the likeliest byte always")
	f.Float64Var(&o.sampler.TopP, "top-p", 0.95, "the likeliest bytes that are this likely together are drawn from; 1 for all")
	f.Uint64Var(&o.sampler.Seed, "seed", 1, "writes another text")
	o.weights = tensor.BFloat16
	f.Func("weights", "how matrices are held: float32, bfloat16, int8 or int4 (default bfloat16)", func(s string) (err error) {
		o.weights, err = tensor.ParseDType(s)
		return err
	})
	f.BoolVar(&o.judge, "judge", false, "measure bits per byte of held-out files instead")
	f.StringVar(&o.data, "data", "", "`folder` whose files were learnt of and held out (default: the source of Go's standard library)")
	f.StringVar(&o.extensions, "ext", ".go", "extensions of the files in the folder, separated by commas")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errFlags
	}
	f.Visit(func(f *flag.Flag) { o.prompted = o.prompted || f.Name == "prompt" })
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.n < 1:
		return o, fmt.Errorf("-n %d: want at least 1", o.n)
	case strings.ContainsRune(o.prompt, 0):
		return o, errors.New("-prompt: a zero byte begins a new file, and cannot be within")
	}
	return o, o.sampler.Check()
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	m, c, err := open(o.model)
	if err != nil {
		return err
	}
	if o.weights != tensor.BFloat16 {
		m.Quantize(o.weights)
	}
	m.Pack()
	parameters, size := m.Size()
	fmt.Fprintf(stderr, "%d parameters in %.1f MB: %s\n", parameters, float64(size)/1e6, strings.Join(c.Pattern, ", "))
	if o.judge {
		if c.Vocabulary > 0 {
			return fmt.Errorf("-judge: %s is not a model of bytes", o.model)
		}
		return judge(ctx, m, o, stdout, stderr)
	}
	t, err := c.Text(m, filepath.Dir(o.model))
	if err != nil {
		return err
	}
	if c.Vocabulary > 0 && !o.prompted {
		o.prompt = "" // the default is for Go
	}
	return write(ctx, t, o, stdout, stderr)
}

// open reads the model of a file, or the one within.
func open(path string) (*lm.Model, hybrid.Config, error) {
	f, err := checkpoint.Parse("the model within", embedded)
	if path != "" {
		f, err = checkpoint.Open(path)
	}
	if err != nil {
		return nil, hybrid.Config{}, err
	}
	defer f.Close()
	return hybrid.Load(f)
}

// write writes text as it comes, after its prompt.
func write(ctx context.Context, m *textmodel.Model, o options, stdout, stderr io.Writer) error {
	s, err := m.NewSession()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, o.prompt); err != nil {
		return err
	}
	start := time.Now()
	prompt := m.Encode(o.prompt)
	if err := s.Feed(prompt...); err != nil {
		return err
	}
	read := time.Since(start)
	n, start, text := 0, time.Now(), tokenizer.NewDecoder(m.Tokenizer, o.prompt == "")
	for id, err := range s.Generate(ctx, lm.Options{MaxTokens: o.n, Stop: m.End, Sampler: o.sampler}) {
		if err != nil {
			fmt.Fprintln(stdout)
			return err
		}
		if _, err := io.WriteString(stdout, text.Next(id)); err != nil {
			return err
		}
		n++
	}
	wrote := time.Since(start)
	fmt.Fprintln(stdout, text.Flush())
	state, err := s.AppendBinary(nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "\nprompt: %d tokens, %.0f tokens/s; text: %d tokens, %.0f tokens/s; the text so far is kept in %.0f kB\n",
		len(prompt), float64(len(prompt))/read.Seconds(), n, float64(n)/wrote.Seconds(), float64(len(state))/1e3)
	return nil
}
