package checkpoint_test

import (
	"encoding/binary"
	"math"
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

// Based is there as safetensors, which have the head only, and as a PyTorch file.
func TestGoldenBased(t *testing.T) {
	for _, g := range []struct{ path, name string }{
		{"lm-based", "lm_based"}, {"lm-based/pytorch_model.bin", "lm_based"}, {"lm-based-attn", "lm_based_attn"},
	} {
		t.Run(g.path, func(t *testing.T) {
			c := goldenCase(t, "based", g.name)
			f := openGolden(t, c, g.path, checkpoint.ModelOptions{Finite: true})
			if !f.Tied || f.Architecture != "Based" {
				t.Errorf("%v, tied: %v", f, f.Tied)
			}
			m, err := f.Load()
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, c, m)
		})
	}
}

func openGolden(t *testing.T, c *goldentest.Case, path string, o checkpoint.ModelOptions) *checkpoint.ModelFile {
	t.Helper()
	f, err := checkpoint.OpenModel(filepath.Join(c.Dir(), path), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	t.Log(f)
	return f
}

// The cases of StripedHyena, Evo and Evo 2 have logits of the last positions, and a
// continuation.
func TestGoldenStriped(t *testing.T) {
	for _, g := range []struct{ path, name string }{
		{"stripedhyena", "stripedhyena_lm"}, {"evo1", "evo1_lm"}, {"evo2/model.safetensors", "evo2_lm"}, {"evo2/model.pt", "evo2_lm"},
	} {
		t.Run(g.path, func(t *testing.T) {
			c := goldenCase(t, "hyena", g.name)
			var cfg struct {
				Prompt int `json:"prompt_len"`
				From   int `json:"logits_from"`
			}
			if err := c.Config(&cfg); err != nil {
				t.Fatal(err)
			}
			for _, o := range []checkpoint.ModelOptions{{}, {Weights: new(tensor.Float32), Unpacked: true}} {
				f := openGolden(t, c, g.path, o)
				m, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				if _, bytes := m.Size(); bytes != f.MemoryBytes {
					t.Errorf("%d bytes in memory, %d were announced", bytes, f.MemoryBytes)
				}
				ids := idsOf(c, "in.ids")
				logits, err := m.Logits(ids)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, c, "out.logits", logits.Slice(cfg.From, len(ids)).Data)
				got := continuation(t, m, ids[:cfg.Prompt], len(ids)-cfg.Prompt)
				if want := idsOf(c, "out.greedy"); !slices.Equal(got, want) {
					t.Errorf("it goes on with %v, want %v", got, want)
				}
			}
		})
	}
}

func compare(t *testing.T, c *goldentest.Case, name string, got []float32) {
	t.Helper()
	if err := c.Compare(name, got); err != nil {
		t.Error(err)
	}
}

