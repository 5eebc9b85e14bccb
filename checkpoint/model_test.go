package checkpoint_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

// goldenModels are the checkpoints of the golden vectors with the cases that say what
// their models compute.
var goldenModels = []struct{ family, path, name string }{
	{"ssm", "lm-mamba1-orig", "lm_mamba1"},
	{"ssm", "lm-mamba1-hf", "lm_mamba1"},
	{"ssm", "lm-mamba1-hf-bf16-sharded", "lm_mamba1_bf16"},
	{"ssm", "lm-mamba2-orig", "lm_mamba2"},
	{"ssm", "lm-mamba2-hf", "lm_mamba2"},
	{"ssm", "lm-mamba2-orig-f16-groups", "lm_mamba2_f16"},
	{"mamba3", "lm-mamba3-siso", "lm_mamba3"},
	{"mamba3", "lm-mamba3-siso/pytorch_model.bin", "lm_mamba3"},
	{"attention", "lm-llama", "lm_llama"},
	{"attention", "lm-mistral", "lm_mistral"},
}

// goldenCase returns a case, or skips the test.
func goldenCase(t testing.TB, family, name string) *goldentest.Case {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	f, err := goldentest.Load(filepath.Join(root, "golden", family))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Cases {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %s", name)
	return nil
}

// A language model gives the logits of the reference and continues as it does, in
// whatever pieces it reads the prompt.
func TestGoldenModels(t *testing.T) {
	for _, g := range goldenModels {
		t.Run(g.path, func(t *testing.T) {
			c := goldenCase(t, g.family, g.name)
			f, err := checkpoint.OpenModel(filepath.Join(c.Dir(), g.path), checkpoint.ModelOptions{Finite: true})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			t.Log(f)
			m, err := f.Load()
			if err != nil {
				t.Fatal(err)
			}
			if _, bytes := m.Size(); bytes != f.MemoryBytes {
				t.Errorf("%d bytes in memory, %d were announced", bytes, f.MemoryBytes)
			}
			checkGolden(t, c, m)
		})
	}
}

// A model with compact weights has the same logits to the bit, and what the last token needs
// of a prompt is the same as well.
func TestCompactModels(t *testing.T) {
	for _, g := range goldenModels {
		t.Run(g.path, func(t *testing.T) {
			c := goldenCase(t, g.family, g.name)
			load := func(compact bool) *lm.Model {
				f, err := checkpoint.OpenModel(filepath.Join(c.Dir(), g.path), checkpoint.ModelOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if f.Compact {
					t.Errorf("%v is small, but would be compact", f)
				}
				f.Compact = compact
				if compact && !strings.Contains(f.String(), "compact") {
					t.Errorf("that it is compact is not in %q", f)
				}
				m, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			packed, compact := load(false), load(true)
			made := 0
			for _, p := range compact.Params() {
				if p.Compacted() {
					made++
				}
			}
			if made == 0 && tensor.CPU() != "generic" {
				t.Error("no weight is compact")
			}
			ids := idsOf(c, "in.ids")[:8]
			want, err := packed.Logits(ids)
			if err != nil {
				t.Fatal(err)
			}
			got, err := compact.Logits(ids)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Data, want.Data) {
				t.Error("the logits differ from those of the packed model")
			}
			if got, want := continuation(t, compact, ids[:4], 4), continuation(t, packed, ids[:4], 4); !slices.Equal(got, want) {
				t.Errorf("it goes on with %v, the packed model with %v", got, want)
			}
		})
	}
}

// idsOf returns tokens of a case.
func idsOf(c *goldentest.Case, name string) []int {
	var ids []int
	for _, v := range c.Tensor(name) {
		ids = append(ids, int(v))
	}
	return ids
}

func checkGolden(t *testing.T, c *goldentest.Case, m *lm.Model) {
	t.Helper()
	shape := c.Shape("out.logits")
	rows, length := shape[len(shape)-1], shape[len(shape)-2]
	vocabulary := m.Vocabulary
	m.Vocabulary = rows // the cases have those of the padding too
	all := idsOf(c, "in.ids")
	var logits []float32
	for at := 0; at < len(all); at += length {
		l, err := m.Logits(all[at : at+length])
		if err != nil {
			t.Fatal(err)
		}
		logits = append(logits, l.Data...)
	}
	if err := c.Compare("out.logits", logits); err != nil {
		t.Error(err)
	}
	if e, err := c.Error("out.logits", logits); err != nil || e > 1e-4 {
		t.Errorf("logits are off by %g (%v)", e, err)
	}
	m.Vocabulary = vocabulary

	prompt, want := idsOf(c, "in.prompt"), idsOf(c, "out.greedy")
	for _, piece := range []int{1, 7, 64, 512} {
		s, err := m.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for ids := range slices.Chunk(prompt, piece) {
			if err := s.Feed(ids...); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for id, err := range s.Generate(t.Context(), lm.Options{MaxTokens: len(want)}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, id)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d it goes on with %v, want %v", piece, got, want)
		}
	}
}
