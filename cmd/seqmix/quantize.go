package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
	"github.com/spf13/cobra"
)

func quantizeCommand() *cobra.Command {
	var f modelFlags
	var file string
	var prompt, tokens int
	c := &cobra.Command{
		Use:   "quantize -m MODEL --file TEXT",
		Short: "Compare the formats of weights on a text",
		Long: "Load the model with its weights in each format, and print the memory they take, how well the\n" +
			"model predicts a text, and its speed. To use a format, give it to the other commands: --weights.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := textOf(cmd.InOrStdin(), file, nil)
			if err != nil {
				return err
			}
			return compare(cmd.OutOrStdout(), cmd.ErrOrStderr(), f, text, prompt, tokens)
		},
	}
	f.add(c)
	c.Flags().StringVarP(&file, "file", "f", "", "file with the text (default: standard input)")
	c.Flags().IntVarP(&prompt, "prompt", "p", 128, "tokens to read for the speed")
	c.Flags().IntVarP(&tokens, "tokens", "n", 32, "tokens to write for the speed")
	return c
}

// compare prints a row for each format.
func compare(out, log io.Writer, f modelFlags, text string, prompt, tokens int) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "weights\tMB\tperplexity\tchange\tbits per byte\tprefill/s\tdecode/s\t")
	base := 0.0
	for i, format := range formats() {
		f.weights = format
		l, err := f.load(log)
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
		s := summarize(list, text)
		if i == 0 {
			base = s.Perplexity
		}
		v, err := measure(l, prompt, tokens, 3)
		if err != nil {
			return err
		}
		fmt.Fprintf(tw, "%s\t%.1f\t%.4f\t%+.2f %%\t%.4f\t%.0f\t%.0f\t\n", format, float64(v.Bytes)/1e6, s.Perplexity, 100*(s.Perplexity/base-1), s.BitsPerByte, v.Prefill, v.Decode)
	}
	return tw.Flush()
}

func convertCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "convert IN OUT.safetensors",
		Short: "Write a checkpoint as a safetensors file",
		Long: "Write the tensors of a checkpoint, of any format that can be read, to a safetensors file. With --to, those\n" +
			"of a language model are converted; without, they keep their types, which must be types of safetensors.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				f, err := checkpoint.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				return checkpoint.WriteFile(args[1], f, map[string]string{"format": "pt"})
			}
			return convertModel(args[0], args[1], to)
		},
	}
	c.Flags().StringVar(&to, "to", "", "type of the weights: float32 or bfloat16")
	c.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"float32", "bfloat16"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// convertModel writes a language model with weights of another type, under the names of
// its file.
func convertModel(in, out, to string) error {
	d, err := tensor.ParseDType(to)
	if err != nil || d != tensor.Float32 && d != tensor.BFloat16 {
		return fmt.Errorf("--to %q: want float32 or bfloat16", to)
	}
	f, err := checkpoint.OpenModel(in, checkpoint.ModelOptions{Weights: &d, Unpacked: true})
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := f.Load()
	if err != nil {
		return err
	}
	return checkpoint.Save(out, m, f.Rename)
}
