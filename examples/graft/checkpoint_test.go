package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
)

// The shapes of the Llama that tests make: 4 heads of queries share 2 of keys.
const (
	llamaDim, llamaHidden, llamaLayers, llamaRows = 32, 48, 2, 300
	llamaHeads, llamaKeys, llamaWidth             = 4, 2, 8
)

// writeLlama makes a folder as Hugging Face has it: a Llama with random weights, and a
// tokenizer of bytes with one token that begins and ends texts, and one pair.
func writeLlama(t *testing.T, changes map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	r := testRand()
	tensors := map[string][]int{"model.embed_tokens.weight": {llamaRows, llamaDim}, "model.norm.weight": {llamaDim}, "lm_head.weight": {llamaRows, llamaDim}}
	for i := range llamaLayers {
		p := "model.layers." + strconv.Itoa(i) + "."
		tensors[p+"input_layernorm.weight"], tensors[p+"post_attention_layernorm.weight"] = []int{llamaDim}, []int{llamaDim}
		tensors[p+"self_attn.q_proj.weight"], tensors[p+"self_attn.o_proj.weight"] = []int{llamaHeads * llamaWidth, llamaDim}, []int{llamaDim, llamaHeads * llamaWidth}
		tensors[p+"self_attn.k_proj.weight"], tensors[p+"self_attn.v_proj.weight"] = []int{llamaKeys * llamaWidth, llamaDim}, []int{llamaKeys * llamaWidth, llamaDim}
		tensors[p+"mlp.gate_proj.weight"], tensors[p+"mlp.up_proj.weight"] = []int{llamaHidden, llamaDim}, []int{llamaHidden, llamaDim}
		tensors[p+"mlp.down_proj.weight"] = []int{llamaDim, llamaHidden}
	}
	header, data := map[string]any{}, []byte{}
	for name, shape := range tensors {
		from, n := len(data), 1
		for _, d := range shape {
			n *= d
		}
		for range n {
			v := 1 + r.NormFloat64()/10
			if len(shape) > 1 {
				v = 2 * r.NormFloat64() / math.Sqrt(float64(shape[1]))
			}
			b := math.Float32bits(float32(v))
			data = append(data, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{from, len(data)}}
	}
	head := marshal(t, header)
	n := len(head)
	file := append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0, 0, 0, 0, 0}, head...)
	writeFile(t, filepath.Join(dir, "model.safetensors"), append(file, data...))

	config := map[string]any{
		"model_type": "llama", "hidden_size": llamaDim, "intermediate_size": llamaHidden, "num_hidden_layers": llamaLayers, "num_attention_heads": llamaHeads,
		"num_key_value_heads": llamaKeys, "vocab_size": llamaRows, "rms_norm_eps": 1e-4, "rope_theta": 500.0, "hidden_act": "silu", "tie_word_embeddings": false,
		"bos_token_id": 257, "eos_token_id": 257, "max_position_embeddings": 128,
	}
	for key, value := range changes {
		config[key] = value
	}
	writeFile(t, filepath.Join(dir, "config.json"), marshal(t, config))

	vocab := map[string]int{"ap": 256}
	for id, letter := range byteLetters() {
		vocab[letter] = id
	}
	writeFile(t, filepath.Join(dir, "tokenizer.json"), marshal(t, map[string]any{
		"version":       "1.0",
		"added_tokens":  []any{map[string]any{"id": 257, "content": "<|text|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{"a p"}},
	}))
	return dir
}

// byteLetters returns how GPT-2 spells the bytes: as they are if they can be seen, and
// otherwise as characters from 256 on.
func byteLetters() []string {
	letters, next := make([]string, 256), rune(256)
	for b := range letters {
		if r := rune(b); r >= '!' && r <= '~' || r >= 0xa1 && r <= 0xac || r >= 0xae {
			letters[b] = string(r)
			continue
		}
		letters[b] = string(next)
		next++
	}
	return letters
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// stories returns a model of the folder of test data.
func stories(t *testing.T) string {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	return filepath.Join(root, "weights", "stories260K", "stories260K.bin")
}

// checkSame checks that a student in which nothing is replaced computes what its teacher
// does, to the bit.
func checkSame(t *testing.T, path string) {
	t.Helper()
	s, err := openTeacher(path, "")
	if err != nil {
		t.Fatal(err)
	}
	student, _, err := newStudent(s.Model.Model, s.config, nil, "", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	ids := s.Encode("Once upon a time, an ape had a map.")
	want, err := s.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := student.Logits(ids); err != nil || !slices.Equal(got.Data, want.Data) {
		t.Errorf("%s: other logits (%v)", path, err)
	}
}

func TestSame(t *testing.T) {
	checkSame(t, writeLlama(t, nil))
	checkSame(t, stories(t))
}

var tokenLoss = regexp.MustCompile(`(?m)^([^ \n].*?) +([0-9.]+) bits per token, ([0-9.]+) bits per byte$`)

// tokenLosses returns the bits per token that a run reported.
func tokenLosses(t *testing.T, log string) (bits []float64) {
	t.Helper()
	for _, m := range tokenLoss.FindAllStringSubmatch(log, -1) {
		token, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		perByte, err := strconv.ParseFloat(m[3], 64)
		if err != nil || perByte >= token {
			t.Errorf("%v bits per token, %v per byte (%v)", token, perByte, err)
		}
		bits = append(bits, token)
	}
	return bits
}

// reload reads what a run wrote, with its tokenizer, and lets it write.
func reload(t *testing.T, dir string) *source {
	t.Helper()
	s, err := openTeacher(filepath.Join(dir, modelFile), "")
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Feed(s.Encode("An ape")...); err != nil {
		t.Fatal(err)
	}
	var ids []int
	for id, err := range session.Generate(context.Background(), lm.Options{MaxTokens: 20}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if s.Tokenizer.Decode(ids...) == "" {
		t.Errorf("the model wrote %v", ids)
	}
	return s
}

// TestLlama grafts every mixer into a Llama of Hugging Face, on text that is given.
func TestLlama(t *testing.T) {
	data, model := writeText(t), writeLlama(t, nil)
	for short, mixer := range mixers {
		var log bytes.Buffer
		out := t.TempDir()
		err := run(context.Background(), []string{"-model", model, "-data", data, "-out", out, "-mixer", short, "-layers", "1", "-length", "32", "-batch", "4",
			"-distill", "60", "-steps", "30", "-held", "256", "-position", "64"}, &log)
		if err != nil {
			t.Fatal(err)
		}
		bits := tokenLosses(t, log.String())
		if len(bits) != 5 {
			t.Fatalf("%s: %d losses in\n%s", short, len(bits), &log)
		}
		if bits[4] >= bits[2] {
			t.Errorf("%s: %v bits per token: nothing was learnt", short, bits)
		}
		s := reload(t, out)
		if !slices.Equal(s.config.Pattern, []string{attentionName, mixer}) || s.config.Vocabulary != llamaRows || !s.config.Untied {
			t.Errorf("%s: %+v", short, s.config)
		}
	}
}

// TestDistillation checks that what attention did comes back in a public model, and that
// the new one learns on from there.
func TestDistillation(t *testing.T) {
	model, out := stories(t), t.TempDir()
	args := []string{"-model", model, "-out", out, "-samples", "60", "-layers", "2", "-length", "64", "-batch", "8", "-distill", "40", "-steps", "10", "-lr", "2e-4", "-held", "2000", "-position", "100"}
	var log bytes.Buffer
	if err := run(context.Background(), args, &log); err != nil {
		t.Fatal(err)
	}
	bits := tokenLosses(t, log.String())
	if len(bits) != 5 || bits[0] > 3 || bits[1] < bits[0]+0.1 || bits[2] >= bits[1] || bits[3] >= bits[2]-0.02 || bits[4] >= bits[2]-0.02 {
		t.Errorf("bits per token %v", bits)
	}
	reload(t, out)
	if files, err := filepath.Glob(filepath.Join(out, "*-*.safetensors")); err != nil || len(files) > 0 {
		t.Errorf("%v were left behind (%v)", files, err)
	}

	// The second time, what the teacher wrote is there.
	log.Reset()
	if err := run(context.Background(), append(args, "-distill", "0", "-steps", "0"), &log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), " 0 are still to be written") {
		t.Errorf("texts were written again:\n%s", &log)
	}
	if again := tokenLosses(t, log.String()); !slices.Equal(again[:3], bits[:3]) {
		t.Errorf("bits per token %v, then %v", bits, again)
	}
}

// TestWriteAlone checks that texts do not depend on which others are written.
func TestWriteAlone(t *testing.T) {
	s, err := openTeacher(writeLlama(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	texts := func(numbers ...int) string {
		g := &grafter{source: s, out: io.Discard}
		dir := t.TempDir()
		if err := g.writeTogether(context.Background(), dir, numbers); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(g.sample(dir, 2))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if alone, together := texts(2), texts(0, 1, 2, 3); alone == "" || alone != together {
		t.Errorf("wrote %q alone and %q among others", alone, together)
	}
}

func TestCheckpointErrors(t *testing.T) {
	data, good := writeText(t), writeLlama(t, nil)
	bare := writeLlama(t, nil)
	if err := os.Remove(filepath.Join(bare, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	silent := writeLlama(t, map[string]any{"bos_token_id": nil})
	odd := filepath.Join(t.TempDir(), "tokenizer.txt")
	writeFile(t, odd, []byte("x"))
	gelu := writeLlama(t, map[string]any{"hidden_act": "gelu"})
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no tokenizer":      {[]string{"-model", bare, "-data", data}, "no tokenizer in"},
		"another file":      {[]string{"-model", bare, "-data", data, "-tokenizer", odd}, "a tokenizer is"},
		"not SwiGLU":        {[]string{"-model", gelu, "-data", data}, "hidden_act"},
		"nowhere":           {[]string{"-model", bare, "-data", data, "-tokenizer", "nowhere"}, "no tokenizer"},
		"layers":            {[]string{"-model", good, "-data", data, "-layers", "1,2"}, "blocks 0 to 1"},
		"nothing to begin":  {[]string{"-model", silent, "-layers", "1"}, "begins a text"},
		"not a Llama":       {[]string{"-model", writeOther(t), "-data", data}, "only a Llama or Mistral"},
		"no model":          {[]string{"-model", t.TempDir(), "-data", data}, ""},
		"no texts":          {[]string{"-model", good, "-samples", "0"}, "-samples"},
		"too long":          {[]string{"-model", good, "-data", data, "-layers", "1", "-length", "90000", "-held", "90000"}, "-length"},
		"model of nowhere":  {[]string{"-model", "nowhere"}, "nowhere"},
		"another mixer too": {[]string{"-model", good, "-mixer", "lstm"}, "-mixer"},
	} {
		err := run(context.Background(), append(c.args, "-out", t.TempDir()), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// writeOther makes a folder with a model of another kind: Mamba as Hugging Face has it.
func writeOther(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	c := hybrid.Config{Pattern: []string{"mamba"}, Dim: 32, Heads: 2}
	m, err := hybrid.New(c, testRand())
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("layers.0.0.norm.", "backbone.layers.0.norm.", "layers.0.0.", "backbone.layers.0.", "embedding.", "backbone.embeddings.", "head.", "lm_head.")
	src, err := checkpoint.FromModel(m, func(name string) string {
		if name == "norm.weight" {
			return "backbone.norm_f.weight"
		}
		return names.Replace(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteFile(filepath.Join(dir, "model.safetensors"), src, nil); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "config.json"), marshal(t, map[string]any{
		"model_type": "mamba", "hidden_size": 32, "state_size": 16, "num_hidden_layers": 1, "vocab_size": 256, "conv_kernel": 4, "expand": 2, "tie_word_embeddings": true,
	}))
	return dir
}
