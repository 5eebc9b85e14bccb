package checkpoint_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

// A ggufWriter makes GGUF files.
type ggufWriter struct {
	values  []byte
	count   int
	entries []byte
	tensors int
	data    []byte
}

func ggufString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// set adds a value.
func (w *ggufWriter) set(key string, value any) {
	w.values = ggufString(w.values, key)
	w.count++
	le := binary.LittleEndian
	switch v := value.(type) {
	case uint32:
		w.values = le.AppendUint32(le.AppendUint32(w.values, 4), v)
	case float32:
		w.values = le.AppendUint32(le.AppendUint32(w.values, 6), math.Float32bits(v))
	case bool:
		w.values = le.AppendUint32(w.values, 7)
		w.values = append(w.values, map[bool]byte{true: 1}[v])
	case string:
		w.values = ggufString(le.AppendUint32(w.values, 8), v)
	case []string:
		w.values = le.AppendUint64(le.AppendUint32(le.AppendUint32(w.values, 9), 8), uint64(len(v)))
		for _, s := range v {
			w.values = ggufString(w.values, s)
		}
	case []int32:
		w.values = le.AppendUint64(le.AppendUint32(le.AppendUint32(w.values, 9), 5), uint64(len(v)))
		for _, n := range v {
			w.values = le.AppendUint32(w.values, uint32(n))
		}
	case []float32:
		w.values = le.AppendUint64(le.AppendUint32(le.AppendUint32(w.values, 9), 6), uint64(len(v)))
		for _, x := range v {
			w.values = le.AppendUint32(w.values, math.Float32bits(x))
		}
	default:
		panic(fmt.Sprintf("%T", value))
	}
}

// The numbers of element types.
const (
	ggufF32  = 0
	ggufF16  = 1
	ggufQ4_0 = 2
	ggufQ8_0 = 8
	ggufBF16 = 30
)

// add adds a tensor whose shape is given as Python has it, the slowest dimension first.
func (w *ggufWriter) add(name string, kind uint32, shape []int, raw []byte) {
	for len(w.data)%32 != 0 {
		w.data = append(w.data, 0)
	}
	le := binary.LittleEndian
	w.entries = le.AppendUint32(ggufString(w.entries, name), uint32(len(shape)))
	for _, d := range slices.Backward(shape) {
		w.entries = le.AppendUint64(w.entries, uint64(d))
	}
	w.entries = le.AppendUint64(le.AppendUint32(w.entries, kind), uint64(len(w.data)))
	w.data = append(w.data, raw...)
	w.tensors++
}

func (w *ggufWriter) bytes() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(le.AppendUint64(b, uint64(w.tensors)), uint64(w.count))
	b = append(append(b, w.values...), w.entries...)
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, w.data...)
}

