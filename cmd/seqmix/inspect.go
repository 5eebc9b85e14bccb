package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/spf13/cobra"
)

func inspectCommand() *cobra.Command {
	var tensors bool
	c := &cobra.Command{
		Use:   "inspect PATH",
		Short: "Say what a checkpoint is, without loading it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			m, modelErr := checkpoint.OpenModel(args[0], checkpoint.ModelOptions{})
			if modelErr == nil {
				defer m.Close()
				describe(out, m)
				if tensors {
					return list(out, m.Source())
				}
				return nil
			}
			f, err := checkpoint.Open(args[0])
			if err != nil {
				return modelErr
			}
			defer f.Close()
			fmt.Fprintln(out, "not a language model that is known:", modelErr)
			return list(out, f)
		},
	}
	c.Flags().BoolVar(&tensors, "tensors", false, "list all tensors")
	return c
}

func describe(out io.Writer, m *checkpoint.ModelFile) {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(tw, "%s\t%v\n", name, value) }
	row("architecture", m.Architecture)
	row("layers", m.Layers)
	row("width", m.Dim)
	row("vocabulary", fmt.Sprintf("%d (%d rows)", m.Vocabulary, m.Rows))
	row("longest text", orAny(m.MaxLen))
	row("head", map[bool]string{true: "tied to the embedding", false: "of its own"}[m.Tied])
	row("parameters", m.Parameters)
	row("in the file", fmt.Sprintf("%.1f MB", float64(m.FileBytes)/1e6))
	most := ""
	if m.Compact {
		most = "at most "
	}
	row("in memory", fmt.Sprintf("%s%.1f MB", most, float64(m.MemoryBytes)/1e6))
	tw.Flush()
}

func orAny(n int) any {
	if n == 0 {
		return "any"
	}
	return n
}

// list prints the tensors of a checkpoint.
func list(out io.Writer, src checkpoint.Source) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range slices.Collect(src.Names()) {
		e, ok := src.Lookup(name)
		if !ok {
			return fmt.Errorf("%s: tensor %s is listed, but not there", src, name)
		}
		fmt.Fprintf(tw, "%s\t%s\t%v\n", name, e.DType(), e.Shape())
	}
	return tw.Flush()
}
