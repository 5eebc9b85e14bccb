// Package textmodel opens language models together with their tokenizers, so that programs
// can work with text.
//
//	m, err := textmodel.Open("models/mamba-130m", textmodel.Options{})
//	if err != nil {
//		return err
//	}
//	s, err := m.NewSession()
//	…
//	err = s.Feed(m.Encode("Once upon a time")...)
package textmodel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
)

// A Model is a language model with its tokenizer.
type Model struct {
	*lm.Model
	Architecture string // as in "Mamba-2"
	Tokenizer    tokenizer.Tokenizer
	Begin, End   []int // tokens that texts begin and end with; nil for none
}

// Options say how a model is opened. The zero value leaves everything to the files.
type Options struct {
	checkpoint.ModelOptions

	// Tokenizer names the tokenizer: a file or a directory, "bytes", or "dna". If it is
	// empty, the tokenizer is that in the model's file, beside it, or that of its
	// architecture.
	Tokenizer string

	// Found, if not nil, is called when it is known what the model is, before it is
	// loaded.
	Found func(*checkpoint.ModelFile)
}

// Open loads a model and its tokenizer. path is one that [checkpoint.OpenModel] takes.
func Open(path string, o Options) (*Model, error) {
	file, t, err := open(path, o)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m := &Model{Architecture: file.Architecture, Tokenizer: t, Begin: beginOf(t, file), End: file.End}
	if m.Model, err = file.Load(); err != nil {
		return nil, err
	}
	return m, nil
}

// open opens a model, which is not loaded, and its tokenizer.
func open(path string, o Options) (*checkpoint.ModelFile, tokenizer.Tokenizer, error) {
	file, err := checkpoint.OpenModel(path, o.ModelOptions)
	if err != nil {
		return nil, nil, err
	}
	if o.Found != nil {
		o.Found(file)
	}
	t, err := openTokenizer(path, o.Tokenizer, file)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, t, nil
}

// beginOf returns the tokens that texts begin with.
func beginOf(t tokenizer.Tokenizer, file *checkpoint.ModelFile) []int {
	if begin := t.Begin(); len(begin) > 0 {
		return begin
	}
	return file.Begin
}

// Encode returns the ids of the beginning of a text.
func (m *Model) Encode(text string) []int { return encode(m.Begin, m.Tokenizer, text) }

func encode(begin []int, t tokenizer.Tokenizer, text string) []int {
	return append(append([]int(nil), begin...), t.Encode(text)...)
}

func openTokenizer(path, name string, file *checkpoint.ModelFile) (tokenizer.Tokenizer, error) {
	switch {
	case name == "bytes":
		return tokenizer.Bytes{Size: file.Vocabulary}, nil
	case name == "dna":
		return tokenizer.DNA(), nil
	case name != "":
		return tokenizer.Open(name)
	case strings.HasSuffix(path, ".gguf"):
		return ggufTokenizer(path)
	}
	return findTokenizer(path, file)
}

// findTokenizer looks beside the model, and at its architecture.
func findTokenizer(path string, file *checkpoint.ModelFile) (tokenizer.Tokenizer, error) {
	dir := path
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir = filepath.Dir(path)
	}
	t, err := tokenizer.Open(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	// llama2.c calls the tokenizers of its smallest models by the number of tokens.
	named := filepath.Join(dir, fmt.Sprintf("tok%d.bin", file.Vocabulary))
	if t, err := tokenizer.Open(named); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	switch {
	case strings.HasPrefix(file.Architecture, "HyenaDNA"):
		return tokenizer.DNA(), nil
	case file.Vocabulary == 256, file.Vocabulary == 512 && strings.HasPrefix(file.Architecture, "Evo"):
		return tokenizer.Bytes{Size: file.Vocabulary}, nil
	}
	return nil, err
}
