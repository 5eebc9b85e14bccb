package textmodel_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// data returns a file of the folder of test data.
func data(t *testing.T, name ...string) string {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	return filepath.Join(append([]string{root}, name...)...)
}

// TestStories tells the story that a small Llama is known to tell.
func TestStories(t *testing.T) {
	want, err := os.ReadFile(data(t, "weights", "stories260K", "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	m, err := textmodel.Open(data(t, "weights", "stories260K", "stories260K.bin"), textmodel.Options{
		Found: func(f *checkpoint.ModelFile) { found = f.Architecture },
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != "Llama" || m.Architecture != "Llama" {
		t.Errorf("found %q, opened %q", found, m.Architecture)
	}
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Feed(m.Encode("")...); err != nil {
		t.Fatal(err)
	}
	text := tokenizer.NewDecoder(m.Tokenizer, true)
	var got strings.Builder
	for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: 200}) {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(text.Next(id))
	}
	if got.String() != string(want) {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

func TestTokenizers(t *testing.T) {
	dir := data(t, "golden", "ssm", "lm-mamba1-hf")
	if _, err := textmodel.Open(dir, textmodel.Options{}); err == nil {
		t.Error("a model without a tokenizer was opened")
	}
	m, err := textmodel.Open(dir, textmodel.Options{Tokenizer: "bytes"})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Tokenizer.Encode("AB"); !slices.Equal(got, []int{65, 66}) {
		t.Errorf("%v", got)
	}
	if m, err = textmodel.Open(dir, textmodel.Options{Tokenizer: "dna"}); err != nil {
		t.Fatal(err)
	}
	if got := m.Tokenizer.Encode("AC"); !slices.Equal(got, []int{7, 8}) {
		t.Errorf("%v", got)
	}
	if _, err := textmodel.Open(dir, textmodel.Options{Tokenizer: "nowhere"}); err == nil {
		t.Error("a tokenizer that is not there was opened")
	}
	if _, err := textmodel.Open("nowhere", textmodel.Options{}); err == nil {
		t.Error("a model that is not there was opened")
	}
}

func TestOpenEncoder(t *testing.T) {
	dir := data(t, "golden", "monarch", "m2-bert")
	o := textmodel.Options{Tokenizer: "bytes"}
	e, err := textmodel.OpenEncoder(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ids := e.Tokens("\x03\x07")
	if n := len(ids); n < 2 || !slices.Equal(ids[n-2:], []int{3, 7}) {
		t.Errorf("tokens %v", ids)
	}
	m, err := e.Embed([][]int{ids})
	if err != nil || m.Cols != e.Dim() {
		t.Errorf("a vector of %d elements (%v)", m.Cols, err)
	}
	if _, err := textmodel.Open(dir, o); err == nil {
		t.Error("an encoder was opened as a language model")
	}
	if _, err := textmodel.OpenEncoder(data(t, "golden", "ssm", "lm-mamba1-hf"), o); err == nil {
		t.Error("a language model was opened as an encoder")
	}
}
