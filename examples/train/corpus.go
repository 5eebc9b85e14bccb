package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/seqmix/seqmix/train"
)

// A corpus is the bytes of text files, each with a zero before it. Some files are held
// out: nothing is learnt of them.
type corpus struct {
	text  []byte
	held  [][]byte
	files int
	bytes int // of all files
}

// oneIn is how many files there are for each that is held out.
const oneIn = 50

// readCorpus reads a file, or all files of a folder with one of some extensions. Test data
// is left out. Which files are held out depends on their names only.
func readCorpus(path string, extensions []string) (*corpus, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	c := new(corpus)
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		cut := len(data) - len(data)/oneIn
		c.add(data[:cut], false)
		c.add(data[cut:], true)
	} else if err := c.walk(path, extensions); err != nil {
		return nil, err
	}
	if len(c.text) < 1000 || len(c.held) == 0 {
		return nil, fmt.Errorf("%s: %d bytes of text in %d files, %d of them held out: too little to learn from", path, c.bytes, c.files, len(c.held))
	}
	return c, nil
}

func (c *corpus) walk(dir string, extensions []string) error {
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
		c.add(data, h.Sum32()%oneIn == 0)
		return nil
	})
}

func (c *corpus) add(data []byte, held bool) {
	if len(data) == 0 {
		return
	}
	data = bytes.ReplaceAll(data, []byte{0}, []byte{' '})
	c.files++
	c.bytes += len(data)
	if held {
		c.held = append(c.held, data)
		return
	}
	c.text = append(append(c.text, 0), data...)
}

// batch returns sequences from random places. It is a function of the seed and the step.
func (c *corpus) batch(seed uint64, step, size, length int) train.Batch {
	r := rand.New(rand.NewPCG(seed, uint64(step)))
	b := train.Batch{Len: length}
	for range size {
		at := r.IntN(len(c.text) - length)
		for i, v := range c.text[at : at+length] {
			b.IDs = append(b.IDs, int(v))
			b.Labels = append(b.Labels, int(c.text[at+i+1]))
		}
	}
	return b
}
