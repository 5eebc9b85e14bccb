// Quantize shows what smaller weights cost and what they bring: it loads a language
// model in each format, and prints the memory that it takes, how well it predicts a
// text, and how many tokens a second it writes.
//
//	go run ./examples/quantize -model models/mamba-130m -text novel.txt
//
// Without -text, the model writes the text itself, in float32 and as likely as it thinks
// it is. Nobody can predict that better than the model it is from, so that what the
// other formats lose is the divergence of their predictions from the original ones.
//
// A text that is longer than the model can take is predicted in pieces.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"

	"github.com/seqmix/seqmix/examples/internal/progress"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "quantize:", err)
		os.Exit(1)
	}
}

// errFlags stands for an error that package flag has told the user.
var errFlags = errors.New("wrong flags")

// options are the flags.
type options struct {
	model, tokenizer string
	text             string
	limit, decode    int
	seed             uint64
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("quantize", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.model, "model", "", "model: a `path` of a directory as from Hugging Face, a GGUF file or one of llama2.c")
	fs.StringVar(&o.tokenizer, "tokenizer", "", "`path` of the tokenizer if it is not beside the model, or bytes, or dna")
	fs.StringVar(&o.text, "text", "", "`file` with the text to predict; without, the model writes one")
	fs.IntVar(&o.limit, "tokens", 2048, "tokens of the text, at most")
	fs.IntVar(&o.decode, "decode", 64, "tokens to measure the speed of writing with")
	fs.Uint64Var(&o.seed, "seed", 1, "of the text that the model writes")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errFlags
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.model == "":
		return o, errors.New("-model missing (-help explains)")
	case o.limit < 1 || o.decode < 1:
		return o, errors.New("-tokens and -decode must be positive")
	}
	return o, nil
}

// formats are what is compared, the reference first.
var formats = []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4}

func run(args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	var t text
	var rows []row
	for i, d := range formats {
		m, err := o.open(d)
		if err != nil {
			return err
		}
		if i == 0 {
			if t, err = o.read(m); err != nil {
				return err
			}
		}
		bar := progress.New(stderr, d.String(), int64(t.tokens()))
		r, err := measure(m, t, o.decode, func(n int) { _ = bar.Add(n) })
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	return report(stdout, t, rows)
}

// open loads the model with weights in format d.
func (o *options) open(d tensor.DType) (*textmodel.Model, error) {
	c := textmodel.Options{Tokenizer: o.tokenizer}
	c.Weights = &d
	return textmodel.Open(o.model, c)
}

// report prints the table.
func report(w io.Writer, t text, rows []row) error {
	fmt.Fprintf(w, "%d tokens, %d bytes, %s\n", t.tokens(), t.bytes, t.from)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "weights\tMB\tperplexity\tchange\tbits/byte\tdecode tokens/s\t")
	for i, r := range rows {
		fmt.Fprintf(tw, "%v\t%.2f\t%.4f\t%+.2f %%\t%.4f\t%.1f\t\n", formats[i], float64(r.size)/1e6,
			r.perplexity(), 100*(r.perplexity()/rows[0].perplexity()-1), -r.sum/math.Ln2/float64(t.bytes), r.speed)
	}
	return tw.Flush()
}
