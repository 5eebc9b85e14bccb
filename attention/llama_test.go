package attention_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A llama is a language model in the format of karpathy/llama2.c.
type llama struct {
	embedding *nn.Embedding
	layers    seqmix.Stack // and the last norm
}

// reader reads a binary file.
type reader struct {
	t    testing.TB
	data []byte
}

func newReader(t testing.TB, path string) *reader {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t, b}
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.t.Fatal("the file is too short")
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) int() int { return int(int32(binary.LittleEndian.Uint32(r.bytes(4)))) }

func (r *reader) fill(p *tensor.Tensor) {
	v := make([]float32, p.Len())
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(r.bytes(4)))
	}
	p.SetFloat32s(v)
}

func readLlama(t testing.TB, path string) *llama {
	r := newReader(t, path)
	dim, hidden, n, heads, kvHeads, vocabulary := r.int(), r.int(), r.int(), r.int(), r.int(), r.int()
	r.int()
	m := &llama{embedding: nn.NewEmbedding(vocabulary, dim)}
	params := map[string][]*tensor.Tensor{} // of all layers, by name
	for range n {
		mixer, err := attention.NewMultiHead(attention.MultiHeadConfig{
			Dim: dim, Heads: heads, KVHeads: kvHeads, Layout: attention.WqWkWvWo, RoPE: &attention.RoPEConfig{Interleaved: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		mlp, err := nn.NewGLU(nn.GLUConfig{Dim: dim, Hidden: hidden, Activation: nn.SiLU, Layout: nn.W1W2W3})
		if err != nil {
			t.Fatal(err)
		}
		layer := seqmix.Stack{
			&seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mixer},
			&seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mlp},
		}
		for name, p := range layer.Params() {
			params[name] = append(params[name], p)
		}
		m.layers = append(m.layers, layer)
	}
	r.fill(m.embedding.Weight)
	for _, name := range []string{
		"0.norm.weight", "0.mixer.wq.weight", "0.mixer.wk.weight", "0.mixer.wv.weight", "0.mixer.wo.weight",
		"1.norm.weight", "1.mixer.w1.weight", "1.mixer.w2.weight", "1.mixer.w3.weight",
	} {
		if len(params[name]) != n {
			t.Fatalf("%d parameters %s, want %d", len(params[name]), name, n)
		}
		for _, p := range params[name] {
			r.fill(p)
		}
	}
	last := nn.NewRMSNorm(dim, 1e-5)
	r.fill(last.Weight)
	m.layers = append(m.layers, last)
	seqmix.Pack(m.layers)
	return m
}

// next reads tokens and returns the one that the model takes for the next.
func (m *llama) next(t testing.TB, s seqmix.Stream, tokens []int) int {
	t.Helper()
	x := tensor.NewSeq(1, len(tokens), m.embedding.Dim())
	if err := m.embedding.Lookup(x, tokens); err != nil {
		t.Fatal(err)
	}
	s.Mix(x, x)
	logits := tensor.NewSeq(1, 1, m.embedding.Vocabulary())
	m.embedding.Head().Apply(logits, x.Slice(x.Len-1, x.Len))
	best := 0
	for i, v := range logits.Data {
		if v > logits.Data[best] {
			best = i
		}
	}
	return best
}

// TestLlama tells the story that the authors of a small model expect of it, token by
// token, and again from caches that were filled in pieces, cloned and saved.
func TestLlama(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA does not name a folder with checkpoints")
	}
	dir := filepath.Join(root, "weights", "stories260K")
	m := readLlama(t, filepath.Join(dir, "stories260K.bin"))
	newStream := func() seqmix.Stream {
		s, err := seqmix.NewStream(m.layers, 1)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const begin, steps = 1, 200
	tokens, s := []int{begin}, newStream()
	for range steps {
		tokens = append(tokens, m.next(t, s, tokens[len(tokens)-1:]))
	}
	want, err := os.ReadFile(filepath.Join(dir, "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, filepath.Join(dir, "tok512.bin"), tokens); strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
		t.Errorf("the story is\n%s\nwant\n%s", got, want)
	}

	for at := 1; at < steps; at += 7 {
		first, second := newStream(), newStream()
		m.next(t, first, tokens[:at])
		saved, err := first.Clone().AppendBinary(nil)
		if err == nil {
			err = second.UnmarshalBinary(saved)
		}
		if err != nil {
			t.Fatal(err)
		}
		from := at
		for _, end := range []int{at + 1, steps} {
			if got := m.next(t, second, tokens[from:end]); got != tokens[end] {
				t.Errorf("cut at %d: token %d is %d, want %d", at, end, got, tokens[end])
			}
			from = end
		}
	}
}

// text returns the pieces that tokens stand for. The first token begins the text; the
// blank after it is not part of it.
func text(t testing.TB, path string, tokens []int) string {
	r := newReader(t, path)
	r.int()
	var pieces []string
	for len(r.data) > 0 {
		r.int() // a score
		pieces = append(pieces, string(r.bytes(r.int())))
	}
	var b strings.Builder
	for i, token := range tokens[1:] {
		piece := pieces[token]
		if i == 0 {
			piece = strings.TrimPrefix(piece, " ")
		}
		if len(piece) == 6 && strings.HasPrefix(piece, "<0x") {
			piece = "\n" // the only byte that stories hold
			if pieces[token] != "<0x0A>" {
				t.Fatalf("token %d is %s", token, pieces[token])
			}
		}
		b.WriteString(piece)
	}
	return b.String()
}
