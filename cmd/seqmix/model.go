package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/spf13/cobra"
)

// modelFlags say which model to load, and how.
type modelFlags struct {
	path, tokenizer, weights string
	quiet                    bool
}

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.path, "model", "m", "", "directory or file of the model (required)")
	c.Flags().StringVar(&f.tokenizer, "tokenizer", "", "tokenizer: a file or directory, bytes, or dna (default: what lies beside the model)")
	c.Flags().StringVar(&f.weights, "weights", "", "format of the weights in memory: "+strings.Join(formats(), ", ")+" (default: that of the file)")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	c.MarkFlagRequired("model")
	c.RegisterFlagCompletionFunc("weights", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
}

// formats lists the formats of weights.
func formats() []string {
	var names []string
	for d := tensor.Float32; ; d++ {
		name := d.String()
		if _, err := tensor.ParseDType(name); err != nil {
			return names
		}
		names = append(names, name)
	}
}

// loaded is a model with its tokenizer.
type loaded struct {
	*lm.Model
	file *checkpoint.ModelFile
	text tokenizer.Tokenizer
}

// options returns how the model is to be loaded.
func (f *modelFlags) options(log io.Writer) (checkpoint.ModelOptions, error) {
	o := checkpoint.ModelOptions{Finite: true}
	if f.weights != "" {
		d, err := tensor.ParseDType(f.weights)
		if err != nil {
			return o, fmt.Errorf("--weights: %w", err)
		}
		o.Weights = &d
	}
	if f.quiet {
		return o, nil
	}
	var bar *progressbar.ProgressBar
	o.Progress = func(read, all int) {
		if bar == nil {
			bar = progressbar.NewOptions64(int64(all), progressbar.OptionSetWriter(log), progressbar.OptionSetDescription("loading"),
				progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		}
		bar.Set(read)
	}
	return o, nil
}

// load opens the model, says what it is and how much memory it will take, and loads it.
func (f *modelFlags) load(log io.Writer) (*loaded, error) {
	o, err := f.options(log)
	if err != nil {
		return nil, err
	}
	file, err := checkpoint.OpenModel(f.path, o)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if !f.quiet {
		fmt.Fprintln(log, file)
	}
	text, err := f.openTokenizer(file)
	if err != nil {
		return nil, err
	}
	m, err := file.Load()
	if err != nil {
		return nil, err
	}
	return &loaded{Model: m, file: file, text: text}, nil
}

// openTokenizer finds the tokenizer of a model.
func (f *modelFlags) openTokenizer(file *checkpoint.ModelFile) (tokenizer.Tokenizer, error) {
	switch f.tokenizer {
	case "":
		return findTokenizer(f.path, file)
	case "bytes":
		return tokenizer.Bytes{Size: file.Vocabulary}, nil
	case "dna":
		return tokenizer.DNA(), nil
	}
	return tokenizer.Open(f.tokenizer)
}

// findTokenizer looks in the model's file, beside it, and at its architecture.
func findTokenizer(path string, file *checkpoint.ModelFile) (tokenizer.Tokenizer, error) {
	if strings.HasSuffix(path, ".gguf") {
		return ggufTokenizer(path)
	}
	dir := path
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir = filepath.Dir(path)
	}
	t, err := tokenizer.Open(dir)
	switch {
	case err == nil:
		return t, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case strings.HasPrefix(file.Architecture, "HyenaDNA"):
		return tokenizer.DNA(), nil
	case strings.HasPrefix(file.Architecture, "Evo"), file.Vocabulary == 256, file.Vocabulary == 512:
		if other, err := filepath.Glob(filepath.Join(dir, "tok*.bin")); err == nil && len(other) == 1 {
			return tokenizer.Open(other[0])
		}
		return tokenizer.Bytes{Size: file.Vocabulary}, nil
	}
	return nil, fmt.Errorf("%w (name one with --tokenizer)", err)
}

// ggufTokenizer makes a tokenizer of the vocabulary in a GGUF file.
func ggufTokenizer(path string) (tokenizer.Tokenizer, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := f.Vocabulary()
	if err != nil {
		return nil, err
	}
	var begin []int
	if v.Begin >= 0 && (v.AddBegin == nil && v.Model == "llama" || v.AddBegin != nil && *v.AddBegin) {
		begin = []int{v.Begin}
	}
	switch v.Model {
	case "llama":
		pieces := make([]tokenizer.Piece, len(v.Tokens))
		for i, text := range v.Tokens {
			pieces[i] = tokenizer.Piece{Text: text, Kind: tokenizer.NormalPiece}
			if v.Scores != nil {
				pieces[i].Score = v.Scores[i]
			}
			if v.Types != nil {
				pieces[i].Kind = tokenizer.PieceKind(v.Types[i])
			}
		}
		return tokenizer.NewScored(pieces, v.AddPrefix == nil || *v.AddPrefix, begin...)
	case "gpt2":
		return byteLevel(path, v, begin)
	}
	return nil, fmt.Errorf("%s: a tokenizer of the kind %q is not supported (llama and gpt2 are); name one with --tokenizer", path, v.Model)
}

func byteLevel(path string, v *checkpoint.Vocabulary, begin []int) (tokenizer.Tokenizer, error) {
	t := tokenizer.Vocabulary{Tokens: v.Tokens, Merges: v.Merges, Begin: begin}
	switch v.Pre {
	case "", "default", "gpt-2":
	case "gpt-neox", "olmo", "dolma":
		t.NFC = true
	case "llama-bpe", "llama3":
		t.Pattern, t.Whole = tokenizer.Llama3Pattern, true
	default:
		return nil, fmt.Errorf("%s: the pattern %q is not supported; name a tokenizer with --tokenizer", path, v.Pre)
	}
	for id, kind := range v.Types {
		switch kind {
		case checkpoint.ControlToken:
			t.Special = append(t.Special, id)
		case checkpoint.UserDefinedToken:
			t.UserDefined = append(t.UserDefined, id)
		}
	}
	return tokenizer.NewByteLevel(t)
}

// encode returns the ids of a text, with those that begin one in front.
func (l *loaded) encode(text string) []int {
	begin := l.text.Begin()
	if len(begin) == 0 {
		begin = l.file.Begin
	}
	return append(append([]int(nil), begin...), l.text.Encode(text)...)
}
