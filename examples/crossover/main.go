// Crossover measures sequence mixers against the length of the sequence: how long
// they take to read a prompt, how long for the next token, and how much state they
// carry. It prints a table, says where each overtakes attention, and draws the curves.
//
//	go run ./examples/crossover
//	go run ./examples/crossover -dim 768 -heads 12 -limit 30s -png crossover.png
//
// All mixers have random weights and the same width. A curve ends where one reading
// of the prompt would take longer than -limit.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seqmix/seqmix/examples/internal/progress"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crossover:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	dim, heads int
	from, to   int
	limit      time.Duration
	threads    int
	mixers     string
	png        string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("crossover", flag.ContinueOnError)
	f.IntVar(&o.dim, "dim", 256, "width of the vectors")
	f.IntVar(&o.heads, "heads", 4, "heads of the mixers that have some")
	f.IntVar(&o.from, "from", 256, "shortest sequence")
	f.IntVar(&o.to, "to", 65536, "longest sequence")
	f.DurationVar(&o.limit, "limit", 2*time.Second, "longest time for one reading of a prompt")
	f.IntVar(&o.threads, "threads", runtime.GOMAXPROCS(0), "processors to use")
	f.StringVar(&o.mixers, "mixers", "", "comma-separated names to measure: "+strings.Join(names(contenders), ", ")+" (all if empty)")
	f.StringVar(&o.png, "png", "crossover.png", "file for the curves; empty for none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.from < 1 || o.to < o.from:
		return o, fmt.Errorf("-from %d -to %d: want 1 ≤ from ≤ to", o.from, o.to)
	case o.threads < 1:
		return o, fmt.Errorf("-threads %d: want at least 1", o.threads)
	}
	return o, nil
}

func run(args []string) error {
	o, err := parse(args)
	if err == flag.ErrHelp {
		return nil
	}
	if err != nil {
		return err
	}
	chosen, err := choose(o.mixers)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(o.threads)
	lengths := powers(o.from, o.to)
	bar := progress.New(os.Stderr, "", int64(len(chosen)*len(lengths)), progressbar.OptionFullWidth())
	var curves []curve
	for _, c := range chosen {
		cv, err := measure(c, o, lengths, func(n int) {
			bar.Describe(fmt.Sprintf("%-10s %6d", c.name, n))
			bar.Add(1)
		})
		if err != nil {
			return err
		}
		curves = append(curves, cv)
	}
	bar.Finish()
	report(os.Stdout, o, curves)
	if o.png == "" {
		return nil
	}
	if err := drawCurves(o.png, curves); err != nil {
		return err
	}
	fmt.Println("\ncurves:", o.png)
	return nil
}

// powers returns from, 2·from, 4·from … up to to.
func powers(from, to int) []int {
	var p []int
	for n := from; n <= to; n *= 2 {
		p = append(p, n)
	}
	return p
}
