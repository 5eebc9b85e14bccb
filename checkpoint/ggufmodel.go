package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/tensor"
)

// ggufModels says how the models of GGUF files become those of Hugging Face, by their
// general.architecture.
var ggufModels = map[string]struct {
	name   string
	build  func(*config, Source) (*network, error)
	names  map[string]string // of parts of tensors' names
	config func(*ggufConfig)
}{
	"mamba":  {"Mamba", buildMamba, ggufMamba("mixer.dt_proj."), (*ggufConfig).mamba},
	"mamba2": {"Mamba-2", buildMamba, ggufMamba("mixer.dt_"), (*ggufConfig).mamba},
	"llama":  {"Llama", buildLlamaInterleaved, ggufLlama, (*ggufConfig).llama},
}

// ggufMamba returns the names of tensors of Mamba. What there is one of in a model comes
// first, and then what is in every layer.
func ggufMamba(step string) map[string]string {
	return map[string]string{
		"token_embd.": "backbone.embeddings.", "output_norm.": "backbone.norm_f.", "output.": "lm_head.", "blk.": "backbone.layers.",
		"attn_norm.": "norm.", "ssm_in.": "mixer.in_proj.", "ssm_conv1d.": "mixer.conv1d.", "ssm_x.": "mixer.x_proj.",
		"ssm_dt.": step, "ssm_a": "mixer.A_log", "ssm_d": "mixer.D", "ssm_norm.": "mixer.norm.", "ssm_out.": "mixer.out_proj.",
	}
}

// ggufLlama are the names of tensors of Llama.
var ggufLlama = map[string]string{
	"token_embd.": "model.embed_tokens.", "output_norm.": "model.norm.", "output.": "lm_head.", "blk.": "model.layers.",
	"attn_norm.": "input_layernorm.", "attn_q.": "self_attn.q_proj.", "attn_k.": "self_attn.k_proj.",
	"attn_v.": "self_attn.v_proj.", "attn_output.": "self_attn.o_proj.", "ffn_norm.": "post_attention_layernorm.",
	"ffn_gate.": "mlp.gate_proj.", "ffn_up.": "mlp.up_proj.", "ffn_down.": "mlp.down_proj.",
}

// ggufModel returns the model of a GGUF file: what it is, its configuration and its
// tensors, in the form of Hugging Face.
func ggufModel(f *File) (architecture, *config, Source, error) {
	name, _ := f.values["general.architecture"].(string)
	model, ok := ggufModels[name]
	if !ok {
		return architecture{}, nil, nil, &FormatError{
			File: f.title, Field: "general.architecture",
			Reason: fmt.Sprintf("is %s, want llama, mamba or mamba2: others are not supported", short(name)),
		}
	}
	g := &ggufConfig{file: f, prefix: name + ".", config: newConfig(f.title, map[string]any{})}
	g.common()
	model.config(g)
	src, err := ggufTensors(f, model.names)
	return architecture{model.name, model.build}, g.config, src, err
}

// A ggufConfig fills a configuration in the form of Hugging Face with values of a GGUF
// file.
type ggufConfig struct {
	file   *File
	prefix string // of keys that belong to the architecture
	config *config
}

// take copies a value, if it is there.
func (g *ggufConfig) take(key, from string) {
	switch v := g.file.values[from].(type) {
	case nil:
	case int64:
		g.config.values[key] = json.Number(strconv.FormatInt(v, 10))
	default:
		g.config.values[key] = v
	}
}

// common takes what all models have. Tokens that only pad the vocabulary are not counted.
func (g *ggufConfig) common() {
	g.take("num_hidden_layers", g.prefix+"block_count")
	g.take("max_position_embeddings", g.prefix+"context_length")
	g.take("bos_token_id", "tokenizer.ggml.bos_token_id")
	g.take("eos_token_id", "tokenizer.ggml.eos_token_id")
	if tokens, ok := g.file.values["tokenizer.ggml.tokens"].([]string); ok {
		kinds, _ := g.file.values["tokenizer.ggml.token_type"].([]int64)
		n := len(tokens)
		for n > 0 && n <= len(kinds) && kinds[n-1] == int64(UnusedToken) {
			n--
		}
		g.config.values["vocab_size"] = json.Number(strconv.Itoa(n))
	}
}

func (g *ggufConfig) mamba() {
	g.take("layer_norm_epsilon", g.prefix+"attention.layer_norm_rms_epsilon")
	g.take("state_size", g.prefix+"ssm.state_size")
	g.take("n_groups", g.prefix+"ssm.group_count")
	g.config.values["model_type"] = "mamba"
	if normalised, _ := g.file.values[g.prefix+"ssm.dt_b_c_rms"].(bool); normalised {
		g.config.values["model_type"] = "falcon_mamba"
	}
}

