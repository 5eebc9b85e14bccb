package tokenizer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/seqmix/seqmix/tokenizer"
)

// data returns a file of the folder of test data.
func data(t testing.TB, name ...string) string {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	path := filepath.Join(append([]string{root}, name...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	return path
}

// open reads a tokenizer of the test data.
func open(t testing.TB, name string) *tokenizer.BPE {
	t.Helper()
	tok, err := tokenizer.Open(data(t, "data", "tokenizers", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// cases reads texts and the ids that they should give.
func cases(t testing.TB, name string) (texts []string, ids [][]int) {
	t.Helper()
	in, err := os.ReadFile(data(t, "data", "tokenizers", name+".inp"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(data(t, "data", "tokenizers", name+".out"))
	if err != nil {
		t.Fatal(err)
	}
	texts = strings.Split(string(in), "\n__ggml_vocab_test__\n")
	texts = texts[:len(texts)-1]
	for line := range strings.Lines(string(out)) {
		list := []int{}
		for _, field := range strings.Fields(line) {
			var id int
			if _, err := fmt.Sscan(field, &id); err != nil {
				t.Fatal(err)
			}
			list = append(list, id)
		}
		ids = append(ids, list)
	}
	if len(texts) != len(ids) || len(texts) < 40 {
		t.Fatalf("%d texts and %d lists of ids", len(texts), len(ids))
	}
	return texts, ids
}

// TestReference compares with the ids of the reference implementations.
func TestReference(t *testing.T) {
	for _, c := range []struct{ file, cases string }{
		{"gpt-neox-20B_tokenizer.json", "gpt-neox"},
		{"gpt2_vocab.json", "ggml-vocab-gpt-2.gguf"},
		{"llama2_tokenizer.model", "ggml-vocab-llama-spm.gguf"},
		{"llama2_tokenizer.bin", "ggml-vocab-llama-spm.gguf"},
	} {
		t.Run(c.file, func(t *testing.T) {
			tok := openPair(t, c.file)
			texts, want := cases(t, c.cases)
			for i, text := range texts {
				got := tok.Encode(text)
				if !slices.Equal(got, want[i]) {
					t.Errorf("%q:\n got %v\nwant %v", text, got, want[i])
				}
				if back := tok.Decode(got...); back != text {
					t.Errorf("%q comes back as %q", text, back)
				}
			}
		})
	}
}

// openPair opens a tokenizer; that of GPT-2 is in files whose names have a prefix.
func openPair(t testing.TB, file string) *tokenizer.BPE {
	if file != "gpt2_vocab.json" {
		return open(t, file)
	}
	vocab, err := os.ReadFile(data(t, "data", "tokenizers", "gpt2_vocab.json"))
	if err != nil {
		t.Fatal(err)
	}
	merges, err := os.ReadFile(data(t, "data", "tokenizers", "gpt2_merges.txt"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.ParseGPT2(vocab, merges)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestStories(t *testing.T) {
	tok, err := tokenizer.Open(data(t, "weights", "stories260K", "tok512.bin"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(data(t, "weights", "stories260K", "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := []int{403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337}
	got := tok.Encode(string(text))
	if len(got) != 200 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("%d tokens, %v…; want 200, %v…", len(got), got[:len(want)], want)
	}
	if tok.Decode(got...) != string(text) || !slices.Equal(tok.Begin(), []int{1}) {
		t.Errorf("decoded as %q, begins with %v", tok.Decode(got...), tok.Begin())
	}
}

// TestLongText encodes real text and compares with it, and with its parts.
func TestLongText(t *testing.T) {
	text, err := os.ReadFile(data(t, "data", "tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"gpt-neox-20B_tokenizer.json", "gpt2_vocab.json", "llama2_tokenizer.model"} {
		tok := openPair(t, file)
		part := string(text[:100_000])
		ids := tok.Encode(part)
		if tok.Decode(ids...) != part {
			t.Errorf("%s: the text comes back otherwise", file)
		}
		d, all := tokenizer.NewDecoder(tok, true), ""
		for _, id := range ids {
			all += d.Next(id)
		}
		if all+d.Flush() != part {
			t.Errorf("%s: one by one, the text comes back otherwise", file)
		}
	}
}

func FuzzReference(f *testing.F) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		f.Skip("SEQMIX_TESTDATA is not set")
	}
	var toks []*tokenizer.BPE
	for _, file := range []string{"gpt-neox-20B_tokenizer.json", "gpt2_vocab.json", "llama2_tokenizer.model"} {
		toks = append(toks, openPair(f, file))
	}
	for _, s := range []string{"", " ", "\n \n\n", "it's 'S 'LL", "a\u0301\u00e1", "日本語 🤦🏼‍♂️", "\xff\xfe", strings.Repeat("ab ", 40), "<|endoftext|>   x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, tok := range toks {
			want := text
			if i == 0 { // it normalizes, and has no tokens for bytes that are no text
				if !utf8.ValidString(text) {
					continue
				}
				want = norm.NFC.String(text)
			}
			if got := tok.Decode(tok.Encode(text)...); got != want {
				t.Errorf("%d: %q comes back as %q", i, want, got)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text, err := os.ReadFile(data(b, "data", "tinyshakespeare.txt"))
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range []string{"gpt-neox-20B_tokenizer.json", "gpt2_vocab.json", "llama2_tokenizer.model"} {
		b.Run(file, func(b *testing.B) {
			tok := openPair(b, file)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Encode(string(text))
			}
		})
	}
}