func (w *ggufWriter) write(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, w.bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func rawFloats(v []float32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// half rounds to a float16, and what is smaller than a normal one to 0.
func half(v float32) uint16 {
	b := math.Float32bits(v)
	if max(v, -v) < 0x1p-14 {
		return 0
	}
	b += 0xfff + b>>13&1
	return uint16(b>>16&0x8000) | uint16((b>>23&0xff)-112)<<10 | uint16(b>>13&0x3ff)
}

// quantize returns blocks of 32 with scales.
func quantize(v []float32, kind uint32) []byte {
	var b []byte
	for block := range slices.Chunk(v, 32) {
		largest := float32(0)
		for _, x := range block {
			if max(x, -x) > max(largest, -largest) {
				largest = x
			}
		}
		if kind == ggufQ8_0 {
			d := max(largest, -largest) / 127
			b = binary.LittleEndian.AppendUint16(b, half(d))
			for _, x := range block {
				b = append(b, byte(int8(math.RoundToEven(float64(x/d)))))
			}
			continue
		}
		d := largest / -8
		b = binary.LittleEndian.AppendUint16(b, half(d))
		q := func(x float32) byte { return byte(min(15, int(x/d+8.5))) }
		for i := range 16 {
			b = append(b, q(block[i])|q(block[i+16])<<4)
		}
	}
	return b
}

// A ggufMaker turns a checkpoint of Hugging Face into a GGUF file, as llama.cpp does.
type ggufMaker struct {
	ggufWriter
	src     checkpoint.Source
	heads   int    // of queries, whose rows are sorted
	kvHeads int    // of keys
	weights uint32 // the type of matrices
	rounded bool   // whether they are written as F32, rounded to that type
}

var ggufParts = []struct{ from, to string }{
	{"backbone.embedding.", "token_embd."}, {"backbone.embeddings.", "token_embd."}, {"backbone.norm_f.", "output_norm."}, {"lm_head.", "output."},
	{"model.embed_tokens.", "token_embd."}, {"model.norm.", "output_norm."},
	{"backbone.layers.", "blk."}, {"model.layers.", "blk."},
	{"mixer.in_proj.", "ssm_in."}, {"mixer.conv1d.", "ssm_conv1d."}, {"mixer.x_proj.", "ssm_x."}, {"mixer.dt_proj.", "ssm_dt."},
	{"mixer.dt_bias", "ssm_dt.bias"}, {"mixer.A_log", "ssm_a"}, {"mixer.D", "ssm_d"}, {"mixer.norm.", "ssm_norm."}, {"mixer.out_proj.", "ssm_out."},
	{"input_layernorm.", "attn_norm."}, {"post_attention_layernorm.", "ffn_norm."},
	{"self_attn.q_proj.", "attn_q."}, {"self_attn.k_proj.", "attn_k."}, {"self_attn.v_proj.", "attn_v."}, {"self_attn.o_proj.", "attn_output."},
	{"mlp.gate_proj.", "ffn_gate."}, {"mlp.up_proj.", "ffn_up."}, {"mlp.down_proj.", "ffn_down."},
	{"norm.", "attn_norm."},
}

func ggufName(name string) string {
	for _, p := range ggufParts {
		if strings.HasPrefix(name, p.from) || strings.Contains(name, "."+p.from) {
			name = strings.Replace(name, p.from, p.to, 1)
		}
	}
	return name
}

func (m *ggufMaker) convert(t testing.TB) {
	t.Helper()
	for name := range m.src.Names() {
		e, _ := m.src.Lookup(name)
		v, err := e.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		v = slices.Clone(v)
		shape := slices.DeleteFunc(slices.Clone(e.Shape()), func(d int) bool { return d == 1 })
		to := ggufName(name)
		switch {
		case strings.HasSuffix(name, "A_log"):
			for i := range v {
				v[i] = -float32(math.Exp(float64(v[i])))
			}
			if len(shape) == 1 {
				shape = append(shape, 1)
			}
		case strings.HasSuffix(name, "mixer.D") && m.heads == 0:
			shape = append(shape, 1)
		case strings.HasSuffix(to, "attn_q.weight"):
			v = neighbours(v, m.heads, shape[1])
		case strings.HasSuffix(to, "attn_k.weight"):
			v = neighbours(v, m.kvHeads, shape[1])
		}
		isMatrix := len(shape) == 2 && shape[1]%32 == 0 && strings.HasSuffix(to, ".weight") && !strings.Contains(to, "conv")
		switch {
		case !isMatrix || m.weights == ggufF32:
			m.add(to, ggufF32, shape, rawFloats(v))
		case m.rounded:
			m.add(to, ggufF32, shape, rawFloats(m.round(t, v)))
		default:
			m.add(to, m.weights, shape, m.encode(v))
		}
	}
}

// round returns what becomes of values when they are written and read.
func (m *ggufMaker) round(t testing.TB, v []float32) []float32 {
	var w ggufWriter
	w.add("v", m.weights, []int{len(v)}, m.encode(v))
	f, err := checkpoint.Parse("rounded", w.bytes())
	if err != nil {
		t.Fatal(err)
	}
	e, _ := f.Lookup("v")
	if v, err = e.Float32s(); err != nil {
		t.Fatal(err)
	}
	return v
}

func (m *ggufMaker) encode(v []float32) []byte {
	var b []byte
	switch m.weights {
	case ggufF16:
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, half(x))
		}
	case ggufBF16:
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(x)>>16))
		}
	default:
		return quantize(v, m.weights)
	}
	return b
}

