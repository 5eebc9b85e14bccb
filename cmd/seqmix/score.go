package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"
)

// scores is what score prints.
type scores struct {
	Tokens      int     `json:"tokens"` // that were predicted
	Bytes       int     `json:"bytes"`
	NatsPer     float64 `json:"nats_per_token"`
	Perplexity  float64 `json:"perplexity"`
	BitsPerByte float64 `json:"bits_per_byte"`
}

func scoreCommand() *cobra.Command {
	var f modelFlags
	var file string
	var asJSON, each bool
	c := &cobra.Command{
		Use:   "score -m MODEL [TEXT]",
		Short: "Say how likely the model finds a text",
		Long:  "Say how likely the model finds a text: that of the argument, of --file, or of standard input.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := textOf(cmd.InOrStdin(), file, args)
			if err != nil {
				return err
			}
			l, err := f.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			ids := l.Encode(text)
			list, err := l.Score(ids)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return fmt.Errorf("the text has %d tokens; nothing is predicted in fewer than 2", len(ids))
			}
			if each {
				for i, s := range list {
					fmt.Fprintf(cmd.OutOrStdout(), "%9.4f  %q\n", s, l.Tokenizer.Decode(ids[i+1]))
				}
			}
			return printScores(cmd.OutOrStdout(), summarize(list, text), asJSON)
		},
	}
	f.add(c)
	c.Flags().StringVarP(&file, "file", "f", "", "file with the text")
	c.Flags().BoolVar(&each, "each", false, "print the logarithm of the probability of each token")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// textOf returns the text of the argument, of a file, or of standard input.
func textOf(in io.Reader, file string, args []string) (string, error) {
	if file == "" {
		return argument(in, args)
	}
	if len(args) > 0 {
		return "", fmt.Errorf("a text and --file %s: want one of them", file)
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

func summarize(list []float64, text string) scores {
	sum := 0.0
	for _, s := range list {
		sum -= s
	}
	s := scores{Tokens: len(list), Bytes: len(text)}
	s.NatsPer = sum / float64(len(list))
	s.Perplexity = math.Exp(s.NatsPer)
	s.BitsPerByte = sum / math.Ln2 / float64(max(len(text), 1))
	return s
}

func printScores(out io.Writer, s scores, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(s)
	}
	_, err := fmt.Fprintf(out, "%d tokens, %.4f nats per token, perplexity %.4f, %.4f bits per byte\n", s.Tokens, s.NatsPer, s.Perplexity, s.BitsPerByte)
	return err
}
