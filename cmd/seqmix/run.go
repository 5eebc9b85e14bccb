package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	var f modelFlags
	var o lm.Options
	var stops []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "run -m MODEL [PROMPT]",
		Short: "Continue a text",
		Long: "Continue a text, token by token. Without a prompt it is read from standard input,\n" +
			"and if that is empty, the text begins as the model begins texts.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Sampler.Check(); err != nil {
				return err
			}
			prompt, err := argument(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			l, err := f.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return generate(cmd, l, prompt, o, stops, asJSON, f.quiet)
		},
	}
	f.add(c)
	flags := c.Flags()
	flags.IntVarP(&o.MaxTokens, "tokens", "n", 256, "tokens at most (0 for any)")
	flags.Float64VarP(&o.Sampler.Temperature, "temperature", "t", 0, "temperature (0: the most likely token always)")
	flags.IntVar(&o.Sampler.TopK, "top-k", 0, "keep so many of the likeliest tokens (0 for all)")
	flags.Float64Var(&o.Sampler.TopP, "top-p", 0, "keep the likeliest tokens up to this probability (0 for all)")
	flags.Float64Var(&o.Sampler.MinP, "min-p", 0, "keep tokens at least so likely, times the likeliest")
	flags.Float64Var(&o.Sampler.RepetitionPenalty, "repetition-penalty", 0, "makes repeated tokens less likely, if above 1")
	flags.Uint64Var(&o.Sampler.Seed, "seed", 1, "makes the result the same again")
	flags.StringArrayVar(&stops, "stop", nil, "text that ends the result (may be repeated)")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object with the result and its speed")
	return c
}

// argument returns the argument, or standard input.
func argument(in io.Reader, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	b, err := io.ReadAll(in)
	return string(b), err
}

// result is what run prints as JSON.
type result struct {
	Prompt          string  `json:"prompt"`
	Text            string  `json:"text"`
	PromptTokens    int     `json:"prompt_tokens"`
	Tokens          int     `json:"tokens"`
	PromptPerSecond float64 `json:"prompt_tokens_per_second"`
	PerSecond       float64 `json:"tokens_per_second"`
	Architecture    string  `json:"architecture"`
}

// errNoBegin is for models that cannot begin a text.
var errNoBegin = fmt.Errorf("the prompt is empty, and the model has no token that begins a text")

func generate(cmd *cobra.Command, l *textmodel.Model, prompt string, o lm.Options, stops []string, asJSON, quiet bool) error {
	s, err := l.NewSession()
	if err != nil {
		return err
	}
	ids := l.Encode(prompt)
	if len(ids) == 0 {
		return errNoBegin
	}
	r := result{Prompt: prompt, PromptTokens: len(ids), Architecture: l.Architecture}
	begin := time.Now()
	if err := s.Feed(ids...); err != nil {
		return err
	}
	s.Logits()
	r.PromptPerSecond = float64(len(ids)) / time.Since(begin).Seconds()

	o.Stop = append(o.Stop, l.End...)
	out := cmd.OutOrStdout()
	if asJSON {
		out = io.Discard
	}
	begin = time.Now()
	text := &stopper{decoder: tokenizer.NewDecoder(l.Tokenizer, prompt == ""), stops: stops, out: out}
	for id, err := range s.Generate(cmd.Context(), o) {
		if err != nil {
			text.close()
			return err
		}
		r.Tokens++
		if text.next(id) {
			break
		}
	}
	text.close()
	r.Text, r.PerSecond = text.all.String(), float64(r.Tokens)/time.Since(begin).Seconds()
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	}
	fmt.Fprintln(out)
	if !quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "prompt %d tokens, %.1f tokens/s; text %d tokens, %.1f tokens/s\n", r.PromptTokens, r.PromptPerSecond, r.Tokens, r.PerSecond)
	}
	return nil
}

// A stopper prints text as it comes, up to the first of some stops. What could be the
// beginning of one is held back until it is certain.
type stopper struct {
	decoder *tokenizer.Decoder
	stops   []string
	out     io.Writer
	all     strings.Builder // printed
	held    string
}

// next takes a token and reports whether the text ends.
func (s *stopper) next(id int) bool {
	s.held += s.decoder.Next(id)
	end, stop := len(s.held), false
	for _, text := range s.stops {
		if i := strings.Index(s.held, text); text != "" && i >= 0 && i < end {
			end, stop = i, true
		}
	}
	if stop {
		s.print(s.held[:end])
		s.held = ""
		return true
	}
	keep := 0
	for _, text := range s.stops {
		keep = max(keep, overlap(s.held, text))
	}
	s.print(s.held[:len(s.held)-keep])
	s.held = s.held[len(s.held)-keep:]
	return false
}

// overlap returns how much of the end of text is the beginning of stop.
func overlap(text, stop string) int {
	for n := min(len(text), len(stop)-1); n > 0; n-- {
		if strings.HasSuffix(text, stop[:n]) {
			return n
		}
	}
	return 0
}

func (s *stopper) print(text string) {
	s.all.WriteString(text)
	io.WriteString(s.out, text)
}

// close prints what was held back.
func (s *stopper) close() {
	s.print(s.held + s.decoder.Flush())
	s.held = ""
}