// neighbours sorts the rows of each head so that the two of a pair that is rotated lie
// side by side, and not in two halves.
func neighbours(v []float32, heads, cols int) []float32 {
	rows := len(v) / cols / heads
	var out []float32
	for h := range heads {
		head := v[h*rows*cols:]
		for i := range rows {
			row := i%2*(rows/2) + i/2
			out = append(out, head[row*cols:(row+1)*cols]...)
		}
	}
	return out
}

// ggufOf makes a GGUF file of a golden checkpoint.
func ggufOf(t testing.TB, path, arch string, weights uint32, rounded bool) string {
	t.Helper()
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &ggufMaker{src: f, weights: weights, rounded: rounded}
	m.set("general.architecture", arch)
	m.set("general.alignment", uint32(32))
	m.set(arch+".block_count", uint32(2))
	m.set(arch+".context_length", uint32(128))
	m.set("tokenizer.ggml.bos_token_id", uint32(1))
	m.set("tokenizer.ggml.eos_token_id", uint32(2))
	if arch == "llama" {
		m.heads, m.kvHeads = 4, 2
		m.set("llama.attention.head_count", uint32(4))
		m.set("llama.attention.head_count_kv", uint32(2))
		m.set("llama.rope.dimension_count", uint32(8))
		m.set("llama.attention.layer_norm_rms_epsilon", float32(1e-6))
	} else {
		m.set(arch+".ssm.state_size", uint32(16))
		m.set(arch+".ssm.group_count", uint32(1))
		m.set(arch+".attention.layer_norm_rms_epsilon", float32(1e-5))
	}
	m.convert(t)
	return m.write(t)
}

// The models of GGUF files are those that they were made from.
func TestGoldenGGUF(t *testing.T) {
	for _, g := range []struct{ family, path, name, arch string }{
		{"ssm", "lm-mamba1-hf", "lm_mamba1", "mamba"},
		{"ssm", "lm-mamba2-hf", "lm_mamba2", "mamba2"},
		{"attention", "lm-llama", "lm_llama", "llama"},
	} {
		t.Run(g.arch, func(t *testing.T) {
			c := goldenCase(t, g.family, g.name)
			dir := filepath.Join(c.Dir(), g.path)
			f, err := checkpoint.OpenModel(ggufOf(t, dir, g.arch, ggufF32, false), checkpoint.ModelOptions{Finite: true})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if !slices.Equal(f.Begin, []int{1}) || !slices.Equal(f.End, []int{2}) {
				t.Errorf("texts begin with %v and end with %v", f.Begin, f.End)
			}
			m, err := f.Load()
			if err != nil {
				t.Fatal(err)
			}
			m.Vocabulary = 77 // which this file does not tell
			if g.arch == "llama" {
				m.Vocabulary = 0
			}
			checkGolden(t, c, m)
		})
	}
}

