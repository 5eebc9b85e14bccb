package checkpoint_test

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A made is a model that was made up, with the configuration and the names of a
// published layout.
type made struct {
	model  *lm.Model
	config string
	name   func(string) string
}

const (
	madeDim    = 32
	madeTokens = 53
	madeRows   = 56
)

// makeModel returns a model of blocks with norms before each part.
func makeModel(t testing.TB, eps float32, blocks [][]seqmix.Mixer, tied bool) *lm.Model {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	e := nn.NewEmbedding(madeRows, madeDim)
	e.Init(r, 0.3)
	m := &lm.Model{Embedding: e, Head: e.Head(), Vocabulary: madeTokens}
	if !tied {
		m.Head = nn.NewLinear(madeDim, madeRows, false)
		m.Head.Init(r)
	}
	norm := func() *nn.RMSNorm {
		n := nn.NewRMSNorm(madeDim, eps)
		for i := range n.Weight.Data() {
			n.Weight.Data()[i] = 0.5 + r.Float32()
		}
		return n
	}
	for _, parts := range blocks {
		var stack seqmix.Stack
		for _, p := range parts {
			p.(interface{ Init(*rand.Rand) }).Init(r)
			stack = append(stack, &seqmix.Residual{Norm: norm(), Mixer: p})
		}
		if len(stack) == 1 {
			m.Layers = append(m.Layers, stack[0])
		} else {
			m.Layers = append(m.Layers, stack)
		}
	}
	m.Norm = norm()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

// replaceNames renames parameters by pairs of prefixes within a layer.
func replaceNames(embedding, layers, norm, head string, inside ...string) func(string) string {
	return func(name string) string {
		for _, p := range [][2]string{{"embedding.", embedding}, {"norm.", norm}, {"head.", head}} {
			if rest, ok := strings.CutPrefix(name, p[0]); ok {
				return p[1] + rest
			}
		}
		_, rest, _ := strings.Cut(name, ".")
		i, rest, _ := strings.Cut(rest, ".")
		for j := 0; j < len(inside); j += 2 {
			if after, ok := strings.CutPrefix(rest, inside[j]); ok {
				rest = inside[j+1] + after
				break
			}
		}
		return layers + i + "." + rest
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// madeModels are the models that were made up.
func madeModels(t testing.TB) map[string]made {
	mambaNames := func(embedding string) func(string) string {
		return replaceNames("backbone."+embedding+".", "backbone.layers.", "backbone.norm_f.", "lm_head.", "0.norm.", "norm.", "0.mixer.", "mixer.", "1.norm.", "norm2.", "1.mixer.", "mlp.")
	}
	llamaNames := replaceNames("model.embed_tokens.", "model.layers.", "model.norm.", "lm_head.",
		"0.norm.", "input_layernorm.", "0.mixer.", "self_attn.", "1.norm.", "post_attention_layernorm.", "1.mixer.", "mlp.")
	swiglu := func(layout nn.GLULayout) seqmix.Mixer {
		return must(nn.NewGLU(nn.GLUConfig{Dim: madeDim, Hidden: 40, Layout: layout}))
	}
	mamba := func(norm ssm.InnerNorm) seqmix.Mixer {
		return must(ssm.NewMamba(ssm.MambaConfig{DModel: madeDim, DState: 8, DTRank: 3, InnerNorm: norm}))
	}
	mamba2 := func(limit ssm.Limit, eps float32) seqmix.Mixer {
		return must(ssm.NewMamba2(ssm.Mamba2Config{DModel: madeDim, HeadDim: 16, DState: 8, NGroups: 2, DTLimit: limit, NormEps: eps}))
	}
	heads := func(c attention.MultiHeadConfig) seqmix.Mixer {
		c.Dim, c.Heads, c.KVHeads = madeDim, 4, 2
		return must(attention.NewMultiHead(c))
	}
	two := func(f func() []seqmix.Mixer) [][]seqmix.Mixer { return [][]seqmix.Mixer{f(), f()} }
	yarn := &attention.RoPEConfig{Base: 5000, Scaling: &attention.Scaling{Type: attention.YaRNScaling, Factor: 4, OriginalPositions: 16}}
	llama3 := &attention.RoPEConfig{Base: 5000, Scaling: &attention.Scaling{Type: attention.Llama3Scaling, Factor: 8, OriginalPositions: 64}}
	return map[string]made{
		"mamba original with MLP": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer { return []seqmix.Mixer{mamba(ssm.NoNorm), swiglu(nn.FC1FC2)} }), true),
			`{"d_model": 32, "n_layer": 2, "vocab_size": 53, "ssm_cfg": {"layer": "Mamba1"}, "d_intermediate": 40, "rms_norm": true}`,
			mambaNames("embedding"),
		},
		"falcon": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer { return []seqmix.Mixer{mamba(ssm.PlainNorm)} }), false),
			`{"model_type": "falcon_mamba", "num_hidden_layers": 2, "vocab_size": 53, "mixer_rms_eps": 1e-6, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false, "hidden_act": "silu", "eos_token_id": [11, 7]}`,
			mambaNames("embeddings"),
		},
		"mamba2": {
			makeModel(t, 1e-4, two(func() []seqmix.Mixer { return []seqmix.Mixer{mamba2(ssm.Limit{Min: 0.01, Max: 0.05}, 1e-4)} }), true),
			`{"model_type": "mamba2", "num_hidden_layers": 2, "vocab_size": 53, "n_groups": 2, "layer_norm_epsilon": 1e-4, "time_step_limit": [0.01, 0.05]}`,
			mambaNames("embeddings"),
		},
		"mamba2 without groups": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer { return []seqmix.Mixer{mamba2(ssm.Limit{}, 1e-5)} }), true),
			`{"model_type": "mamba2", "num_hidden_layers": 2, "vocab_size": 53, "state_size": 8, "time_step_limit": [0.0, {"__float__": "Infinity"}]}`,
			mambaNames("embeddings"),
		},
		"codestral": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer { return []seqmix.Mixer{mamba2(ssm.Limit{}, 1e-5)} }), false),
			`{"dim": 32, "n_layers": 2, "vocab_size": 53, "n_groups": 2, "tie_embeddings": false, "model_type": "mamba"}`,
			func(name string) string { return "model." + mambaNames("embedding")(name) },
		},
		"mamba3": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer {
				return []seqmix.Mixer{must(ssm.NewMamba3(ssm.Mamba3Config{DModel: madeDim, HeadDim: 16, DState: 8, MIMO: true, MIMORank: 2, AFloor: 0.01}))}
			}), true),
			`{"d_model": 32, "n_layer": 2, "vocab_size": 53, "ssm_cfg": {"layer": "Mamba3", "A_floor": 0.01, "is_mimo": true}, "tie_embeddings": true}`,
			mambaNames("embedding"),
		},
		"mamba2 with attention": {
			makeModel(t, 1e-5, [][]seqmix.Mixer{{mamba2(ssm.Limit{}, 1e-5)}, {
				heads(attention.MultiHeadConfig{Layout: attention.InProj, ConvTaps: 4, HeadDim: 10, RoPE: &attention.RoPEConfig{Dim: 6}}),
			}}, true),
			`{"d_model": 32, "n_layer": 2, "vocab_size": 53, "ssm_cfg": {"layer": "Mamba2", "ngroups": 2}, "attn_layer_idx": [1],
			  "attn_cfg": {"causal": true, "d_conv": 4, "head_dim": 10, "num_heads": 4, "num_heads_kv": 2, "out_proj_bias": false, "qkv_proj_bias": false, "rotary_emb_dim": 6}}`,
			mambaNames("embedding"),
		},
		"jamba": {
			makeModel(t, 1e-6, [][]seqmix.Mixer{{mamba(ssm.WeightedNorm), swiglu(nn.GateUpDown)}, {heads(attention.MultiHeadConfig{}), swiglu(nn.GateUpDown)}}, false),
			`{"model_type": "jamba", "num_hidden_layers": 2, "vocab_size": 53, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1}`,
			func(name string) string {
				name = replaceNames("model.embed_tokens.", "model.layers.", "model.final_layernorm.", "lm_head.",
					"0.norm.", "input_layernorm.", "0.mixer.", "mamba.", "1.norm.", "pre_ff_layernorm.", "1.mixer.", "feed_forward.")(name)
				return strings.Replace(name, "layers.1.mamba.", "layers.1.self_attn.", 1)
			},
		},
		"llama 3": {
			makeModel(t, 1e-6, two(func() []seqmix.Mixer {
				return []seqmix.Mixer{heads(attention.MultiHeadConfig{RoPE: llama3}), swiglu(nn.GateUpDown)}
			}), true),
			`{"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 53, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 5000.0,
			  "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64, "rope_type": "llama3"}}`,
			llamaNames,
		},
		"llama of transformers 5": {
			makeModel(t, 1e-6, two(func() []seqmix.Mixer {
				return []seqmix.Mixer{heads(attention.MultiHeadConfig{RoPE: yarn, QKVBias: true, OutBias: true}), swiglu(nn.GateUpDown)}
			}), false),
			`{"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 53, "num_attention_heads": 4, "rms_norm_eps": 1e-06, "max_position_embeddings": 16,
			  "rope_parameters": {"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0}}`,
			llamaNames,
		},
		"mistral": {
			makeModel(t, 1e-5, two(func() []seqmix.Mixer {
				return []seqmix.Mixer{heads(attention.MultiHeadConfig{RoPE: &attention.RoPEConfig{}, Left: new(2), HeadDim: 6}), swiglu(nn.GateUpDown)}
			}), true),
			`{"model_type": "mistral", "num_hidden_layers": 2, "vocab_size": 53, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 3, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": null}`,
			llamaNames,
		},
	}
}

