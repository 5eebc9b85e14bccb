package lm_test

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

const encoderLen = 12

// newEncoder returns a small encoder with random weights: two layers of Monarch Mixer, and
// everything that an encoder can have.
func newEncoder(t testing.TB) *lm.Encoder {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	table := func(rows int) *nn.Embedding {
		e := nn.NewEmbedding(rows, dim)
		e.Init(r, 1)
		return e
	}
	linear := func(out int) *nn.Linear {
		l := nn.NewLinear(dim, out, true)
		l.Init(r)
		return l
	}
	e := &lm.Encoder{
		Embedding: table(padded), Positions: table(encoderLen), Types: table(2),
		InputNorm: nn.NewLayerNorm(dim, 1e-5), Norm: nn.NewLayerNorm(dim, 1e-5), Pooler: linear(dim),
		Vocabulary: vocabulary, MaxLen: encoderLen, Padding: 3,
	}
	e.Masked = &lm.MaskedHead{Dense: linear(dim), Activation: nn.GELU, Norm: nn.NewLayerNorm(dim, 1e-5), Decoder: linear(padded)}
	e.Masked.Decoder.Weight = e.Embedding.Weight
	for range 2 {
		mixer, err := monarch.NewMixer(monarch.MixerConfig{Dim: dim, LMax: encoderLen, Width: 8})
		if err != nil {
			t.Fatal(err)
		}
		mixer.Init(r)
		e.Layers = append(e.Layers, mixer)
	}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	return e
}

// naiveEncoding computes an encoder as its documentation says, of one text that is padded
// to n positions.
func naiveEncoding(e *lm.Encoder, ids, types []int, n int) tensor.Seq {
	x := tensor.NewSeq(1, n, dim)
	word, position, kind := e.Embedding.Weight.Float32s(), e.Positions.Weight.Float32s(), e.Types.Weight.Float32s()
	for i := range n {
		id, k := e.Padding, 0
		if i < len(ids) {
			id = ids[i]
			if types != nil {
				k = types[i]
			}
		}
		for c := range dim {
			x.At(0, i)[c] = word[id*dim+c] + kind[k*dim+c] + position[i*dim+c]
		}
	}
	for _, m := range slices.Concat([]seqmix.Mixer{e.InputNorm}, e.Layers, []seqmix.Mixer{e.Norm}) {
		y := tensor.NewSeq(1, n, dim)
		m.Mix(y, x)
		x = y
	}
	return x
}

// A text gives the same vectors alone and among others, with padding and without.
func TestEncode(t *testing.T) {
	e := newEncoder(t)
	texts := [][]int{randomIDs(5), randomIDs(12), randomIDs(1), randomIDs(5)}
	for _, padTo := range []int{0, 4, encoderLen} {
		e.PadTo = padTo
		for _, types := range [][][]int{nil, {{0, 1, 1, 0, 1}, make([]int, 12), {1}, {0, 0, 0, 0, 0}}} {
			x, err := e.Encode(texts, types)
			if err != nil {
				t.Fatal(err)
			}
			for i, ids := range texts {
				var kinds []int
				if types != nil {
					kinds = types[i]
				}
				n := max(len(ids), padTo)
				if got, want := x.Hidden.Sequence(i).Slice(0, n), naiveEncoding(e, ids, kinds, n); !slices.Equal(got.Data[:n*dim], want.Data) {
					t.Errorf("text %d, padded to %d: it depends on the others, or the vectors are wrong", i, padTo)
				}
				for at := n; at < x.Hidden.Len; at++ {
					if slices.ContainsFunc(x.Hidden.At(i, at), func(v float32) bool { return v != 0 }) {
						t.Errorf("text %d: the vector of position %d is not zero", i, at)
					}
				}
				if x.Lens[i] != len(ids) {
					t.Errorf("text %d: length %d, want %d", i, x.Lens[i], len(ids))
				}
			}
		}
	}
}

