package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
	"github.com/spf13/cobra"
)

// vector is what embed prints, a line for each text.
type vector struct {
	Text   string    `json:"text"`
	Tokens int       `json:"tokens"`
	Vector []float32 `json:"vector"`
}

// The ways to make one vector of those of all positions.
const (
	poolMean  = "mean"
	poolFirst = "first"
	poolLast  = "last"
)

func embedCommand() *cobra.Command {
	var f modelFlags
	var pool string
	var ids bool
	c := &cobra.Command{
		Use:   "embed -m MODEL TEXT...",
		Short: "Print vectors of texts, one JSON object a line",
		Long: "Print vectors of texts, one JSON object a line: those that the head of a language model reads, or those\n" +
			"of an encoder. --pool mean is the mean of all positions, --pool first that of [CLS] in an encoder, and --pool\n" +
			"last, in a language model, the one that has seen all of the text. The default is the mean and, in an encoder,\n" +
			"what it was trained to compare texts by: the first position or the mean, through its pooler if it has one.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ids {
				f.tokenizer = "bytes" // none is needed
			}
			encoder, err := f.isEncoder()
			if err != nil {
				return err
			}
			load := f.languageEmbedder
			if encoder {
				load = f.encoderEmbedder
			}
			e, err := load(cmd.ErrOrStderr(), pool)
			if err != nil {
				return err
			}
			if ids {
				e.tokens = parseIDs
			}
			return e.print(cmd.OutOrStdout(), args)
		},
	}
	f.add(c)
	c.Flags().StringVar(&pool, "pool", "", "mean, first or last (default: what suits the model)")
	c.Flags().BoolVar(&ids, "ids", false, "texts are the numbers of their tokens, separated by spaces")
	c.RegisterFlagCompletionFunc("pool", cobra.FixedCompletions([]string{poolMean, poolFirst, poolLast}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// An embedder makes vectors of texts.
type embedder struct {
	tokens func(text string) ([]int, error)
	vector func(ids []int) ([]float32, error)
}

func (e *embedder) print(w io.Writer, texts []string) error {
	out := json.NewEncoder(w)
	for _, text := range texts {
		ids, err := e.tokens(text)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return errNoBegin
		}
		v, err := e.vector(ids)
		if err != nil {
			return err
		}
		if err := out.Encode(vector{text, len(ids), v}); err != nil {
			return err
		}
	}
	return nil
}

// parseIDs reads the numbers of tokens.
func parseIDs(text string) ([]int, error) {
	var ids []int
	for _, word := range strings.Fields(text) {
		id, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("--ids: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// checkPool returns an error unless pool is one of some, or nothing.
func checkPool(pool string, some ...string) error {
	if pool != "" && !slices.Contains(some, pool) {
		return fmt.Errorf("--pool %q: want %s for this model", pool, strings.Join(some, " or "))
	}
	return nil
}

// languageEmbedder loads a language model.
func (f *modelFlags) languageEmbedder(log io.Writer, pool string) (*embedder, error) {
	if err := checkPool(pool, poolMean, poolLast); err != nil {
		return nil, err
	}
	m, err := f.load(log)
	if err != nil {
		return nil, err
	}
	return &embedder{
		tokens: func(text string) ([]int, error) { return m.Encode(text), nil },
		vector: func(ids []int) ([]float32, error) {
			h, err := m.Hidden(ids)
			if err != nil {
				return nil, err
			}
			return pooled(h, pool), nil
		},
	}, nil
}

// pooled makes one vector of those of all positions.
func pooled(h tensor.Seq, pool string) []float32 {
	if pool == poolLast {
		return h.At(0, h.Len-1)
	}
	sum := make([]float32, h.Dim)
	for i := range h.Len {
		tensor.Axpy(1/float32(h.Len), h.At(0, i), sum)
	}
	return sum
}

// encoderEmbedder loads an encoder.
func (f *modelFlags) encoderEmbedder(log io.Writer, pool string) (*embedder, error) {
	if err := checkPool(pool, poolMean, poolFirst); err != nil {
		return nil, err
	}
	e, err := f.loadEncoder(log)
	if err != nil {
		return nil, err
	}
	return &embedder{
		tokens: func(text string) ([]int, error) { return e.Tokens(text), nil },
		vector: func(ids []int) ([]float32, error) { return encoded(e, ids, pool) },
	}, nil
}

// encoded returns the vector of one text.
func encoded(e *textmodel.Encoder, ids []int, pool string) ([]float32, error) {
	texts := [][]int{ids}
	if pool == "" {
		m, err := e.Embed(texts)
		return m.Data, err
	}
	x, err := e.Encode(texts, nil)
	if err != nil {
		return nil, err
	}
	if pool == poolFirst {
		return x.First().Data, nil
	}
	return x.Mean().Data, nil
}