// Weights of other formats have the values that were written, exactly as float32, and
// very nearly in the format that is next to that of the file.
func TestGGUFFormats(t *testing.T) {
	c := goldenCase(t, "ssm", "lm_mamba2")
	dir := filepath.Join(c.Dir(), "lm-mamba2-hf")
	ids := idsOf(c, "in.ids")[:20]
	logits := func(path string, o checkpoint.ModelOptions) []float32 {
		m, err := checkpoint.LoadModel(path, o)
		if err != nil {
			t.Fatal(err)
		}
		return logitsOf(t, m, ids)
	}
	for kind, tolerance := range map[uint32]float64{ggufF16: 0, ggufBF16: 0, ggufQ8_0: 1e-5, ggufQ4_0: 1e-5} {
		path := ggufOf(t, dir, "mamba2", kind, false)
		want := logits(ggufOf(t, dir, "mamba2", kind, true), checkpoint.ModelOptions{})
		if got := logits(path, checkpoint.ModelOptions{Weights: new(tensor.Float32)}); !slices.Equal(got, want) {
			t.Errorf("type %d as float32: the logits differ by %g", kind, difference(got, want))
		}
		if e := difference(logits(path, checkpoint.ModelOptions{}), want); e > tolerance {
			t.Errorf("type %d: the logits differ by %g, want at most %g", kind, e, tolerance)
		}
	}
}

func logitsOf(t testing.TB, m *lm.Model, ids []int) []float32 {
	t.Helper()
	l, err := m.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	return l.Data
}

// difference returns the largest difference over the largest magnitude.
func difference(got, want []float32) float64 {
	var diff, scale float64
	for i, w := range want {
		diff = max(diff, math.Abs(float64(got[i]-w)))
		scale = max(scale, math.Abs(float64(w)))
	}
	return diff / scale
}

// The elements of blocks are where ggml has them.
func TestGGUFBlocks(t *testing.T) {
	var w ggufWriter
	q8 := binary.LittleEndian.AppendUint16(nil, half(0.5))
	for i := range 32 {
		q8 = append(q8, byte(int8(i-16)))
	}
	q4 := binary.LittleEndian.AppendUint16(nil, half(-2))
	for i := range 16 {
		q4 = append(q4, byte(i|(15-i)<<4))
	}
	w.add("q8", ggufQ8_0, []int{2, 32}, slices.Concat(q8, q8))
	w.add("q4", ggufQ4_0, []int{1, 32}, q4)
	w.add("q4 with an offset", 3, []int{32}, slices.Concat(q4[:2], binary.LittleEndian.AppendUint16(nil, half(3)), q4[2:]))
	w.add("q6", 14, []int{2, 256}, slices.Repeat(packQ6K(func(i int) int { return i * 11 % 64 }, 0.25), 2))
	f, err := checkpoint.Parse("blocks", w.bytes())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]func(i int) float32{
		"q8": func(i int) float32 { return float32(i%32-16) / 2 },
		"q4": func(i int) float32 {
			if i < 16 {
				return -2 * float32(i-8)
			}
			return -2 * float32(15-(i-16)-8)
		},
		"q4 with an offset": func(i int) float32 {
			if i < 16 {
				return -2*float32(i) + 3
			}
			return -2*float32(15-(i-16)) + 3
		},
		"q6": func(i int) float32 { return 0.25 * float32(i%256/16-5) * float32(i%256*11%64-32) },
	} {
		e, _ := f.Lookup(name)
		got := make([]float32, e.Len()-5)
		if err := e.ReadFloat32s(got, 5); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != want(i+5) {
				t.Errorf("%s[%d] = %v, want %v", name, i+5, v, want(i+5))
			}
		}
	}
}

// packQ6K packs a block of numbers q(i) from 0 to 63. The scale of sixteen of them is their
// place in the block less 5.
func packQ6K(q func(i int) int, scale float32) []byte {
	var low, high []byte
	for half := 0; half < 256; half += 128 {
		at := func(quarter, i int) byte { return byte(q(half + 32*quarter + i)) }
		for quarter := range 2 {
			for i := range 32 {
				low = append(low, at(quarter, i)&15|at(quarter+2, i)<<4)
			}
		}
		for i := range 32 {
			high = append(high, at(0, i)>>4|at(1, i)>>4<<2|at(2, i)>>4<<4|at(3, i)>>4<<6)
		}
	}
	for i := range 16 {
		high = append(high, byte(int8(i-5)))
	}
	return binary.LittleEndian.AppendUint16(append(low, high...), half(scale))
}

