// Command seqmix runs language models made of sequence mixers: it generates and scores
// text, makes vectors of it, measures, inspects and converts models.
//
//	go run ./cmd/seqmix run -m DIR "Once upon a time"
//	go run ./cmd/seqmix embed -m DIR "a text" "another"
//	go run ./cmd/seqmix inspect DIR
//	go run ./cmd/seqmix help
//
// A model is a directory of Hugging Face or of the original projects, a GGUF file, or a
// file of llama2.c: see the documentation of package checkpoint.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "seqmix:", err)
		os.Exit(1)
	}
}

// command returns the program as a tree of commands.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "seqmix",
		Short:         "Run language models made of sequence mixers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	threads := root.PersistentFlags().Int("threads", 0, "processors to use (0 for all)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch {
		case *threads < 0:
			return fmt.Errorf("--threads %d: want 0 or more", *threads)
		case *threads > 0:
			runtime.GOMAXPROCS(*threads)
		}
		return nil
	}
	root.AddCommand(runCommand(), scoreCommand(), embedCommand(), benchCommand(), inspectCommand(), quantizeCommand(), convertCommand())
	return root
}
