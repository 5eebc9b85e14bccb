package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
)

// A llama2cHeader is the head of a file of llama2.c (github.com/karpathy/llama2.c,
// export.py, the first version): seven int32s and no magic number.
type llama2cHeader struct {
	dim, hidden, layers, heads, kvHeads, vocabulary, length int
	shared                                                  bool // the head is the embedding
}

const llama2cHeaderSize = 7 * 4

func readLlama2CHeader(data []byte) (h llama2cHeader, ok bool) {
	if len(data) < llama2cHeaderSize {
		return h, false
	}
	for i, p := range []*int{&h.dim, &h.hidden, &h.layers, &h.heads, &h.kvHeads, &h.vocabulary, &h.length} {
		*p = int(int32(binary.LittleEndian.Uint32(data[4*i:])))
	}
	// A negative size of the vocabulary says that there is a head.
	if h.shared = h.vocabulary > 0; !h.shared {
		h.vocabulary = -h.vocabulary
	}
	ok = min(h.dim, h.hidden, h.layers, h.heads, h.kvHeads, h.vocabulary, h.length) > 0 &&
		h.layers < 1<<12 && h.dim%h.heads == 0 && h.heads%h.kvHeads == 0 && h.dim/h.heads%2 == 0
	return h, ok
}

// A llama2cTensor is one kind of tensor, of all layers or of none.
type llama2cTensor struct {
	name       string // with %d for the layer
	rows, cols int    // cols is 0 of a vector
	once       bool
}

// tensors lists what follows the header, in order, under the names of Hugging Face. What
// has no name is not needed.
func (h *llama2cHeader) tensors() []llama2cTensor {
	kv := h.dim / h.heads * h.kvHeads
	list := []llama2cTensor{
		{"model.embed_tokens.weight", h.vocabulary, h.dim, true},
		{"model.layers.%d.input_layernorm.weight", h.dim, 0, false},
		{"model.layers.%d.self_attn.q_proj.weight", h.dim, h.dim, false},
		{"model.layers.%d.self_attn.k_proj.weight", kv, h.dim, false},
		{"model.layers.%d.self_attn.v_proj.weight", kv, h.dim, false},
		{"model.layers.%d.self_attn.o_proj.weight", h.dim, h.dim, false},
		{"model.layers.%d.post_attention_layernorm.weight", h.dim, 0, false},
		{"model.layers.%d.mlp.gate_proj.weight", h.hidden, h.dim, false},
		{"model.layers.%d.mlp.down_proj.weight", h.dim, h.hidden, false},
		{"model.layers.%d.mlp.up_proj.weight", h.hidden, h.dim, false},
		{"model.norm.weight", h.dim, 0, true},
		{"", h.length, h.dim / h.heads, true}, // cosines and sines
	}
	if !h.shared {
		list = append(list, llama2cTensor{"lm_head.weight", h.vocabulary, h.dim, true})
	}
	return list
}

// size returns the number of float32s of all tensors of a kind, or false if it is more
// than a file can hold.
func (h *llama2cHeader) size(t llama2cTensor) (uint64, bool) {
	hi, n := bits.Mul64(uint64(t.rows), uint64(max(t.cols, 1)))
	if hi != 0 || n >= 1<<48 {
		return 0, false
	}
	if !t.once {
		n *= uint64(h.layers)
	}
	return n, true
}

// isLlama2C reports whether data is as long as its header says.
func isLlama2C(data []byte) bool {
	h, ok := readLlama2CHeader(data)
	if !ok {
		return false
	}
	left := uint64(len(data) - llama2cHeaderSize)
	for _, t := range h.tensors() {
		n, ok := h.size(t)
		if !ok || n > left/4 {
			return false
		}
		left -= 4 * n
	}
	return left == 0
}

// parseLlama2C returns the tensors of a file for which isLlama2C.
func parseLlama2C(m *mapping, path string) (*File, error) {
	h, _ := readLlama2CHeader(m.data)
	data := m.data[llama2cHeaderSize:]
	f := &File{table: table{entries: map[string]*Entry{}, title: path}, maps: []*mapping{m}, llama2c: h.config(path)}
	store := &storage{file: m, size: len(data), raw: func() ([]byte, error) { return data, nil }}
	at := 0
	for _, t := range h.tensors() {
		shape := []int{t.rows, t.cols}
		if t.cols == 0 {
			shape = shape[:1]
		}
		n := t.rows * max(t.cols, 1)
		for layer := range h.layers {
			name := t.name
			if !t.once {
				name = fmt.Sprintf(t.name, layer)
			}
			if name != "" {
				f.add(name, &Entry{dtype: F32, shape: shape, n: n, store: store, offset: at})
			}
			at += 4 * n
			if t.once {
				break
			}
		}
	}
	return f, nil
}

// config returns what Hugging Face would say of the model. Texts begin with token 1, and
// another one begins where one ends.
func (h *llama2cHeader) config(path string) *config {
	number := func(n int) json.Number { return json.Number(strconv.Itoa(n)) }
	return newConfig(path, map[string]any{
		"num_hidden_layers": number(h.layers), "num_attention_heads": number(h.heads), "num_key_value_heads": number(h.kvHeads),
		"max_position_embeddings": number(h.length), "rms_norm_eps": json.Number("1e-5"), "tie_word_embeddings": h.shared,
		"bos_token_id": number(1), "eos_token_id": []any{number(1), number(2)},
	})
}
