// Zoology trains small models with different mixers to recall, and shows how much each
// does against the size of its state.
//
//	go run ./examples/zoology
//	go run ./examples/zoology -setting a5 -mixers attention,based-16,based-8 -json a5.json
//
// It prints a table and draws a plot. Every step has fresh sequences. The line of windows in
// the plot is computed, not trained: see zoology.MQAR.WindowCeiling.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/zoology"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "zoology:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	sweep     zoology.Sweep
	png, json string
}

const defaultMixers = "attention,based-16,based-8,elu-16,sliding-32,sliding-16,sliding-8"

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("zoology", flag.ContinueOnError)
	f.SetOutput(stderr)
	setting := f.String("setting", "smoke", "the experiment: "+strings.Join(settingNames(), ", "))
	mixers := f.String("mixers", defaultMixers, "comma-separated mixers: "+mixerUsage)
	seed := f.Uint64("seed", 1, "seed of parameters and data")
	widths := f.String("widths", "", "comma-separated widths of the models (that of the setting if empty)")
	rates := f.String("rates", "", "comma-separated learning rates, of which the best counts (that of the setting if empty)")
	epochs := f.Int("epochs", 0, "epochs (those of the setting if 0)")
	f.StringVar(&o.png, "png", "zoology.png", "file for the plot; empty for none")
	f.StringVar(&o.json, "json", "", "file for all results; - for the standard output, without the table")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	s, ok := settings[*setting]
	if !ok {
		return o, fmt.Errorf("-setting %s: want one of %s", *setting, strings.Join(settingNames(), ", "))
	}
	o.sweep = zoology.Sweep{Setting: s(), Seeds: []uint64{*seed}}
	if *epochs < 0 {
		return o, fmt.Errorf("-epochs %d: want at least 1", *epochs)
	}
	if *epochs > 0 {
		o.sweep.Setting.Epochs = *epochs
	}
	if o.sweep.Contenders, err = contenders(*mixers); err != nil {
		return o, fmt.Errorf("-mixers: %w", err)
	}
	if o.sweep.Widths, err = list(*widths, strconv.Atoi); err != nil {
		return o, fmt.Errorf("-widths: %w", err)
	}
	o.sweep.Rates, err = list(*rates, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	if err != nil {
		return o, fmt.Errorf("-rates: %w", err)
	}
	return o, nil
}

// list reads comma-separated values, all of them positive; nothing is an empty list.
func list[T int | float64](s string, parse func(string) (T, error)) ([]T, error) {
	var values []T
	for part := range strings.SplitSeq(s, ",") {
		if s == "" {
			break
		}
		v, err := parse(strings.TrimSpace(part))
		if err == nil && !(v > 0) {
			err = fmt.Errorf("%v is not positive", v)
		}
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func run(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	bar := newProgress(stderr, o.sweep)
	results, err := o.sweep.Run(ctx, bar.report)
	bar.finish()
	if len(results) == 0 {
		return err
	}
	if e := show(stdout, o, results); err == nil {
		err = e
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: these are the results so far")
	}
	return err
}

// show writes what the options ask for.
func show(stdout io.Writer, o options, results []zoology.Result) error {
	if o.json == "-" {
		return encode(stdout, results)
	}
	if o.json != "" {
		f, err := os.Create(o.json)
		if err != nil {
			return err
		}
		if err := errors.Join(encode(f, results), f.Close()); err != nil {
			return err
		}
	}
	best := zoology.Best(results)
	report(stdout, o.sweep.Setting, best)
	if o.png == "" {
		return nil
	}
	windows, err := windowCurve(o.sweep.Setting, best)
	if err != nil {
		return err
	}
	if err := draw(o.png, o.sweep.Setting, best, windows); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "\nplot:", o.png)
	return nil
}

func encode(w io.Writer, results []zoology.Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(results)
}
