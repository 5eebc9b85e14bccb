package golden

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"hyenadna":     hyenaDNA,
	"stripedhyena": stripedModel,
})

// hyenaModelConfig is what cases with models say.
type hyenaModelConfig struct {
	Directory  directories `json:"directory"`
	PromptLen  int         `json:"prompt_len"`
	LogitsFrom int         `json:"logits_from"`
}

// directories are one name or several.
type directories []string

func (d *directories) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*d = directories{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(d))
}

// hyenaDNA runs a language model as it is stored in each of the directories.
func hyenaDNA(c *goldentest.Case) (results, error) {
	var cfg hyenaModelConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return eachStored(cfg.Directory, func(name string) (results, error) {
		m, err := checkpoint.LoadModel(filepath.Join(c.Dir(), name), exactly)
		if err != nil {
			return nil, err
		}
		return hyenaDNAStates(m, idRows(c))
	})
}

// idRows returns the token ids of each sequence of a case.
func idRows(c *goldentest.Case) [][]int {
	n := c.Shape("in.ids")[1]
	var rows [][]int
	for i, v := range c.Tensor("in.ids") {
		if i%n == 0 {
			rows = append(rows, nil)
		}
		rows[i/n] = append(rows[i/n], int(v))
	}
	return rows
}

// hyenaDNAStates runs a model layer by layer.
func hyenaDNAStates(m *lm.Model, ids [][]int) (results, error) {
	r := results{}
	batch, n := len(ids), len(ids[0])
	x, y := tensor.NewSeq(batch, n, m.Dim()), tensor.NewSeq(batch, n, m.Dim())
	if err := m.Embedding.Lookup(x, slices.Concat(ids...)); err != nil {
		return nil, err
	}
	for i, layer := range m.Layers {
		r[fmt.Sprint("out.hidden_", i)] = slices.Clone(x.Data)
		layer.Mix(x, x)
	}
	m.Norm.Mix(y, x)
	r[fmt.Sprint("out.hidden_", len(m.Layers))] = slices.Clone(x.Data)
	r["out.last_hidden_state"] = y.Data
	logits := tensor.NewSeq(batch, n, m.Head.Out())
	m.Head.Apply(logits, y)
	r["out.logits"] = logits.Data
	return r, nil
}

// stripedModel runs a language model as it is stored in each of the files: as a whole,
// through streams whose states are looked at, and as it chooses tokens.
func stripedModel(c *goldentest.Case) (results, error) {
	var cfg hyenaModelConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	var files []string
	for _, pattern := range []string{"*.safetensors", "*.pt"} {
		found, err := filepath.Glob(filepath.Join(c.Dir(), cfg.Directory[0], pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return eachStored(files, func(path string) (results, error) {
		m, err := checkpoint.LoadModel(path, exactly)
		if err != nil {
			return nil, err
		}
		return stripedResults(m, idRows(c)[0], cfg)
	})
}

func stripedResults(m *lm.Model, ids []int, cfg hyenaModelConfig) (results, error) {
	hidden, err := m.Hidden(ids)
	if err != nil {
		return nil, err
	}
	logits := tensor.NewSeq(1, len(ids)-cfg.LogitsFrom, m.Head.Out())
	m.Head.Apply(logits, hidden.Slice(cfg.LogitsFrom, len(ids)))
	r := results{"out.hidden": hidden.Data, "out.logits": logits.Data}
	if r["out.greedy"], err = greedy(m, ids[:cfg.PromptLen], len(ids)-cfg.PromptLen); err != nil {
		return nil, err
	}
	return r, stripedStates(m, ids, r)
}

// greedy returns the tokens that a session continues a prompt with.
func greedy(m *lm.Model, prompt []int, n int) ([]float32, error) {
	s, err := m.NewSession()
	if err != nil {
		return nil, err
	}
	if err := s.Feed(prompt...); err != nil {
		return nil, err
	}
	var tokens []float32
	for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: n}) {
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, float32(id))
	}
	return tokens, nil
}

// stripedStates runs all mixers as streams and adds their states after the last token.
func stripedStates(m *lm.Model, ids []int, r results) error {
	x, y := tensor.NewSeq(1, len(ids), m.Dim()), tensor.NewSeq(1, len(ids), m.Dim())
	if err := m.Embedding.Lookup(x, ids); err != nil {
		return err
	}
	for i, layer := range m.Layers {
		b := layer.(*hyena.Block)
		s, err := seqmix.NewStream(b.Mixer, 1)
		if err != nil {
			return err
		}
		b.PreNorm.Mix(y, x)
		s.Mix(y, y)
		switch s := s.(type) {
		case *hyena.StripedStream:
			short, inner := s.State()
			r[fmt.Sprint("state.fir_", i)], r[fmt.Sprint("state.iir_", i)] = short.Data(), inner.Data()
		case *attention.MultiHeadStream:
			keys, values := s.State()
			width := keys.Dim(2) * keys.Dim(3)
			var kv []float32 // (positions, 2, heads, width)
			for p := range len(ids) {
				kv = append(kv, keys.Data()[p*width:(p+1)*width]...)
				kv = append(kv, values.Data()[p*width:(p+1)*width]...)
			}
			r[fmt.Sprint("state.kv_", i)] = kv
		}
		tensor.AddSeq(x, x, y)
		(&seqmix.Residual{Norm: b.PostNorm, Mixer: b.MLP}).Mix(x, x)
	}
	return nil
}