// write writes a model as a directory.
func (m made) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), m.model, m.name); err != nil {
		t.Fatal(err)
	}
	m.writeConfig(t, dir, m.config)
	return dir
}

func (m made) writeConfig(t testing.TB, dir, config string) {
	t.Helper()
	name := "config.json"
	if strings.Contains(config, `"dim"`) {
		name = "params.json"
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
}

// text returns tokens.
func text(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i * 17 % madeTokens
	}
	return ids
}

// A model that was written in a published layout comes back as it was, in every format
// of weights.
func TestMadeModels(t *testing.T) {
	models := madeModels(t)
	for _, name := range slices.Sorted(maps.Keys(models)) {
		t.Run(name, func(t *testing.T) {
			m := models[name]
			dir := m.write(t)
			for _, o := range []checkpoint.ModelOptions{
				{}, {Unpacked: true}, {Weights: new(tensor.BFloat16)}, {Weights: new(tensor.Int8), Finite: true},
			} {
				want := must(checkpoint.LoadModel(dir, checkpoint.ModelOptions{Unpacked: true}))
				if o.Weights == nil {
					want = m.model
				} else {
					want.Quantize(*o.Weights)
				}
				f, err := checkpoint.OpenModel(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				parameters, _ := m.model.Size()
				if f.Parameters != parameters || f.Vocabulary != madeTokens || f.Rows != madeRows || f.Dim != madeDim || f.Layers != 2 {
					t.Errorf("it is %v, with %d parameters, want %d", f, f.Parameters, parameters)
				}
				if tied := m.model.Head.Weight == m.model.Embedding.Weight; f.Tied != tied {
					t.Errorf("tied is %v", f.Tied)
				}
				got, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				if _, bytes := got.Size(); bytes != f.MemoryBytes {
					t.Errorf("%d bytes, but %d were announced", bytes, f.MemoryBytes)
				}
				again, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				a, b := logitsOf(t, got, text(40)), logitsOf(t, want, text(40))
				if !slices.Equal(a, b) {
					t.Errorf("with %+v the logits differ by %g", o, difference(a, b))
				}
				if !slices.Equal(a, logitsOf(t, again, text(40))) {
					t.Error("what was loaded the second time is another model")
				}
			}
		})
	}
}

// Renamed by the file it came from, a model can be written again.
func TestModelRename(t *testing.T) {
	m := madeModels(t)["llama 3"]
	dir := m.write(t)
	f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name := range m.model.Params() {
		if got, want := f.Rename(name), m.name(name); got != want {
			t.Errorf("%s is called %s, want %s", name, got, want)
		}
	}
}

// What is wrong is said once, with the name of the file and what it is about.
func TestBadModels(t *testing.T) {
	models := madeModels(t)
	mamba, llama, mixed := models["falcon"], models["mistral"], models["mamba2 with attention"]
	for _, c := range []struct {
		name   string
		model  made
		config string // in place of the right one
		want   []string
	}{
		{"no object", mamba, `[1, 2]`, []string{"config.json", "not a JSON object"}},
		{"garbage", mamba, `{"a": }`, []string{"config.json", "JSON"}},
		{"cut off", mamba, mamba.config[:40], []string{"config.json", "unexpected EOF"}},
		{"nothing", mamba, "", []string{"config.json", "unexpected EOF"}},
		{"not text", mamba, "{\"a\": \"\xff\"}", []string{"config.json", "UTF-8"}},
		{"goes on", mamba, mamba.config + "{}", []string{"config.json", "goes on"}},
		{"recursion", mamba, `{"a": ` + strings.Repeat("[", 1e6), []string{"config.json", "deeper than 32"}},
		{"twice", mamba, `{"a": 1, "a": 2}`, []string{"config.json", `"a" twice`}},
		{"unknown", mamba, `{"model_type": "rwkv", "architectures": ["RwkvForCausalLM"]}`, []string{"config.json", `"rwkv"`, `"RwkvForCausalLM"`, "falcon_mamba", "llama", "Mamba3"}},
		{"unknown layer", mamba, `{"ssm_cfg": {"layer": "Mamba9"}}`, []string{"config.json", `"Mamba9"`, "Mamba3"}},
		{"nothing known", mamba, `{}`, []string{"config.json", "neither model_type nor ssm_cfg"}},
		{"no layers", mamba, `{"model_type": "falcon_mamba"}`, []string{"config.json: num_hidden_layers: is missing"}},
		{"wrong layers", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 7}`, []string{"num_hidden_layers", "is 7", "2 layers", "model.safetensors"}},
		{"negative layers", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": -1}`, []string{"num_hidden_layers", "-1", "want a whole number"}},
		{"fractions of layers", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 1.5}`, []string{"num_hidden_layers", "1.5"}},
		{"very many layers", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 1e30}`, []string{"num_hidden_layers", "1e30"}},
		{"layers in words", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": "two"}`, []string{"num_hidden_layers", `the string "two"`}},
		{"activation", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 2, "hidden_act": "gelu"}`, []string{"hidden_act", `"gelu"`, "silu"}},
		{"vocabulary", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 2, "vocab_size": 57}`, []string{"vocab_size", "57", "56 rows"}},
		{"tied", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 2, "tie_word_embeddings": true}`, []string{"unusable lm_head.weight", "backbone.embeddings.weight"}},
		{"epsilon", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 2, "mixer_rms_eps": -1}`, []string{"mixer_rms_eps", "is the number \"-1\""}},
		{"another epsilon", mamba, `{"model_type": "falcon_mamba", "num_hidden_layers": 2, "layer_norm_epsilon": NaN}`, []string{"layer_norm_epsilon", "NaN"}},
		{"another model", mamba, llama.config, []string{"missing", "model.embed_tokens.weight"}},
		{"no heads", llama, `{"model_type": "llama", "num_hidden_layers": 2}`, []string{"num_attention_heads: is missing"}},
		{"zero heads", llama, `{"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 0}`, []string{"num_attention_heads", "is 0", "24 rows"}},
		{"other heads", llama, `{"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2}`, []string{"num_key_value_heads", "is 2", "12 rows"}},
		{"scaling", llama, strings.Replace(llama.config, "null", `{"rope_type": "longrope"}`, 1), []string{"rope_scaling", "longrope"}},
		{"scaling without factor", llama, strings.Replace(llama.config, "null", `{"rope_type": "linear"}`, 1), []string{"linear", "factor"}},
		{"scaling of a wrong type", llama, strings.Replace(llama.config, "null", `{"rope_type": "linear", "factor": "4"}`, 1), []string{"rope_scaling", "factor"}},
		{"scaling is a number", llama, strings.Replace(llama.config, "null", `4`, 1), []string{"rope_scaling", "want an object"}},
		{"experts", models["jamba"], "", []string{"layer 1", "experts", "unsupported"}},
		{"attention without heads", mixed, strings.Replace(mixed.config, `"num_heads": 4, `, "", 1), []string{"attn_cfg.num_heads: is missing"}},
		{"attention both ways", mixed, strings.Replace(mixed.config, `"causal": true`, `"causal": false`, 1), []string{"attn_cfg.causal"}},
		{"attention with other heads", mixed, strings.Replace(mixed.config, `"num_heads_kv": 2`, `"num_heads_kv": 4`, 1), []string{"attn_cfg.num_heads_kv", "is 4", "80 rows"}},
		{"an MLP beside attention", mixed, strings.Replace(mixed.config, `"causal"`, `"mlp_dim": 256, "causal"`, 1), []string{"attn_cfg.mlp_dim", "not supported"}},
		{"window", llama, strings.Replace(llama.config, `"sliding_window": 3`, `"sliding_window": 0`, 1), []string{"sliding_window", "is 0"}},
		{"width of heads", llama, strings.Replace(llama.config, `"head_dim": 6`, `"head_dim": 8`, 1), []string{"head_dim", "is 8", "24 rows"}},
		{"norm", llama, strings.Replace(llama.config, "1e-05", "-1e-05", 1), []string{"rms_norm_eps", "-1e-05"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.model.write(t)
			if c.name == "experts" {
				c.config = c.model.config
				dir = damaged(t, c.model, func(p map[string]*tensor.Tensor) {
					p["model.layers.1.feed_forward.router.weight"] = tensor.New(2, madeDim)
				})
			}
			c.model.writeConfig(t, dir, c.config)
			f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{})
			if err == nil {
				f.Close()
			}
			wantError(t, err, append(c.want, filepath.Base(dir))...)
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// A directory may lack the one or the other.
func TestMissingFiles(t *testing.T) {
	m := madeModels(t)["falcon"]
	dir := m.write(t)
	if err := os.Remove(filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	wantError(t, errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{})), dir, "config.json")
	dir = t.TempDir()
	m.writeConfig(t, dir, m.config)
	wantError(t, errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{})), dir, "without a checkpoint")
	wantError(t, errOf(checkpoint.LoadModel(filepath.Join(dir, "nothing"), checkpoint.ModelOptions{})), "nothing")
}

