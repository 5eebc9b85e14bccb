package corpus_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tokenizer"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for i := range 200 {
		write(t, filepath.Join(dir, "a", string(rune('a'+i%20))+string(rune('a'+i/20))+".txt"), "some\x00text")
	}
	write(t, filepath.Join(dir, "testdata", "b.txt"), "not this")
	write(t, filepath.Join(dir, "c.bin"), "not this")
	write(t, filepath.Join(dir, "empty.txt"), "")
	c, err := corpus.Read(dir, []string{".txt"})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(c.Text, []byte("\x00some text")); c.Files != 200 || c.Bytes != 1800 || n+len(c.Held) != 200 || len(c.Text) != 10*n {
		t.Errorf("%d files, %d bytes, %d learnt, %d held out", c.Files, c.Bytes, n, len(c.Held))
	}
	again, err := corpus.Read(dir, []string{".txt"})
	if err != nil || !bytes.Equal(again.Text, c.Text) {
		t.Errorf("another text (%v)", err)
	}
}

// TestFile reads one file, whose end is held out.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	var text []byte
	for i := range 5000 {
		text = append(text, byte('a'+i%26))
	}
	write(t, path, string(text))
	c, err := corpus.Read(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(slices.Concat(c.Text[1:], c.Held[0]), text) || len(c.Held[0]) != 100 {
		t.Errorf("%d bytes and %d held out", len(c.Text), len(c.Held[0]))
	}
	b := c.Batch(1, 2, 3, 10)
	if b.Size() != 3 || len(b.Labels) != 30 {
		t.Fatalf("%d sequences, %d labels", b.Size(), len(b.Labels))
	}
	for i, id := range b.IDs {
		if id != 0 && b.Labels[i] != 'a'+(id-'a'+1)%26 {
			t.Errorf("%d follows %d", b.Labels[i], id)
		}
	}
	if other := c.Batch(1, 2, 3, 10); !slices.Equal(other.IDs, b.IDs) {
		t.Error("the same step has other sequences")
	}
	if other := c.Batch(1, 3, 3, 10); slices.Equal(other.IDs, b.IDs) {
		t.Error("another step has the same sequences")
	}
}

// TestBitsPerByte scores with a model that knows nothing: 8 bits.
func TestBitsPerByte(t *testing.T) {
	c := &corpus.Corpus{Held: [][]byte{[]byte("one file"), []byte("another")}}
	e := nn.NewEmbedding(256, 4)
	m := &lm.Model{Embedding: e, Head: e.Head(), MaxLen: 5}
	for _, most := range []int{1, 100} {
		if bits, err := c.BitsPerByte(m, most); err != nil || math.Abs(bits-8) > 1e-5 {
			t.Errorf("%v bits per byte, want 8 (%v)", bits, err)
		}
	}
	e.Init(rand.New(rand.NewPCG(1, 2)), 1)
	first, err := c.BitsPerByte(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if both, err := c.BitsPerByte(m, 100); err != nil || both == first {
		t.Errorf("%v bits per byte of one file, %v of two (%v)", first, both, err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "short.txt"), "short")
	for _, path := range []string{filepath.Join(dir, "none"), dir, filepath.Join(dir, "short.txt")} {
		if _, err := corpus.Read(path, []string{".txt"}); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

// TestEncode reads a corpus as bytes, which gives the same batches, and with a tokenizer.
func TestEncode(t *testing.T) {
	c := &corpus.Corpus{Text: []byte("\x00one file\x00another, of pages"), Held: [][]byte{[]byte("held")}}
	k := c.Encode(tokenizer.Bytes{}, []int{0})
	if got, want := k.Batch(1, 2, 3, 7), c.Batch(1, 2, 3, 7); !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Labels, want.Labels) {
		t.Errorf("batch %v, want %v", got, want)
	}
	if !slices.Equal(k.Held[0], []int{0, 'h', 'e', 'l', 'd'}) || k.Width['x'] != 1 {
		t.Errorf("held-out tokens %v; x is %d wide", k.Held[0], k.Width['x'])
	}
	chars, err := tokenizer.NewChars([]string{"?", "<begin>", "e", "é", "ab"}, "?")
	if err != nil {
		t.Fatal(err)
	}
	k = (&corpus.Corpus{Text: []byte("\x00eé\x00e"), Held: [][]byte{[]byte("é")}}).Encode(chars, []int{1})
	if !slices.Equal(k.IDs, []int32{1, 2, 3, 1, 2}) || !slices.Equal(k.Held[0], []int{1, 3}) {
		t.Errorf("tokens %v, held out %v", k.IDs, k.Held)
	}
	if k.Width[2] != 1 || k.Width[3] != 2 {
		t.Errorf("widths %v", k.Width)
	}
}
