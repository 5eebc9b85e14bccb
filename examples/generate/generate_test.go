package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
)

func TestWrite(t *testing.T) {
	var texts []string
	for _, args := range [][]string{{"-n", "60"}, {"-n", "60"}, {"-n", "60", "-seed", "2"}, {"-n", "60", "-weights", "int8"}} {
		var out, log bytes.Buffer
		if err := run(context.Background(), args, &out, &log); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		text, ok := strings.CutPrefix(out.String(), defaultPrompt)
		if !ok || len(text) != 61 {
			t.Errorf("%q: wrote %q, want the prompt and 60 bytes", args, out.String())
		}
		if !strings.Contains(log.String(), "tokens/s") {
			t.Errorf("%q: no speed in %q", args, log.String())
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] {
		t.Errorf("one seed gave %q and %q", texts[0], texts[1])
	}
	if texts[0] == texts[2] {
		t.Errorf("two seeds gave %q", texts[0])
	}
}

// TestKnowsGo checks that the model within says less about files that it never saw than
// gzip, which may look at all of such a file at once, by a wide margin, and that it prefers
// Go to the same bytes in another order.
func TestKnowsGo(t *testing.T) {
	root, err := corpus.StandardLibrary()
	if err != nil {
		t.Skip(err)
	}
	c, err := corpus.Read(filepath.Join(root, "net"), []string{".go"})
	if err != nil {
		t.Skip(err)
	}
	m, _, err := open("")
	if err != nil {
		t.Fatal(err)
	}
	text := c.Held[0][:min(len(c.Held[0]), 4000)]
	model, err := bitsOfModel(context.Background(), m, [][]byte{text}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if g := bitsOf(text, gzipped); model > 0.8*g {
		t.Errorf("%.0f bits with the model, %.0f with gzip", model, g)
	}
	mixed := bytes.Clone(text)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	if x, err := bitsOfModel(context.Background(), m, [][]byte{mixed}, func(int) {}); err != nil || x < 2*model {
		t.Errorf("%.0f bits for a file, %.0f for its bytes in disorder (%v)", model, x, err)
	}
}

func TestSize(t *testing.T) {
	if len(embedded) > 4e6 {
		t.Errorf("the model within has %d bytes, want at most 4 MB", len(embedded))
	}
}

func TestJudge(t *testing.T) {
	dir := t.TempDir()
	for i := range 150 {
		name := filepath.Join(dir, strings.Repeat("x", i%11+1)+string(rune('a'+i/11))+".txt")
		if err := os.WriteFile(name, []byte(strings.Repeat("return nil, err\n", 8)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var out, log bytes.Buffer
	if err := run(context.Background(), []string{"-judge", "-data", dir, "-ext", ".txt"}, &out, &log); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gzip -9", "xz -9e", "6-grams", "the model"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
}

// TestNgram compares with the definition, counted with maps.
func TestNgram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := make([]byte, 3000)
	for i := range text {
		text[i] = byte(r.IntN(1 + r.IntN(6)))
	}
	const n = 4
	g := newNgram(text, n)
	count := func(s string) (sum float64) {
		for i := range len(text) - len(s) + 1 {
			if string(text[i:i+len(s)]) == s {
				sum++
			}
		}
		return sum
	}
	var p func(context string, b byte) float64
	p = func(context string, b byte) float64 {
		below := 1.0 / 256
		if context != "" {
			below = p(context[1:], b)
		}
		var total, kinds float64
		for c := range 256 {
			if k := count(context + string([]byte{byte(c)})); k > 0 {
				total, kinds = total+k, kinds+1
			}
		}
		if total == 0 {
			return below
		}
		return (count(context+string([]byte{b})) + kinds*below) / (total + kinds)
	}
	for range 100 {
		context := make([]byte, r.IntN(n))
		for i := range context {
			context[i] = byte(r.IntN(7))
		}
		b := byte(r.IntN(7))
		if got, want := g.probability(context, b), p(string(context), b); math.Abs(got-want) > 1e-12 {
			t.Errorf("p(%d | %v) = %v, want %v", b, context, got, want)
		}
	}
	sum := 0.0
	for b := range 256 {
		sum += g.probability(text[:n-1], byte(b))
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("probabilities add up to %v", sum)
	}
}

func TestErrors(t *testing.T) {
	for _, args := range [][]string{
		{"-n", "0"}, {"-prompt", "a\x00b"}, {"-model", "nowhere"}, {"-temperature", "-1"}, {"-weights", "float8"}, {"x"}, {"-unknown"},
		{"-judge", "-data", "nowhere"}, {"-model", "main.go"},
	} {
		if err := run(context.Background(), args, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// TestTokens writes with a model of other tokens than bytes, as examples/graft makes them: the
// same as the model does on its own.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	pieces := []string{"<unk>", "\n<s>\n", "\n</s>\n"}
	for b := range 256 {
		pieces = append(pieces, fmt.Sprintf("<0x%02X>", b))
	}
	pieces = append(pieces, " ", "a", "b", "ab")
	c := hybrid.Config{Pattern: []string{"based"}, Dim: 32, Heads: 2, Vocabulary: len(pieces), Begin: []int{1}, End: []int{2}}
	m, err := hybrid.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := hybrid.Save(path, c, m); err != nil {
		t.Fatal(err)
	}
	if err := run(context.Background(), []string{"-model", path}, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
		t.Error("no error without a tokenizer")
	}
	file := []byte{7, 0, 0, 0} // the longest piece; then scores of 0, lengths and pieces
	for _, p := range pieces {
		file = append(append(file, 0, 0, 0, 0, byte(len(p)), 0, 0, 0), p...)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.bin"), file, 0o666); err != nil {
		t.Fatal(err)
	}
	m.Pack()
	text, err := c.Text(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	for prompt, args := range map[string][]string{"": nil, "abba": {"-prompt", "abba"}} {
		ids := text.Encode(prompt)
		s, err := m.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Feed(ids...); err != nil {
			t.Fatal(err)
		}
		for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: 40, Stop: c.End}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		var out bytes.Buffer
		if err := run(context.Background(), append(args, "-model", path, "-n", "40", "-temperature", "0"), &out, new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
		if want := text.Tokenizer.Decode(ids...) + "\n"; out.String() != want {
			t.Errorf("-prompt %q: wrote %q, want %q", prompt, out.String(), want)
		}
	}
	if err := run(context.Background(), []string{"-model", path, "-judge"}, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
		t.Error("a model of other tokens was judged by bytes")
	}
}