// damaged writes the tensors of a model with some of them changed.
func damaged(t *testing.T, m made, change func(params map[string]*tensor.Tensor)) string {
	t.Helper()
	dir := m.write(t)
	params := map[string]*tensor.Tensor{}
	for name, p := range m.model.Params() {
		params[m.name(name)] = tensor.FromFloat32s(slices.Clone(p.Float32s()), p.Shape()...)
	}
	if m.model.Head.Weight == m.model.Embedding.Weight {
		delete(params, "lm_head.weight")
	}
	change(params)
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), paramsOf(params), nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

type paramsOf map[string]*tensor.Tensor

func (p paramsOf) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, name := range slices.Sorted(maps.Keys(p)) {
			if !yield(name, p[name]) {
				return
			}
		}
	}
}

// Tensors that do not fit are all listed.
func TestDamagedModels(t *testing.T) {
	m := madeModels(t)["falcon"]
	dir := damaged(t, m, func(p map[string]*tensor.Tensor) {
		p["backbone.layers.1.norm.weight"] = tensor.New(31)
		p["backbone.layers.0.mixer.D"] = tensor.New(63)
		delete(p, "backbone.layers.0.mixer.out_proj.weight")
		p["backbone.layers.0.extra"] = tensor.New(1)
	})
	err := errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{}))
	wantError(t, err, dir, "1 missing, 1 unused, 2 misshapen", "missing backbone.layers.0.mixer.out_proj.weight", "unused backbone.layers.0.extra",
		"misshapen backbone.layers.0.mixer.D: [63], want [64]", "misshapen backbone.layers.1.norm.weight: [31], want [32]")

	for name, i := range map[string]int{"backbone.embeddings.weight": 55*madeDim + 3, "backbone.layers.1.mixer.in_proj.weight": 100*madeDim + 31, "backbone.layers.0.mixer.A_log": 9} {
		dir := damaged(t, m, func(p map[string]*tensor.Tensor) { p[name].Data()[i] = float32(math.NaN()) })
		cols := madeDim
		if strings.HasSuffix(name, "A_log") {
			cols = 8
		}
		where := fmt.Sprintf("element [%d %d] is NaN", i/cols, i%cols)
		wantError(t, errOf(checkpoint.LoadModel(dir, checkpoint.ModelOptions{Finite: true})), dir, name, where)
		wantError(t, errOf(checkpoint.LoadModel(dir, checkpoint.ModelOptions{Finite: true, Weights: new(tensor.Int8)})), dir, name, where)
		if _, err := checkpoint.LoadModel(dir, checkpoint.ModelOptions{}); err != nil {
			t.Errorf("unless it is asked for, %v", err)
		}
	}

	dir = m.write(t)
	path := filepath.Join(dir, "model.safetensors")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	wantError(t, errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{})), path)
}