// continuation returns the n tokens that a model goes on with.
func continuation(t *testing.T, m *lm.Model, prompt []int, n int) []int {
	t.Helper()
	s, err := m.NewSession()
	if err == nil {
		err = s.Feed(prompt...)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for id, err := range s.Generate(t.Context(), lm.Options{MaxTokens: n}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestGoldenHyenaDNA(t *testing.T) {
	for _, g := range []struct{ path, name, architecture string }{
		{"hyenadna-hf", "hyenadna_hf", "HyenaDNA"}, {"hyenadna-ckpt", "hyenadna_ckpt", "Hyena"},
		{"hyenadna-ckpt-checkpointed", "hyenadna_ckpt", "Hyena"},
	} {
		t.Run(g.path, func(t *testing.T) {
			c := goldenCase(t, "hyena", g.name)
			f := openGolden(t, c, g.path, checkpoint.ModelOptions{Finite: true})
			m, err := f.Load()
			if err != nil {
				t.Fatal(err)
			}
			if f.Architecture != g.architecture || f.MaxLen != 34 || f.Rows != 16 || f.Vocabulary != 12 {
				t.Errorf("%v, for %d positions", f, f.MaxLen)
			}
			m.Vocabulary = f.Rows // the cases have the logits of all rows
			ids, n := idsOf(c, "in.ids"), c.Shape("in.ids")[1]
			var logits, hidden []float32
			for text := range slices.Chunk(ids, n) {
				l, err := m.Logits(text)
				if err != nil {
					t.Fatal(err)
				}
				h, err := m.Hidden(text)
				if err != nil {
					t.Fatal(err)
				}
				logits, hidden = append(logits, l.Data...), append(hidden, h.Data...)
			}
			compare(t, c, "out.logits", logits)
			compare(t, c, "out.last_hidden_state", hidden)
		})
	}
}

// The same encoder is there as Hugging Face has it, twice, and as composer does, without a
// configuration.
func TestGoldenM2BERT(t *testing.T) {
	for _, path := range []string{"m2-bert", "m2-bert/pytorch_model.bin", "m2-bert-composer"} {
		t.Run(path, func(t *testing.T) {
			c := goldenCase(t, "monarch", "m2bert")
			o := checkpoint.ModelOptions{Config: filepath.Join(c.Dir(), "m2-bert", "config.json")}
			f := openGolden(t, c, path, o)
			if _, err := f.Load(); err == nil {
				t.Error("an encoder was loaded as a language model")
			}
			e, err := f.LoadEncoder()
			if err != nil {
				t.Fatal(err)
			}
			if _, bytes := e.Size(); bytes != f.MemoryBytes || !f.Encoder || !f.Tied {
				t.Errorf("%v, but %d bytes in memory", f, bytes)
			}
			checkEncoder(t, c, e)
		})
	}
}

func checkEncoder(t *testing.T, c *goldentest.Case, e *lm.Encoder) {
	t.Helper()
	var texts [][]int
	n, mask := c.Shape("in.ids")[1], c.Tensor("in.mask")
	for i := 0; i*n < len(mask); i++ {
		texts = append(texts, idsOf(c, "in.ids")[i*n:i*n+int(tensor.Sum(mask[i*n:(i+1)*n]))])
	}
	x, err := e.Encode(texts, nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, c, "out.last_hidden_state", x.Hidden.Data)
	logits, err := e.Logits(x.Hidden)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, c, "out.mlm_logits", logits.Data)
	if e.Pooler != nil {
		compare(t, c, "out.pooler_output", e.Pool(x.First()).Data)
		compare(t, c, "out.pooler_output_pool_all", e.Pool(x.Mean()).Data)
	}
	e.PadTo = 0
	if x, err = e.Encode(texts[:1], nil); err != nil {
		t.Fatal(err)
	}
	compare(t, c, "out.unpadded_last_hidden_state", x.Hidden.Data)
}

// tinyDNA loads the published HyenaDNA of 1k bases from one of its files.
func tinyDNA(t *testing.T, file string) (*lm.Model, string) {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	dir := filepath.Join(root, "weights", "hyenadna-tiny-1k")
	m, err := checkpoint.LoadModel(filepath.Join(dir, file), checkpoint.ModelOptions{Finite: true})
	if err != nil {
		t.Fatal(err)
	}
	return m, root
}

// alu is a piece of DNA that the human genome repeats a million times.
const alu = "GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTCGAGACCAGCCTGGCCAACATGGTGAAACCCCGTCTCTACTAAAAATACAAAAATTAGCCGGGCGTGGTGGCG" +
	"CGCGCCTGTAATCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATCGCTTGAACCCGGGAGGCGGAGGTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTCAAAAAAA"

func bases(s string) []int {
	ids := make([]int, len(s))
	for i, b := range s {
		ids[i] = 7 + strings.IndexRune("ACGT", b)
	}
	return ids
}

// lambda returns the genome of the phage λ.
func lambda(t *testing.T, root string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "data", "lambda_phage_NC_001416.fa"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	return strings.Join(strings.Fields(rest), "")
}

// loss returns the mean cross entropy of a text in nats.
func loss(t *testing.T, m *lm.Model, ids []int) float64 {
	t.Helper()
	m.Vocabulary = m.Embedding.Vocabulary() // the figures count all rows
	scores, err := m.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, s := range scores {
		sum -= s
	}
	return sum / float64(len(scores))
}

// TestHyenaDNATiny compares with the losses of the authors' own program: at chance for a
// virus, and next to nothing for what a model of the human genome knows by heart.
func TestHyenaDNATiny(t *testing.T) {
	m, root := tinyDNA(t, "model.safetensors")
	genome := lambda(t, root)
	for _, c := range []struct {
		name, text string
		want       float64
		long       bool
	}{
		{"lambda phage", genome[:1000], 1.39194, false},
		{"Alu", alu, 0.1280, false},
		{"lambda phage, the longest input", genome[:1026], 1.40338, true},
		{"window 1", genome[1000:2000], 1.40746, true},
		{"window 47", genome[47000:48000], 1.37822, true},
		{"(AC)×500", strings.Repeat("AC", 500), 0.2123, true},
	} {
		if c.long && testing.Short() {
			continue
		}
		if got := loss(t, m, bases(c.text)); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("%s: %.5f nats a base, want %.5f", c.name, got, c.want)
		}
	}
	if got := streamedLoss(t, m, bases(alu)); math.Abs(got-0.1280) > 1e-4 {
		t.Errorf("Alu, base by base: %.5f nats a base, want 0.1280", got)
	}
	if _, err := m.Score(bases(genome[:1027])); err == nil {
		t.Error("a base more than the model can take gave no error")
	}
}

// Both files of HyenaDNA have the same weights, under other names and with more beside
// them in one.
func TestHyenaDNAFiles(t *testing.T) {
	a, root := tinyDNA(t, "model.safetensors")
	b, _ := tinyDNA(t, "trained_model.pth")
	f, err := checkpoint.Open(filepath.Join(root, "weights", "hyenadna-tiny-1k", "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Vocabulary, b.Vocabulary = 16, 16
	for _, prefix := range []string{"", "alu."} {
		ids := storedIDs(t, f, prefix+"ids")
		x, err := a.Logits(ids)
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.Logits(ids)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x.Data, y.Data) {
			t.Error("the files give different logits")
		}
		e, _ := f.Lookup(prefix + "logits")
		want, err := e.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		var worst, size float64
		for i, w := range want {
			worst, size = max(worst, math.Abs(float64(w)-float64(x.Data[i]))), max(size, math.Abs(float64(w)))
		}
		if !(worst <= 1e-5*size) {
			t.Errorf("%slogits are off by %g of the largest", prefix, worst/size)
		}
	}
}

func storedIDs(t *testing.T, f *checkpoint.File, name string) []int {
	t.Helper()
	e, ok := f.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	raw, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int, e.Len())
	for i := range ids {
		ids[i] = int(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return ids
}

// streamedLoss is loss with one base fed after the other.
func streamedLoss(t *testing.T, m *lm.Model, ids []int) float64 {
	t.Helper()
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, id := range ids {
		if i > 0 {
			total := 0.0
			for _, l := range s.Logits() {
				total += math.Exp(float64(l))
			}
			sum += math.Log(total) - float64(s.Logits()[id])
		}
		if err := s.Feed(id); err != nil {
			t.Fatal(err)
		}
	}
	return sum / float64(len(ids)-1)
}
