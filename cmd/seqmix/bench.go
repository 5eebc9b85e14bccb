package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
	"github.com/spf13/cobra"
)

// speed is what bench prints.
type speed struct {
	Architecture string  `json:"architecture"`
	Parameters   int     `json:"parameters"`
	Bytes        int     `json:"bytes"`
	CPU          string  `json:"cpu"`
	Threads      int     `json:"threads"`
	Prompt       int     `json:"prompt"`
	Prefill      float64 `json:"prefill_tokens_per_second"`
	Decode       float64 `json:"decode_tokens_per_second"`
	State        int     `json:"state_bytes"` // after the prompt
}

func benchCommand() *cobra.Command {
	var f modelFlags
	var prompt, tokens, repeat int
	var asJSON bool
	c := &cobra.Command{
		Use:   "bench -m MODEL",
		Short: "Measure how fast the model reads and writes",
		Long:  "Measure how many tokens a second the model reads, of a prompt, and writes, one by one.\nThe best of some repetitions counts.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if prompt < 1 || tokens < 1 || repeat < 1 {
				return fmt.Errorf("--prompt %d --tokens %d --repeat %d: want at least 1", prompt, tokens, repeat)
			}
			f.tokenizer = "bytes" // none is needed
			l, err := f.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			s, err := measure(l, prompt, tokens, repeat)
			if err != nil {
				return err
			}
			return printSpeed(cmd.OutOrStdout(), s, asJSON)
		},
	}
	f.add(c)
	c.Flags().IntVarP(&prompt, "prompt", "p", 512, "tokens to read")
	c.Flags().IntVarP(&tokens, "tokens", "n", 64, "tokens to write")
	c.Flags().IntVarP(&repeat, "repeat", "r", 5, "repetitions")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func measure(l *textmodel.Model, prompt, tokens, repeat int) (speed, error) {
	parameters, bytes := l.Size()
	r := speed{
		Architecture: l.Architecture, Parameters: parameters, Bytes: bytes,
		CPU: tensor.CPU(), Threads: runtime.GOMAXPROCS(0), Prompt: prompt,
	}
	s, err := l.NewSession()
	if err != nil {
		return r, err
	}
	ids := make([]int, prompt)
	for i := range ids {
		ids[i] = i * 7919 % l.Tokenizer.Vocabulary()
	}
	for range repeat {
		s.Reset()
		begin := time.Now()
		if err := s.Feed(ids...); err != nil {
			return r, err
		}
		s.Logits()
		r.Prefill = max(r.Prefill, float64(prompt)/time.Since(begin).Seconds())
		if r.State == 0 {
			saved, err := s.AppendBinary(nil)
			if err != nil {
				return r, err
			}
			r.State = len(saved)
		}
		begin = time.Now()
		for i := range tokens {
			if err := s.Feed(ids[i%len(ids)]); err != nil {
				return r, err
			}
			s.Logits()
		}
		r.Decode = max(r.Decode, float64(tokens)/time.Since(begin).Seconds())
	}
	return r, nil
}

func printSpeed(out io.Writer, s speed, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(s)
	}
	_, err := fmt.Fprintf(out, "%s, %d parameters, %.1f MB; %s, %d threads\nprefill of %d tokens: %.1f tokens/s\ndecode: %.1f tokens/s\nstate after the prompt: %.1f kB\n",
		s.Architecture, s.Parameters, float64(s.Bytes)/1e6, s.CPU, s.Threads, s.Prompt, s.Prefill, s.Decode, float64(s.State)/1e3)
	return err
}
