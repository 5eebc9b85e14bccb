package checkpoint_test

import (
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
)

// FuzzConfig tries configurations with tensors that are in order. Whatever a configuration
// says, a model of these tensors is small.
func FuzzConfig(f *testing.F) {
	var files [][]byte
	models := madeModels(f)
	for _, name := range slices.Sorted(maps.Keys(models)) {
		m := models[name]
		b, err := os.ReadFile(filepath.Join(m.write(f), "model.safetensors"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(len(files), []byte(m.config))
		files = append(files, b)
	}
	f.Add(0, []byte(`{"a": [-Infinity, NaN, {"__float__": "NaN"}], "b": "NaN \" Infinity"}`))
	f.Fuzz(func(t *testing.T, i int, config []byte) {
		m, err := checkpoint.OpenModelBytes(files[uint(i)%uint(len(files))], config)
		if err != nil {
			if len(err.Error()) > 10_000 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if m.MemoryBytes > 1<<20 || m.String() == "" {
			t.Fatalf("it is %v", m)
		}
		model, err := m.Load()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.Logits([]int{0}); err != nil && m.Vocabulary > 0 {
			t.Fatal(err)
		}
	})
}

// FuzzGGUF tries files of all kinds. What can be opened can be read.
func FuzzGGUF(f *testing.F) {
	f.Add(smallGGUF().bytes())
	var w ggufWriter
	w.set("general.architecture", "llama")
	w.set("general.alignment", uint32(8))
	w.set("tokenizer.ggml.model", "gpt2")
	w.set("tokenizer.ggml.tokens", []string{"a", "b"})
	w.set("tokenizer.ggml.merges", []string{"a b"})
	w.set("flag", true)
	w.add("q4", ggufQ4_0, []int{2, 32}, make([]byte, 36))
	w.add("q8", ggufQ8_0, []int{1, 32}, make([]byte, 34))
	w.add("q4 with an offset", 3, []int{32}, make([]byte, 20))
	w.add("q6", 14, []int{1, 256}, make([]byte, 210))
	w.add("f16", ggufF16, []int{3}, make([]byte, 6))
	w.add("bf16", ggufBF16, []int{3}, make([]byte, 6))
	f.Add(w.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := checkpoint.Parse("fuzz", data)
		if err != nil {
			return
		}
		for name := range file.Names() {
			e, _ := file.Lookup(name)
			v, err := e.Float32s()
			if err == nil && len(v) != e.Len() {
				t.Fatalf("%s: %v with %d values", name, e, len(v))
			}
			if n := e.Len() / 2; err == nil {
				half := make([]float32, e.Len()-n)
				if err := e.ReadFloat32s(half, n); err != nil {
					t.Fatal(err)
				}
			}
		}
		file.Vocabulary()
		if m, err := checkpoint.OpenModelBytes(data, nil); err == nil {
			m.Load()
		}
	})
}

// smallGGUF returns a model of the architecture mamba2.
func smallGGUF() *ggufWriter {
	w := new(ggufWriter)
	w.set("general.architecture", "mamba2")
	w.set("mamba2.block_count", uint32(1))
	w.set("mamba2.ssm.state_size", uint32(4))
	w.set("mamba2.ssm.group_count", uint32(1))
	w.set("mamba2.attention.layer_norm_rms_epsilon", float32(1e-5))
	w.set("tokenizer.ggml.model", "gpt2")
	w.set("tokenizer.ggml.tokens", []string{"a", "b", "c", "[PAD3]"})
	w.set("tokenizer.ggml.token_type", []int32{1, 1, 1, 5})
	w.set("tokenizer.ggml.eos_token_id", uint32(2))
	fill := func(shape ...int) []byte {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return rawFloats(slices.Repeat([]float32{-0.5}, n))
	}
	for _, t := range []struct {
		name  string
		shape []int
	}{
		{"token_embd.weight", []int{4, 4}}, {"output_norm.weight", []int{4}}, {"blk.0.attn_norm.weight", []int{4}},
		{"blk.0.ssm_in.weight", []int{26, 4}}, {"blk.0.ssm_conv1d.weight", []int{16, 4}}, {"blk.0.ssm_conv1d.bias", []int{16}},
		{"blk.0.ssm_dt.bias", []int{2}}, {"blk.0.ssm_a", []int{2, 1}}, {"blk.0.ssm_d", []int{2, 1}},
		{"blk.0.ssm_norm.weight", []int{1, 8}}, {"blk.0.ssm_out.weight", []int{4, 8}},
	} {
		w.add(t.name, ggufF32, t.shape, fill(t.shape...))
	}
	return w
}

// A small model needs nothing beside it. Its padding is no vocabulary.
func TestSmallGGUF(t *testing.T) {
	f, err := checkpoint.OpenModel(smallGGUF().write(t), checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Architecture != "Mamba-2" || f.Vocabulary != 3 || f.Rows != 4 || !f.Tied || !slices.Equal(f.End, []int{2}) || f.Begin != nil {
		t.Errorf("it is %v, from %v to %v", f, f.Begin, f.End)
	}
	m, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	logitsOf(t, m, []int{0, 1, 2})
	if v := f.Source().(*checkpoint.File).Values()["mamba2.ssm.state_size"]; v != int64(4) {
		t.Errorf("the value of a key is %v", v)
	}
}

// A header that lies is an error, whatever it lies about.
func TestHostileGGUF(t *testing.T) {
	good := smallGGUF().bytes()
	le := binary.LittleEndian
	patch := func(at int, v uint64) []byte {
		b := slices.Clone(good)
		le.PutUint64(b[at:], v)
		return b
	}
	with := func(change func(w *ggufWriter)) []byte {
		w := smallGGUF()
		change(w)
		return w.bytes()
	}
	array := func(n uint64, kinds ...uint32) []byte {
		w := new(ggufWriter)
		w.values, w.count = ggufString(nil, "deep"), 1
		w.values = le.AppendUint32(w.values, 9)
		for _, k := range kinds {
			w.values = le.AppendUint64(le.AppendUint32(w.values, k), n)
		}
		return w.bytes()
	}
	dimension := func(d uint64) []byte {
		w := new(ggufWriter)
		w.tensors, w.entries = 1, le.AppendUint32(ggufString(nil, "w"), 3)
		w.entries = le.AppendUint64(le.AppendUint64(le.AppendUint64(w.entries, d), d), d)
		w.entries = le.AppendUint64(le.AppendUint32(w.entries, 0), 0)
		return w.bytes()
	}
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"version 1":         {append([]byte("GGUF\x01\x00\x00\x00"), good[8:]...), []string{"version is 1", "want 2 or 3"}},
		"big-endian":        {append([]byte("GGUF\x00\x00\x00\x03"), good[8:]...), []string{"version is", "little-endian"}},
		"very many tensors": {patch(8, 1<<62), []string{"bad"}},
		"very many values":  {patch(16, math.MaxUint64), []string{"bad"}},
		"a very long key":   {patch(24, 1<<63), []string{"key of 9223372036854775808 bytes"}},
		"a long array":      {array(1<<60, 4), []string{"deep", "of 1152921504606846976"}},
		"a long text array": {array(1<<60, 8), []string{"deep", "of 1152921504606846976"}},
		"arrays in arrays":  {array(1, slices.Repeat([]uint32{9}, 1000)...), []string{"deep", "nest deeper than 4"}},
		"an unknown type":   {array(1, 13), []string{"deep", "type 13"}},
		"many dimensions":   {with(func(w *ggufWriter) { w.add("w", 0, make([]int, 9), nil) }), []string{`tensor "w"`, "9 dimensions"}},
		"a large dimension": {dimension(1 << 63), []string{`tensor "w"`, "dimension of 9223372036854775808"}},
		"a large product":   {dimension(1 << 30), []string{`tensor "w"`, "too large"}},
		"a quantised type":  {with(func(w *ggufWriter) { w.add("w", 12, []int{256}, make([]byte, 144)) }), []string{`tensor "w"`, "Q4_K", "Q8_0"}},
		"half a block":      {with(func(w *ggufWriter) { w.add("w", ggufQ8_0, []int{2, 16}, make([]byte, 34)) }), []string{`tensor "w"`, "rows of 16"}},
		"a tensor twice":    {with(func(w *ggufWriter) { w.add("token_embd.weight", 0, []int{1}, make([]byte, 4)) }), []string{`"token_embd.weight"`, "twice"}},
		"a value twice":     {with(func(w *ggufWriter) { w.set("general.architecture", "x") }), []string{`"general.architecture"`, "twice"}},
		"no alignment":      {with(func(w *ggufWriter) { w.set("general.alignment", uint32(0)) }), []string{"general.alignment", "is 0"}},
		"alignment by name": {with(func(w *ggufWriter) { w.set("general.alignment", "32") }), []string{"general.alignment", "is 32"}},
		"cut off":           {good[:len(good)-1], []string{`"blk.0.ssm_out.weight"`, "offset"}},
		"without a model":   {with(func(w *ggufWriter) { w.values = []byte(strings.Replace(string(w.values), "mamba2", "mambaX", 1)) }), []string{"general.architecture", `"mambaX"`, "want llama"}},
		"without layers": {with(func(w *ggufWriter) {
			w.values = []byte(strings.Replace(string(w.values), "block_count", "Block_count", 1))
		}), []string{"num_hidden_layers", "missing"}},
		"with another tensor": {with(func(w *ggufWriter) { w.add("blk.0.x.weight", 0, []int{1}, make([]byte, 4)) }), []string{"unused backbone.layers.0.x.weight"}},
		"a positive rate":     {slices.Concat(good[:len(good)-4*(4*8+8+8+8)], rawFloats([]float32{0, 1}), good[len(good)-4*(4*8+8+8+8)+8:]), []string{`"blk.0.ssm_a"`, "is 0, want negative"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checkpoint.OpenModelBytes(c.data, nil)
			if slices.Equal(c.want, []string{"bad"}) {
				c.want = nil
				if err == nil {
					t.Error("no error")
				}
			}
			if err != nil || c.want != nil {
				wantError(t, err, append(c.want, "fuzz")...)
			}
		})
	}
}

// A file of llama2.c is recognised by its size alone.
func TestLlama2C(t *testing.T) {
	header := func(n ...int32) []byte {
		var b []byte
		for _, v := range n {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		return b
	}
	const dim, hidden, layers, tokens, length = 8, 12, 2, 5, 6
	size := tokens*dim + layers*(2*dim+2*dim*dim+2*dim*dim/2+3*dim*hidden) + dim + length*dim/2
	values := func(n int) []byte {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i%13-6) / 10
		}
		return rawFloats(v)
	}
	shared := append(header(dim, hidden, layers, 2, 1, tokens, length), values(size)...)
	own := append(header(dim, hidden, layers, 2, 1, -tokens, length), values(size+tokens*dim)...)
	for tied, data := range map[bool][]byte{true: shared, false: own} {
		m, err := checkpoint.OpenModelBytes(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m.Tied != tied || m.Vocabulary != tokens || m.Layers != layers {
			t.Errorf("it is %v", m)
		}
		model, err := m.Load()
		if err != nil {
			t.Fatal(err)
		}
		// The head of its own begins where the embedding would, had it as many before it.
		row := make([]float32, dim)
		model.Head.Weight.Row(row, 0)
		want := float32(-6) / 10
		if !tied {
			want = float32(size%13-6) / 10
		}
		if row[0] != want {
			t.Errorf("the head begins with %v, want %v", row[0], want)
		}
	}
	for _, data := range [][]byte{shared[:len(shared)-4], append(slices.Clone(shared), 0), header(1, 1, 1, 1, 1, 1, 1), header(math.MaxInt32, math.MaxInt32, math.MaxInt32, 1, 1, math.MaxInt32, math.MaxInt32), nil} {
		_, err := checkpoint.OpenModelBytes(data, nil)
		wantError(t, err, "fuzz")
	}
}
