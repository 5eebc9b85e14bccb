package main

import (
	"encoding/json"
	"fmt"

	"github.com/seqmix/seqmix/tensor"
	"github.com/spf13/cobra"
)

// vector is what embed prints, a line for each text.
type vector struct {
	Text   string    `json:"text"`
	Tokens int       `json:"tokens"`
	Vector []float32 `json:"vector"`
}

func embedCommand() *cobra.Command {
	var f modelFlags
	var pool string
	c := &cobra.Command{
		Use:   "embed -m MODEL TEXT...",
		Short: "Print vectors of texts, one JSON object a line",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if pool != "mean" && pool != "last" {
				return fmt.Errorf("--pool %q: want mean or last", pool)
			}
			l, err := f.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			for _, text := range args {
				ids := l.Encode(text)
				if len(ids) == 0 {
					return errNoBegin
				}
				h, err := l.Hidden(ids)
				if err != nil {
					return err
				}
				if err := out.Encode(vector{text, len(ids), pooled(h, pool)}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&pool, "pool", "mean", "mean of all positions, or the last one")
	c.RegisterFlagCompletionFunc("pool", cobra.FixedCompletions([]string{"mean", "last"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// pooled makes one vector of those of all positions.
func pooled(h tensor.Seq, pool string) []float32 {
	if pool == "last" {
		return h.At(0, h.Len-1)
	}
	sum := make([]float32, h.Dim)
	for i := range h.Len {
		tensor.Axpy(1/float32(h.Len), h.At(0, i), sum)
	}
	return sum
}