func (g *ggufConfig) llama() {
	g.take("num_attention_heads", g.prefix+"attention.head_count")
	g.take("num_key_value_heads", g.prefix+"attention.head_count_kv")
	g.take("head_dim", g.prefix+"attention.key_length")
	g.take("rms_norm_eps", g.prefix+"attention.layer_norm_rms_epsilon")
	g.take("rope_theta", g.prefix+"rope.freq_base")
	g.take("rotary_dim", g.prefix+"rope.dimension_count")
	if n, _ := g.file.values[g.prefix+"expert_count"].(int64); n > 0 {
		g.config.fail(g.prefix+"expert_count", "is %d: mixtures of experts are not supported", n)
	}
	if kind, ok := g.file.values[g.prefix+"rope.scaling.type"].(string); ok && kind != "none" {
		scaling := map[string]any{"rope_type": kind}
		for key, from := range map[string]string{"factor": "factor", "original_max_position_embeddings": "original_context_length", "attention_factor": "attn_factor"} {
			if v, ok := g.file.values[g.prefix+"rope.scaling."+from]; ok {
				scaling[key] = json.Number(fmt.Sprint(v))
			}
		}
		g.config.values["rope_scaling"] = scaling
	}
}

// ggufTensors returns the tensors of a file under other names and in the shapes that go
// with them.
func ggufTensors(f *File, names map[string]string) (Source, error) {
	t := &table{entries: map[string]*Entry{}, title: f.title}
	for _, name := range f.names {
		e := f.entries[name]
		renamed := ggufRename(name, names)
		e, err := ggufShape(renamed, e)
		if err != nil {
			return nil, &FormatError{File: f.title, Tensor: name, Reason: err.Error()}
		}
		if !t.add(renamed, e) {
			return nil, &FormatError{File: f.title, Tensor: name, Reason: "has the meaning of another one that is there too"}
		}
	}
	return t, nil
}

// ggufRename translates a name. What it does not know stays as it is, and will be
// reported as unused.
func ggufRename(name string, names map[string]string) string {
	layer := ""
	if rest, ok := strings.CutPrefix(name, "blk."); ok {
		number, part, _ := strings.Cut(rest, ".")
		layer, name = names["blk."]+number+".", part
	}
	if whole, ok := names[name]; ok {
		return layer + whole
	}
	part, rest, ok := strings.Cut(name, ".")
	if to, known := names[part+"."]; ok && known {
		return layer + to + rest
	}
	return layer + name
}

// ggufShape returns a tensor as Hugging Face has it. The rates of Mamba are stored as
// such, and not as logarithms.
func ggufShape(name string, e *Entry) (*Entry, error) {
	var shape []int
	switch {
	case strings.HasSuffix(name, ".A_log"):
		return logarithms(e)
	case strings.HasSuffix(name, ".conv1d.weight") && len(e.shape) == 2:
		shape = []int{e.shape[0], 1, e.shape[1]}
	case strings.HasSuffix(name, ".D"), strings.HasSuffix(name, ".mixer.norm.weight"):
		shape = []int{e.n}
	default:
		return e, nil
	}
	reshaped := *e
	reshaped.shape = shape
	return &reshaped, nil
}

// logarithms returns log(-a) of the rates a of Mamba (E, N) or, as a vector, of Mamba-2
// (H, 1). They are computed when they are read, so that they are in memory once.
func logarithms(e *Entry) (*Entry, error) {
	if err := checkRates(e); err != nil {
		return nil, err
	}
	l := *e
	if len(l.shape) == 2 && l.shape[1] == 1 {
		l.shape = l.shape[:1]
	}
	l.apply = func(values []float32) {
		for i, v := range values {
			values[i] = float32(math.Log(-float64(v)))
		}
	}
	return &l, nil
}

// checkRates returns an error unless all elements are negative.
func checkRates(e *Entry) error {
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	buf := s.Take(min(e.n, ratesAtOnce))
	for from := 0; from < e.n; from += len(buf) {
		buf = buf[:min(len(buf), e.n-from)]
		if err := e.ReadFloat32s(buf, from); err != nil {
			return err
		}
		for i, v := range buf {
			if !(v < 0) {
				return fmt.Errorf("element %v is %v, want negative rates", position(e.shape, from+i), v)
			}
		}
	}
	e.release(0, e.n)
	return nil
}

// ratesAtOnce is the number of rates that are checked at a time.
const ratesAtOnce = 1 << 12