func TestVocabulary(t *testing.T) {
	var w ggufWriter
	w.set("tokenizer.ggml.model", "llama")
	w.set("tokenizer.ggml.tokens", []string{"<unk>", "a", "b", "ab"})
	w.set("tokenizer.ggml.scores", []float32{0, -1, -2, -0.5})
	w.set("tokenizer.ggml.token_type", []int32{2, 1, 1, 1})
	w.set("tokenizer.ggml.unknown_token_id", uint32(0))
	w.set("tokenizer.ggml.add_bos_token", false)
	f, err := checkpoint.Parse("vocabulary", w.bytes())
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	if v.Model != "llama" || len(v.Tokens) != 4 || v.Scores[3] != -0.5 || v.Types[0] != checkpoint.UnknownToken ||
		v.Begin != -1 || v.Unknown != 0 || *v.AddBegin || v.AddEnd != nil {
		t.Errorf("%+v", v)
	}
	w.set("tokenizer.ggml.eos_token_id", uint32(4))
	if f, err = checkpoint.Parse("vocabulary", w.bytes()); err != nil {
		t.Fatal(err)
	}
	wantError(t, errOf(f.Vocabulary()), "vocabulary", "tokenizer.ggml.tokens", "4 elements", "special token is 4")
}

func errOf[T any](_ T, err error) error { return err }

// wantError fails unless there is an error in which all of parts occur.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not mention %q: %v", p, err)
		}
	}
}

// The vocabularies of published files, which llama.cpp tests its tokenizers with.
func TestPublishedVocabularies(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	for name, want := range map[string]struct {
		model                      string
		tokens, merges, begin, end int
	}{
		"gpt-2":     {"gpt2", 50257, 50000, 50256, 50256},
		"gpt-neox":  {"gpt2", 50432, 50009, 0, 0},
		"llama-spm": {"llama", 32000, 0, 1, 2},
	} {
		f, err := checkpoint.Open(filepath.Join(root, "data", "tokenizers", "ggml-vocab-"+name+".gguf"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		v, err := f.Vocabulary()
		if err != nil {
			t.Fatal(err)
		}
		if v.Model != want.model || len(v.Tokens) != want.tokens || len(v.Merges) != want.merges || v.Begin != want.begin || v.End != want.end {
			t.Errorf("%s: %s with %d tokens, %d merges, begin %d, end %d", name, v.Model, len(v.Tokens), len(v.Merges), v.Begin, v.End)
		}
	}
}

// stories260K tells the story that its author expects.
func TestStories(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	dir := filepath.Join(root, "weights", "stories260K")
	f, err := checkpoint.OpenModel(filepath.Join(dir, "stories260K.bin"), checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Parameters != 260032 || f.Architecture != "Llama" || !f.Tied || f.Layers != 5 {
		t.Errorf("it is a %v", f)
	}
	m, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Feed(f.Begin...); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Generate(t.Context(), lm.Options{MaxTokens: 200}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.Join(dir, "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := story(t, filepath.Join(dir, "tok512.bin"), s.Tokens()); got != strings.TrimSuffix(string(want), "\n") {
		t.Errorf("the story is\n%s\nwant\n%s", got, want)
	}
}

// story returns the text of tokens, of which the first only begins it.
func story(t testing.TB, path string, tokens []int) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var pieces []string
	for b = b[4:]; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b[4:])
		pieces = append(pieces, strings.ReplaceAll(string(b[8:8+n]), "<0x0A>", "\n"))
		b = b[8+n:]
	}
	var text strings.Builder
	for _, id := range tokens[1:] {
		text.WriteString(pieces[id])
	}
	return strings.TrimPrefix(text.String(), " ")
}
