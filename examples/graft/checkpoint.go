package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// A source is where a teacher comes from.
type source struct {
	*textmodel.Model
	config hybrid.Config

	// files are those of the tokenizer, by the names that tokenizer.Open knows; nil for
	// models of bytes.
	files map[string]string
}

// isSaved reports whether path is a file that this program or examples/train wrote.
func isSaved(path string) (bool, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return false, err
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hybrid.IsSaved(f), nil
}

// openTeacher reads a model of any origin, in float32 to be trained. tokenizer names its
// tokenizer; "" is the one beside it.
func openTeacher(path, tokenizer string) (*source, error) {
	saved, err := isSaved(path)
	if err != nil {
		return nil, err
	}
	if saved {
		return openSaved(path)
	}
	return openCheckpoint(path, tokenizer)
}

func openSaved(path string) (*source, error) {
	m, c, err := load(path)
	if err != nil {
		return nil, err
	}
	s := &source{config: c}
	if c.Vocabulary > 0 {
		if s.files, err = tokenizerFiles(filepath.Dir(path), c.Vocabulary); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	s.Model, err = c.Text(m, filepath.Dir(path))
	return s, err
}

// openCheckpoint reads a Llama that somebody else trained: a folder of Hugging Face, or a
// file of llama2.c.
func openCheckpoint(path, name string) (*source, error) {
	rows, err := rowsOf(path)
	if err != nil {
		return nil, err
	}
	beside := name
	if name == "" {
		if beside = path; isFile(path) {
			beside = filepath.Dir(path)
		}
	}
	s := new(source)
	if s.files, err = tokenizerFiles(beside, rows); err != nil {
		return nil, fmt.Errorf("%w (-tokenizer names one)", err)
	}
	float := tensor.Float32
	o := checkpoint.ModelOptions{Weights: &float, Unpacked: true, Finite: true}
	if s.Model, err = textmodel.Open(path, textmodel.Options{ModelOptions: o, Tokenizer: name}); err != nil {
		return nil, err
	}
	if n := s.Tokenizer.Vocabulary(); n > rows {
		return nil, fmt.Errorf("the tokenizer in %s has %d tokens, %s only %d", beside, n, path, rows)
	}
	if s.config, err = hybrid.Describe(s.Model.Model); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.config.Begin, s.config.End = s.Begin, s.End
	return s, nil
}

// rowsOf returns the rows of the embedding of a Llama, which is not loaded. It is an error
// if it is a model of another kind.
func rowsOf(path string) (int, error) {
	file, err := checkpoint.OpenModel(path, checkpoint.ModelOptions{})
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if kind := file.Architecture; kind != "Llama" && kind != "Mistral" {
		return 0, fmt.Errorf("%s is a model of the kind %s: only a Llama or Mistral, and what examples/train wrote, has attention that can be replaced", path, kind)
	}
	return file.Rows, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// tokenizerFiles returns the files of a tokenizer, which are path or in the folder path, by
// the names that they have beside a model. llama2.c calls some by the number of tokens.
func tokenizerFiles(path string, rows int) (map[string]string, error) {
	if isFile(path) {
		name := map[string]string{".json": "tokenizer.json", ".model": "tokenizer.model", ".bin": "tokenizer.bin"}[filepath.Ext(path)]
		if name == "" {
			return nil, fmt.Errorf("%s: a tokenizer is a .json, .model or .bin file", path)
		}
		return map[string]string{name: path}, nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("no tokenizer: %w", err)
	}
	sized := fmt.Sprintf("tok%d.bin", rows)
	names := []string{"tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer.bin", sized}
	for _, name := range names {
		file := filepath.Join(path, name)
		switch {
		case !isFile(file):
		case name == "vocab.json":
			return map[string]string{name: file, "merges.txt": filepath.Join(path, "merges.txt")}, nil
		case name == sized:
			return map[string]string{"tokenizer.bin": file}, nil
		default:
			return map[string]string{name: file}, nil
		}
	}
	return nil, fmt.Errorf("no tokenizer in %s: none of %s", path, strings.Join(names, ", "))
}

// keepTokenizer copies the tokenizer of a teacher to the folder of the new model, and sees
// that it is the one that is found there.
func (s *source) keepTokenizer(folder string) error {
	if s.files == nil {
		return nil
	}
	for name, path := range s.files {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o666); err != nil {
			return err
		}
	}
	// One that an earlier run left would come first.
	for _, name := range []string{"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer.bin"} {
		if s.files[name] != "" {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err := tokenizer.Open(folder)
	return err
}
