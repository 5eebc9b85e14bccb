package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/progress"
	"github.com/seqmix/seqmix/lm"
)

// grams is the length of the n-grams that the model is compared with.
const grams = 6

// judge prints how many bits a byte of held-out files takes: with the model, with n-grams
// of all that the model could learn of, and with compressors, which start from nothing.
func judge(ctx context.Context, m *lm.Model, o options, stdout, stderr io.Writer) error {
	if o.data == "" {
		var err error
		if o.data, err = corpus.StandardLibrary(); err != nil {
			return err
		}
	}
	c, err := corpus.Read(o.data, strings.Split(o.extensions, ","))
	if err != nil {
		return err
	}
	total := 0
	for _, text := range c.Held {
		total += len(text)
	}
	fmt.Fprintf(stdout, "%d files of %s held out, %d bytes; bits per byte:\n\n", len(c.Held), o.data, total)
	bar := progress.New(stderr, "reading", int64(total), progressbar.OptionShowBytes(true))
	model, err := bitsOfModel(ctx, m, c.Held, func(n int) { _ = bar.Add(n) })
	if err != nil {
		return err
	}
	_ = bar.Finish()

	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\teach file alone\tall in one\t")
	row := func(name string, alone, all float64) {
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", name, perByte(alone, total), perByte(all, total))
	}
	row("gzip -9", bitsOfEach(c.Held, gzipped), bitsOf(bytes.Join(c.Held, nil), gzipped))
	if _, err := exec.LookPath("xz"); err != nil {
		fmt.Fprintln(w, "xz -9e\tnot installed\t\t")
	} else {
		row("xz -9e", bitsOfEach(c.Held, xz), bitsOf(bytes.Join(c.Held, nil), xz))
	}
	row(fmt.Sprintf("%d-grams", grams), newNgram(c.Text, grams).bits(c.Held), math.NaN())
	row("the model", model, math.NaN())
	return w.Flush()
}

func perByte(bits float64, n int) string {
	if math.IsNaN(bits) {
		return ""
	}
	return fmt.Sprintf("%.4f", bits/float64(n))
}

// bitsOfModel returns the information of texts, each from its beginning. It reports how
// many bytes it has read.
func bitsOfModel(ctx context.Context, m *lm.Model, texts [][]byte, read func(int)) (float64, error) {
	sum := 0.0
	for _, text := range texts {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		bits, err := corpus.Bits(m, text)
		if err != nil {
			return 0, fmt.Errorf("a file of %d bytes: %w", len(text), err)
		}
		sum += bits
		read(len(text))
	}
	return sum, nil
}

// A compressor returns how many bytes a text takes.
type compressor func(text []byte) (int, error)

// bitsOf returns NaN where a compressor fails.
func bitsOf(text []byte, c compressor) float64 {
	n, err := c(text)
	if err != nil {
		return math.NaN()
	}
	return 8 * float64(n)
}

func bitsOfEach(texts [][]byte, c compressor) float64 {
	sum := 0.0
	for _, text := range texts {
		sum += bitsOf(text, c)
	}
	return sum
}

func gzipped(text []byte) (int, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(text); err != nil {
		return 0, err
	}
	err = w.Close()
	return b.Len(), err
}

func xz(text []byte) (int, error) {
	c := exec.Command("xz", "-9e", "--stdout")
	c.Stdin = bytes.NewReader(text)
	out, err := c.Output()
	return len(out), err
}