// Weights of a type that no number comes of are an error before anything is loaded.
func TestUnusableWeights(t *testing.T) {
	m := madeModels(t)["falcon"]
	dir := m.write(t)
	path := filepath.Join(dir, "model.safetensors")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := string(b[8 : 8+binary.LittleEndian.Uint64(b)])
	at := strings.Index(header, `"backbone.norm_f.weight":{"dtype":"F32","shape":[32]`)
	if at < 0 {
		t.Fatal(header)
	}
	header = header[:at] + strings.Replace(header[at:], `"F32","shape":[32]`, `"C64","shape":[16]`, 1)
	copy(b[8:], header)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	wantError(t, errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{})), path, "misshapen backbone.norm_f.weight")
}

// Progress is reported up to all that there is.
func TestProgress(t *testing.T) {
	dir := madeModels(t)["mistral"].write(t)
	last, calls := 0, 0
	f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{Progress: func(read, all int) {
		if read <= last || read > all {
			t.Errorf("%d of %d after %d", read, all, last)
		}
		last = read
		calls++
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if last != f.FileBytes || calls < 10 {
		t.Errorf("%d of %d bytes in %d calls", last, f.FileBytes, calls)
	}
}

// Loading leaves nothing but the model in the heap, and no garbage behind it, whatever
// the format: bytes allocated are bytes of the model and a few pieces.
func TestLoadMemory(t *testing.T) {
	m := made{newMamba(t, 4, 256, 8000), strings.Replace(mambaConfig, "24", "4", 1), mambaName}
	m.config = strings.Replace(m.config, "50277", "8000", 1)
	m.model.Quantize(tensor.BFloat16)
	dir := m.write(t)
	for _, d := range []*tensor.DType{nil, new(tensor.Float32), new(tensor.Int8)} {
		f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{Weights: d})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		model, err := f.Load()
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		f.Close()
		runtime.KeepAlive(model)
		if extra := int(after.TotalAlloc-before.TotalAlloc) - f.MemoryBytes; extra > 8<<20 {
			t.Errorf("%v: loading %d bytes allocates %d more", f, f.MemoryBytes, extra)
		}
	}
}

// What a configuration says of texts is there for programs to know.
func TestModelHints(t *testing.T) {
	m := madeModels(t)["llama of transformers 5"]
	dir := m.write(t)
	m.writeConfig(t, dir, strings.Replace(m.config, "{", `{"bos_token_id": 1, "eos_token_id": 2, `, 1))
	open := func() *checkpoint.ModelFile {
		t.Helper()
		f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return f
	}
	if f := open(); !slices.Equal(f.Begin, []int{1}) || !slices.Equal(f.End, []int{2}) || f.Trained != 16 || f.MaxLen != 0 {
		t.Errorf("begin %v, end %v, trained with %d, at most %d", f.Begin, f.End, f.Trained, f.MaxLen)
	}
	path := filepath.Join(dir, "generation_config.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"eos_token_id": [2, 7], "temperature": 0.6}`)
	if f := open(); !slices.Equal(f.End, []int{2, 7}) {
		t.Errorf("end %v", f.End)
	}
	write(`{"eos_token_id": -1}`)
	wantError(t, errOf(checkpoint.OpenModel(dir, checkpoint.ModelOptions{})), path, "eos_token_id", "-1")
}
