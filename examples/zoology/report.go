package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/seqmix/seqmix/zoology"
)

// report prints results as a table, the smallest state first.
func report(w io.Writer, s zoology.Setting, results []zoology.Result) {
	vocabulary, length, _ := s.Shape()
	fmt.Fprintf(w, "Setting %s: %d tokens, sequences of up to %d, at most %d epochs of %d steps of %d sequences.\n",
		s.Name, vocabulary, length, s.Epochs, s.EpochSteps(), s.BatchSize)
	fmt.Fprintln(w, "Share of the values that are recalled, by the number of pairs in a sequence:")
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "mixer\twidth\tstate, bytes\tparameters\t")
	for _, t := range results[0].Tests {
		fmt.Fprintf(tw, "%d of %d\t", t.Pairs, t.SeqLen)
	}
	fmt.Fprintln(tw, "ceiling\tlr\tsteps\tseconds\t")
	for _, r := range bySize(results) {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t", r.Contender, r.DModel, r.StateBytes, r.Parameters)
		for _, t := range r.Tests {
			fmt.Fprintf(tw, "%.4f\t", t.Accuracy)
		}
		ceiling := ""
		if c := r.Hardest().Ceiling; c > 0 {
			ceiling = fmt.Sprintf("%.4f", c)
		}
		fmt.Fprintf(tw, "%s\t%.2g\t%d\t%.1f\t\n", ceiling, r.Rate, r.Steps, r.Seconds)
	}
	tw.Flush()
	if slices.ContainsFunc(results, func(r zoology.Result) bool { return r.Hardest().Ceiling > 0 }) {
		fmt.Fprintln(w, "\nThe ceiling is the share of the values of the last column that are within the window.\nGuesses come on top of it.")
	}
}

// bySize returns results in the order of their states.
func bySize(results []zoology.Result) []zoology.Result {
	return slices.SortedStableFunc(slices.Values(results), func(a, b zoology.Result) int { return a.StateBytes - b.StateBytes })
}
