package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// A quantity is one of the things that are measured.
type quantity struct {
	title  string
	unit   string
	axis   string
	of     func(point) float64 // 0 if it was not measured
	format string
}

var quantities = []quantity{
	{title: "Reading the sequence", unit: "µs per token", axis: "µs per token, reading", format: "%.2f",
		of: func(p point) float64 { return float64(p.prefill.Nanoseconds()) / 1e3 / float64(p.length) }},
	{title: "The next token, after the first 32", unit: "µs", axis: "µs, next token", format: "%.1f",
		of: func(p point) float64 { return float64(p.decode.Nanoseconds()) / 1e3 }},
	{title: "Work", unit: "thousand floating-point operations per token", axis: "kFLOP per token", format: "%.0f",
		of: func(p point) float64 { return p.flops / 1e3 }},
	{title: "State", unit: "KiB", axis: "KiB of state", format: "%.0f",
		of: func(p point) float64 { return float64(p.state) / 1024 }},
}

// report prints the curves as tables, and where they cross that of attention.
func report(w io.Writer, o options, curves []curve) {
	fmt.Fprintf(w, "Width %d, %d heads, one layer, one sequence, %d threads, %s kernels.\n", o.dim, o.heads, o.threads, cpu())
	for _, q := range quantities {
		fmt.Fprintf(w, "\n%s, %s\n", q.title, q.unit)
		table(w, q, curves)
		crossings(w, q, curves)
	}
}

func table(w io.Writer, q quantity, curves []curve) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "length\t")
	longest := 0
	for i, c := range curves {
		fmt.Fprintf(tw, "%s\t", c.name)
		if len(c.points) > len(curves[longest].points) {
			longest = i
		}
	}
	fmt.Fprintln(tw)
	for i, p := range curves[longest].points {
		fmt.Fprintf(tw, "%d\t", p.length)
		for _, c := range curves {
			if i >= len(c.points) || q.of(c.points[i]) == 0 {
				fmt.Fprint(tw, "-\t")
				continue
			}
			fmt.Fprintf(tw, q.format+"\t", q.of(c.points[i]))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// crossings prints from what length on each mixer needs less than attention.
func crossings(w io.Writer, q quantity, curves []curve) {
	var baseline *curve
	for i := range curves {
		if curves[i].name == attentionName {
			baseline = &curves[i]
		}
	}
	if baseline == nil {
		return
	}
	for _, c := range curves {
		if c.name == attentionName {
			continue
		}
		switch at := crossing(q, c, *baseline); {
		case math.IsNaN(at):
		case math.IsInf(at, 1):
			fmt.Fprintf(w, "%s does not overtake attention within the lengths measured\n", c.name)
		case at <= float64(c.points[0].length):
			fmt.Fprintf(w, "%s is ahead of attention from %d on\n", c.name, c.points[0].length)
		default:
			fmt.Fprintf(w, "%s overtakes attention at about %s\n", c.name, rounded(at))
		}
	}
}

// crossing returns the length from which on c stays below baseline, as far as both
// were measured: between two lengths it is where straight lines cross in a plot with
// logarithmic axes. It is +Inf if c ends above, and NaN if there is nothing to compare.
func crossing(q quantity, c, baseline curve) float64 {
	n := min(len(c.points), len(baseline.points))
	gap := func(i int) float64 {
		a, b := q.of(c.points[i]), q.of(baseline.points[i])
		if a == 0 || b == 0 {
			return math.NaN()
		}
		return math.Log(a / b)
	}
	if n == 0 || math.IsNaN(gap(n-1)) {
		return math.NaN()
	}
	if gap(n-1) >= 0 {
		return math.Inf(1)
	}
	i := n - 1
	for i > 0 && gap(i-1) < 0 {
		i--
	}
	at := float64(c.points[i].length)
	if i == 0 {
		return at
	}
	before := float64(c.points[i-1].length)
	share := gap(i-1) / (gap(i-1) - gap(i))
	return before * math.Pow(at/before, share)
}

// rounded returns v with two digits that count.
func rounded(v float64) string {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return fmt.Sprintf("%.0f", math.Round(v/unit)*unit)
}