func TestPool(t *testing.T) {
	e := newEncoder(t)
	e.PadTo = encoderLen
	texts := [][]int{randomIDs(5), randomIDs(9)}
	x, err := e.Encode(texts, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, b := e.Pooler.Weight.Float32s(), e.Pooler.Bias.Float32s()
	for _, mean := range []bool{false, true} {
		e.PoolMean = mean
		got, err := e.Embed(texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, ids := range texts {
			n := 1
			if mean {
				n = len(ids)
			}
			pooled := make([]float64, dim)
			for at := range n {
				for c, v := range x.Hidden.At(i, at) {
					pooled[c] += float64(v) / float64(n)
				}
			}
			for c := range dim {
				sum := float64(b[c])
				for k, v := range pooled {
					sum += float64(w[c*dim+k]) * v
				}
				if d := math.Abs(math.Tanh(sum) - float64(got.Row(i)[c])); d > 1e-5 {
					t.Errorf("text %d, mean %v: element %d is off by %g", i, mean, c, d)
				}
			}
		}
	}
	e.Pooler, e.PoolMean = nil, false
	if got, err := e.Embed(texts); err != nil || !slices.Equal(got.Row(1), x.Hidden.At(1, 0)) {
		t.Errorf("without a pooler: %v, want the first vector", err)
	}
}

func TestMaskedLogits(t *testing.T) {
	e := newEncoder(t)
	x, err := e.Encode([][]int{randomIDs(6), randomIDs(7)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := x.Hidden.Slice(2, 5)
	got, err := e.Logits(h)
	if err != nil {
		t.Fatal(err)
	}
	if got.Batch != 2 || got.Len != 3 || got.Dim != vocabulary {
		t.Fatalf("logits of shape (%d, %d, %d)", got.Batch, got.Len, got.Dim)
	}
	embedding, bias := e.Embedding.Weight.Float32s(), e.Masked.Decoder.Bias.Float32s()
	for b := range h.Batch {
		for i := range h.Len {
			y := tensor.NewSeq(1, 1, dim)
			e.Masked.Dense.Apply(y, tensor.SeqOf(h.At(b, i), 1, 1, dim))
			nn.GELU.Apply(y.Data, y.Data)
			e.Masked.Norm.Mix(y, y)
			for id := range vocabulary {
				want := float64(bias[id])
				for c, v := range y.Data {
					want += float64(v) * float64(embedding[id*dim+c])
				}
				if d := math.Abs(want - float64(got.At(b, i)[id])); d > 1e-4 {
					t.Fatalf("text %d, position %d, token %d: off by %g", b, i, id, d)
				}
			}
		}
	}
	e.Masked = nil
	if _, err := e.Logits(h); err == nil {
		t.Error("logits without a head")
	}
}

func TestEncodeErrors(t *testing.T) {
	e := newEncoder(t)
	ok := randomIDs(4)
	for name, c := range map[string]struct{ texts, types [][]int }{
		"empty":            {[][]int{ok, {}}, nil},
		"long":             {[][]int{ok, randomIDs(encoderLen + 1)}, nil},
		"negative":         {[][]int{{-1}}, nil},
		"padding row":      {[][]int{{vocabulary}}, nil},
		"types of others":  {[][]int{ok, ok}, [][]int{{0, 0, 0, 0}}},
		"few types":        {[][]int{ok}, [][]int{{0, 0, 0}}},
		"type not there":   {[][]int{ok}, [][]int{{0, 0, 2, 0}}},
		"negative type":    {[][]int{ok}, [][]int{{0, -1, 0, 0}}},
		"more types there": {[][]int{ok}, [][]int{{0, 0, 0, 0, 0}}},
	} {
		_, err := e.Encode(c.texts, c.types)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if long := errors.Is(err, lm.ErrTooLong); long != (name == "long") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if x, err := e.Encode(nil, nil); err != nil || x.Hidden.Batch != 0 || x.Mean().Rows != 0 {
		t.Errorf("no texts: error %v", err)
	}
	e.Types = nil
	if _, err := e.Encode([][]int{ok}, [][]int{{0, 0, 0, 0}}); err == nil {
		t.Error("types for an encoder without any gave no error")
	}
}

func TestEncoderCheck(t *testing.T) {
	for name, change := range map[string]func(*lm.Encoder){
		"no embedding":      func(e *lm.Encoder) { e.Embedding = nil },
		"layer":             func(e *lm.Encoder) { e.Layers = append(e.Layers, nn.NewRMSNorm(dim+1, 1)) },
		"norm":              func(e *lm.Encoder) { e.Norm = nn.NewRMSNorm(dim-1, 1) },
		"input norm":        func(e *lm.Encoder) { e.InputNorm = nn.NewRMSNorm(dim-1, 1) },
		"positions":         func(e *lm.Encoder) { e.Positions = nn.NewEmbedding(encoderLen, dim+1) },
		"few positions":     func(e *lm.Encoder) { e.Positions = nn.NewEmbedding(encoderLen-1, dim) },
		"any length":        func(e *lm.Encoder) { e.MaxLen = 0 },
		"types":             func(e *lm.Encoder) { e.Types = nn.NewEmbedding(2, dim+1) },
		"vocabulary":        func(e *lm.Encoder) { e.Vocabulary = padded + 1 },
		"padding":           func(e *lm.Encoder) { e.Padding = vocabulary },
		"padded length":     func(e *lm.Encoder) { e.PadTo = encoderLen + 1 },
		"negative length":   func(e *lm.Encoder) { e.PadTo = -1 },
		"pooler":            func(e *lm.Encoder) { e.Pooler = nn.NewLinear(dim+1, dim, true) },
		"dense":             func(e *lm.Encoder) { e.Masked.Dense = nil },
		"decoder":           func(e *lm.Encoder) { e.Masked.Decoder = nn.NewLinear(dim+1, padded, true) },
		"decoder too small": func(e *lm.Encoder) { e.Masked.Decoder = nn.NewLinear(dim, vocabulary-1, true) },
		"norm of the head":  func(e *lm.Encoder) { e.Masked.Norm = nn.NewRMSNorm(dim+1, 1) },
	} {
		e := newEncoder(t)
		change(e)
		if err := e.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := e.Encode([][]int{{1}}, nil); err == nil {
			t.Errorf("%s: an encoding without an error", name)
		}
	}
}

func TestEncoderParams(t *testing.T) {
	e := newEncoder(t)
	names := maps.Collect(e.Params())
	for _, name := range []string{
		"embedding.weight", "positions.weight", "types.weight", "input_norm.bias", "layers.1.in_linear.weight", "norm.weight",
		"pooler.bias", "masked.dense.weight", "masked.norm.weight", "masked.decoder.bias",
	} {
		if names[name] == nil {
			t.Errorf("no parameter %s among %v", name, slices.Sorted(maps.Keys(names)))
		}
	}
	n, bytes := e.Size()
	e.Pack()
	e.Compact()
	if w := names["embedding.weight"]; !w.Packed() || tensor.CPU() != "generic" && w.Dim(1)%4 == 0 && !w.Compacted() {
		t.Errorf("the embedding is %v", w)
	}
	e.Quantize(tensor.Int8)
	if m, after := e.Size(); m != n || after >= bytes {
		t.Errorf("%d parameters of %d bytes became %d of %d", n, bytes, m, after)
	}
	if _, err := e.Embed([][]int{randomIDs(5)}); err != nil {
		t.Error(err)
	}
}
