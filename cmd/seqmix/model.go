package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
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
func (f *modelFlags) load(log io.Writer) (*textmodel.Model, error) {
	return loadWith(f, log, textmodel.Open)
}

// loadEncoder is load for an encoder.
func (f *modelFlags) loadEncoder(log io.Writer) (*textmodel.Encoder, error) {
	return loadWith(f, log, textmodel.OpenEncoder)
}

func loadWith[T any](f *modelFlags, log io.Writer, open func(string, textmodel.Options) (T, error)) (T, error) {
	var none T
	o, err := f.options(log)
	if err != nil {
		return none, err
	}
	m, err := open(f.path, textmodel.Options{ModelOptions: o, Tokenizer: f.tokenizer, Found: func(m *checkpoint.ModelFile) {
		if !f.quiet {
			fmt.Fprintln(log, m)
		}
	}})
	if errors.Is(err, fs.ErrNotExist) && f.tokenizer == "" {
		err = fmt.Errorf("%w (--tokenizer names one)", err)
	}
	return m, err
}

// isEncoder reports whether the model is an encoder, without loading it.
func (f *modelFlags) isEncoder() (bool, error) {
	m, err := checkpoint.OpenModel(f.path, checkpoint.ModelOptions{})
	if err != nil {
		return false, err
	}
	return m.Encoder, m.Close()
}
