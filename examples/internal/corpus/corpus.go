// Package corpus reads text files to learn from, and holds some of them out to judge by.
package corpus

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/train"
)

// A Corpus is the bytes of text files, each with a zero before it. Some files are held
// out: nothing is learnt of them.
type Corpus struct {
	Text  []byte
	Held  [][]byte // without the zeros
	Files int
	Bytes int // of all files
}

// StandardLibrary returns the folder of the source of Go's standard library, which is on
// the disk of everybody who runs a program with the go command.
func StandardLibrary() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}

// oneIn is how many files there are for each that is held out.
const oneIn = 50

// Read reads a file, or all files of a folder with one of some extensions. Test data is
// left out. Which files are held out depends on their names only; of a single file it is
// the end.
func Read(path string, extensions []string) (*Corpus, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	c := new(Corpus)
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		cut := len(data) - len(data)/oneIn
		c.Add(data[:cut], false)
		c.Add(data[cut:], true)
	} else if err := c.walk(path, extensions); err != nil {
		return nil, err
	}
	return c, c.Check(path)
}

// Check returns an error if there is too little to learn from, or to judge by. path says in
// it where the files are.
func (c *Corpus) Check(path string) error {
	if len(c.Text) < 1000 || len(c.Held) == 0 {
		return fmt.Errorf("%s: %d bytes of text in %d files, %d of them held out: too little to learn from", path, c.Bytes, c.Files, len(c.Held))
	}
	return nil
}

func (c *Corpus) walk(dir string, extensions []string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(extensions, filepath.Ext(path)):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h := fnv.New32a()
		h.Write([]byte(filepath.ToSlash(name)))
		c.Add(data, h.Sum32()%oneIn == 0)
		return nil
	})
}

// Add adds a file, to be held out or not. Zeros in it become spaces, and nothing is no file.
func (c *Corpus) Add(data []byte, held bool) {
	if len(data) == 0 {
		return
	}
	data = bytes.ReplaceAll(data, []byte{0}, []byte{' '})
	c.Files++
	c.Bytes += len(data)
	if held {
		c.Held = append(c.Held, data)
		return
	}
	c.Text = append(append(c.Text, 0), data...)
}

// Batch returns so many sequences of a length, which is less than that of the text, from
// random places. It is a function of the seed and the step.
func (c *Corpus) Batch(seed uint64, step, size, length int) train.Batch {
	return batch(c.Text, seed, step, size, length)
}

func batch[T byte | int32](text []T, seed uint64, step, size, length int) train.Batch {
	r := rand.New(rand.NewPCG(seed, uint64(step)))
	b := train.Batch{Len: length}
	for range size {
		at := r.IntN(len(text) - length)
		for i, v := range text[at : at+length] {
			b.IDs = append(b.IDs, int(v))
			b.Labels = append(b.Labels, int(text[at+i+1]))
		}
	}
	return b
}
