package checkpoint_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// familyModels are models of the families beside Mamba and Llama, made up.
func familyModels(t testing.TB) map[string]made {
	safari := func(prefix, head, mixer, mlp string) func(string) string {
		return replaceNames(prefix+"embeddings.word_embeddings.", prefix+"layers.", prefix+"ln_f.", head,
			"0.norm.", "norm1.", "0.mixer.", mixer, "1.norm.", "norm2.", "1.mixer.", mlp)
	}
	basedNames := safari("transformer.", "lm_head.", "mixer.", "mlp.")
	return map[string]made{
		"based": {
			makeModel(t, 1e-5, [][]seqmix.Mixer{
				{must(based.NewGatedConv(based.GatedConvConfig{DModel: madeDim})), fused()},
				{must(based.NewLinearAttention(based.LinearAttentionConfig{DModel: madeDim, Heads: 4, FeatureDim: 6})), fused()},
				{must(attention.NewMultiHead(attention.MultiHeadConfig{Dim: madeDim, Heads: 4, Layout: attention.Wqkv, Left: new(3), RoPE: &attention.RoPEConfig{}})), fused()},
			}, true),
			`{"model_type": "gpt2", "n_layer": 3, "n_head": 4, "vocab_size": 53, "rms_norm": true, "activation_function": "swiglu", "rotary_emb_fraction": 1,
				"mixer": {"_target_": "BaseConv"}, "alt_mixer": {"feature_dim": 6, "num_heads": 4, "feature_map": {"_target_": "based.TaylorExp"}},
				"alt_mixer_layers": [1], "alt_mixer_2": {"window_size": 6}, "alt_mixer_2_layers": [2]}`,
			basedNames,
		},
		"attention of based": {
			makeModel(t, 1e-6, [][]seqmix.Mixer{
				{must(attention.NewMultiHead(attention.MultiHeadConfig{Dim: madeDim, Heads: 4, Layout: attention.Wqkv, RoPE: &attention.RoPEConfig{Dim: 4, Base: 500}})), fused()},
			}, true),
			`{"model_type": "gpt2", "n_layer": 1, "n_head": 4, "vocab_size": 53, "rms_norm": true, "rotary_emb_fraction": 0.5, "rotary_emb_base": 500, "layer_norm_epsilon": 1e-6}`,
			func(name string) string { return "model." + basedNames(name) },
		},
		"hyenadna": {
			makeHyena(t, 0.05, false),
			`{"model_type": "hyenadna", "n_layer": 2, "d_model": 32, "vocab_size": 53, "max_seq_len": 64, "emb_dim": 5, "filter_order": 8, "hyena_order": 2, "tie_word_embeddings": false}`,
			safari("hyena.backbone.", "lm_head.", "mixer.", "mlp."),
		},
		"hyenadna with a shift": {
			makeHyena(t, 0.25, false),
			`{"model_type": "hyenadna", "n_layer": 2, "d_model": 32, "vocab_size": 53, "shift": 0.25, "tie_word_embeddings": false}`,
			safari("hyena.backbone.", "lm_head.", "mixer.", "mlp."),
		},
		"safari": {
			makeHyena(t, 0, true),
			`{"n_layer": 2, "d_model": 32, "vocab_size": 53, "layer": {"_name_": "hyena", "l_max": 64, "emb_dim": 5, "filter_order": 8, "w": 10, "local_order": 3}}`,
			safari("model.backbone.", "model.lm_head.", "mixer.layer.", "mlp.layer."),
		},
		"stripedhyena": {makeStriped(t, false, 1), stripedConfig, func(name string) string { return "backbone." + stripedName(name) }},
		"evo2":         {makeStriped(t, true, 1), evo2Config, stripedName},
		"evo2 of 1m": {
			makeStriped(t, true, 4), strings.Replace(evo2Config, "{", `{"use_interpolated_rotary_pos_emb": true, "rotary_emb_scaling_factor": 4, `, 1), stripedName,
		},
	}
}

const (
	stripedConfig = `{"model_type": "stripedhyena", "num_layers": 2, "vocab_size": 53, "num_attention_heads": 4, "proj_groups": 2, "attn_layer_idxs": [1],
		"tie_embeddings": false, "rotary_emb_base": 500, "use_interpolated_rotary_pos_emb": true, "rotary_emb_scaling_factor": 2}`
	evo2Config = `{"num_layers": 4, "vocab_size": 53, "num_attention_heads": 4, "hcs_layer_idxs": [0], "hcm_layer_idxs": [1], "hcl_layer_idxs": [2], "attn_layer_idxs": [3],
		"tie_embeddings": true, "use_flash_rmsnorm": false, "eps": 1e-6, "mlp_activation": "gelu", "evo2_style_activations": true, "column_split": true, "column_split_hyena": false}`
)

// fused returns a gated network.
func fused() seqmix.Mixer {
	return must(nn.NewGLU(nn.GLUConfig{Dim: madeDim, Hidden: 40, Layout: nn.FC1FC2}))
}

// makeHyena returns a HyenaDNA.
func makeHyena(t testing.TB, shift float64, tied bool) *lm.Model {
	var blocks [][]seqmix.Mixer
	for range 2 {
		blocks = append(blocks, []seqmix.Mixer{
			must(hyena.New(hyena.Config{DModel: madeDim, LMax: 64, FilterOrder: 8, EmbDim: 5, Shift: shift})),
			must(nn.NewMLP(nn.MLPConfig{Dim: madeDim, Hidden: 40, Activation: nn.GELUTanh, Bias: true})),
		})
	}
	m := makeModel(t, 1e-5, blocks, tied)
	for _, layer := range m.Layers {
		for _, half := range layer.(seqmix.Stack) {
			half.(*seqmix.Residual).Norm = nn.NewLayerNorm(madeDim, 1e-5)
		}
	}
	m.Norm, m.MaxLen = nn.NewLayerNorm(madeDim, 1e-5), 64
	return m
}

// evo2Frequencies are those of the rotations in the made-up Evo 2.
var evo2Frequencies = []float32{1, 0.25, 0.0625, 0.015625}

// makeStriped returns a StripedHyena, or an Evo 2 whose positions are divided by factor.
func makeStriped(t testing.TB, evo2 bool, factor float64) *lm.Model {
	m := makeModel(t, 1e-5, nil, evo2)
	m.Norm = nn.NewRMSNorm(madeDim, 1e-5)
	heads := attention.MultiHeadConfig{Dim: madeDim, Heads: 4, KVHeads: 2, Layout: attention.Wqkv,
		RoPE: &attention.RoPEConfig{Base: 500, Scaling: &attention.Scaling{Type: attention.LinearScaling, Factor: 2}}}
	block := hyena.BlockConfig{Dim: madeDim, Inner: 40}
	filters := []hyena.CascadeConfig{{States: 2}}
	if evo2 {
		filters = []hyena.CascadeConfig{{Kind: hyena.ShortFilter, Length: 5, Groups: 4}, {Kind: hyena.MediumFilter, Length: 9, Groups: 8}, {Kind: hyena.LongFilter, States: 3}}
		heads.KVHeads, heads.RoPE = 4, &attention.RoPEConfig{}
		for _, f := range evo2Frequencies {
			heads.RoPE.Frequencies = append(heads.RoPE.Frequencies, float64(f)/factor)
		}
		block.Eps, block.FlashNorm, block.Activation = 1e-6, new(false), nn.GELU
		m.Norm = &nn.RMSNorm{Weight: m.Norm.(*nn.RMSNorm).Weight, Eps: 1e-6, Outside: true}
	}
	r := rand.New(rand.NewPCG(9, 1))
	add := func(mixer seqmix.Mixer, prefix string) {
		b := must(hyena.NewBlock(block, mixer, prefix))
		b.MLP.Init(r)
		mixer.(interface{ Init(*rand.Rand) }).Init(r)
		m.Layers = append(m.Layers, b)
		if evo2 {
			block.Activation = nn.Identity
		}
	}
	for _, f := range filters {
		f.Dim, f.Heads = madeDim, 4
		add(must(hyena.NewStriped(hyena.StripedConfig{CascadeConfig: f})), "")
	}
	add(must(attention.NewMultiHead(heads)), "inner_mha_cls.")
	return m
}

func stripedName(name string) string {
	if name == "norm.weight" {
		return "norm.scale"
	}
	return replaceNames("embedding_layer.", "blocks.", "norm.", "unembed.")(name)
}

// writeFamily writes a model. Evo 2 gets the frequencies of its rotations, and rows by heads.
func writeFamily(t testing.TB, name string, m made) string {
	t.Helper()
	dir := m.write(t)
	if !strings.HasPrefix(name, "evo2") {
		return dir
	}
	params := map[string]*tensor.Tensor{"blocks.3.inner_mha_cls.rotary_emb.inv_freq": tensor.FromFloat32s(evo2Frequencies, 4)}
	for name, p := range m.model.Params() {
		if name = m.name(name); name == "unembed.weight" {
			continue
		}
		v := slices.Clone(p.Float32s())
		if strings.Contains(name, "Wqkv") {
			const head = madeDim / 4 * madeDim
			for h := range 4 {
				for part := range 3 {
					copy(v[(3*h+part)*head:(3*h+part+1)*head], p.Float32s()[(4*part+h)*head:])
				}
			}
		}
		params[name] = tensor.FromFloat32s(v, p.Shape()...)
	}
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), paramsOf(params), nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A model of any family comes back as it was.
func TestFamilies(t *testing.T) {
	models := familyModels(t)
	for _, name := range slices.Sorted(maps.Keys(models)) {
		t.Run(name, func(t *testing.T) {
			m := models[name]
			dir := writeFamily(t, name, m)
			for _, o := range []checkpoint.ModelOptions{{}, {Unpacked: true, Finite: true}, {Weights: new(tensor.Int8)}} {
				f, err := checkpoint.OpenModel(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				parameters, _ := m.model.Size()
				if f.Parameters != parameters || f.Vocabulary != madeTokens || f.Rows != madeRows || f.Layers != len(m.model.Layers) || f.MaxLen != m.model.MaxLen {
					t.Errorf("it is %v for %d positions, with %d parameters, want %d", f, f.MaxLen, f.Parameters, parameters)
				}
				got, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				if _, bytes := got.Size(); bytes != f.MemoryBytes {
					t.Errorf("%d bytes, but %d were announced", bytes, f.MemoryBytes)
				}
				want := m.model
				if o.Weights != nil {
					want = must(checkpoint.LoadModel(dir, checkpoint.ModelOptions{Unpacked: true}))
					want.Quantize(*o.Weights)
				}
				a, b := logitsOf(t, got, text(40)), logitsOf(t, want, text(40))
				if !slices.Equal(a, b) {
					t.Errorf("with %+v the logits differ by %g", o, difference(a, b))
				}
				if _, err := f.LoadEncoder(); err == nil {
					t.Error("a language model was loaded as an encoder")
				}
			}
		})
	}
}

// makeEncoder returns an M2-BERT.
func makeEncoder() *lm.Encoder {
	r := rand.New(rand.NewPCG(7, 1))
	table := func(rows int) *nn.Embedding {
		e := nn.NewEmbedding(rows, madeDim)
		e.Init(r, 1)
		return e
	}
	linear := func() *nn.Linear {
		l := nn.NewLinear(madeDim, madeDim, true)
		l.Init(r)
		return l
	}
	norm := func() *nn.LayerNorm { return nn.NewLayerNorm(madeDim, 1e-12) }
	e := &lm.Encoder{
		Embedding: table(madeRows), Positions: table(24), Types: table(2), InputNorm: norm(), Pooler: linear(),
		Vocabulary: madeTokens, MaxLen: 24, PadTo: 24, Padding: 4, PoolMean: true,
	}
	e.Masked = &lm.MaskedHead{Dense: linear(), Activation: nn.GELU, Norm: norm(), Decoder: &nn.Linear{Weight: e.Embedding.Weight, Bias: tensor.New(madeRows)}}
	for range 2 {
		mixer := must(monarch.NewMixer(monarch.MixerConfig{Dim: madeDim, LMax: 24, Width: 8, Norm: true}))
		mixer.Init(r)
		mlp := must(monarch.NewMLP(monarch.MLPConfig{Dim: madeDim, Hidden: 40}))
		mlp.Init(r)
		e.Layers = append(e.Layers, seqmix.Stack{mixer, mlp})
	}
	return e
}

const encoderConfig = `{"model_type": "bert", "num_hidden_layers": 2, "vocab_size": 53, "hidden_size": 32, "long_conv_l_max": 24, "pad_token_id": 4, "pool_all": true, "intermediate_size": 40}`

func encoderName(name string) string {
	inside := replaceNames("bert.embeddings.word_embeddings.", "bert.encoder.layer.", "", "", "0.", "attention.", "1.", "mlp.")
	for _, p := range [][2]string{
		{"positions.", "bert.embeddings.position_embeddings."}, {"types.", "bert.embeddings.token_type_embeddings."},
		{"input_norm.", "bert.embeddings.LayerNorm."}, {"pooler.", "bert.pooler.dense."},
		{"masked.dense.", "cls.predictions.transform.dense."}, {"masked.norm.", "cls.predictions.transform.LayerNorm."},
		{"masked.decoder.", "cls.predictions.decoder."},
	} {
		if rest, ok := strings.CutPrefix(name, p[0]); ok {
			return p[1] + rest
		}
	}
	return inside(name)
}

// writeEncoder writes an encoder whose tensors have names that begin with prefix.
func writeEncoder(t testing.TB, e *lm.Encoder, prefix, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), e, func(name string) string { return prefix + encoderName(name) }); err != nil {
		t.Fatal(err)
	}
	made{}.writeConfig(t, dir, config)
	return dir
}

func TestLoadEncoder(t *testing.T) {
	e := makeEncoder()
	texts := [][]int{text(5), text(24), text(11)}
	want, err := e.Embed(texts)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "model.", "module.model."} {
		dir := writeEncoder(t, e, prefix, encoderConfig)
		for _, o := range []checkpoint.ModelOptions{{}, {Unpacked: true, Finite: true}} {
			got, err := checkpoint.LoadEncoder(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			if got.PadTo != 24 || got.Padding != 4 || got.Vocabulary != madeTokens {
				t.Errorf("padded to %d with %d, a vocabulary of %d", got.PadTo, got.Padding, got.Vocabulary)
			}
			vectors, err := got.Embed(texts)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(vectors.Data, want.Data) {
				t.Errorf("names that begin with %q: the vectors differ by %g", prefix, difference(vectors.Data, want.Data))
			}
		}
		if _, err := checkpoint.LoadModel(dir, checkpoint.ModelOptions{}); err == nil {
			t.Error("an encoder was loaded as a language model")
		}
	}
	bare := *e
	bare.Pooler, bare.Masked, bare.Types = nil, nil, nil
	got, err := checkpoint.LoadEncoder(writeEncoder(t, &bare, "", encoderConfig), checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Pooler != nil || got.Masked != nil || got.Types != nil {
		t.Error("an encoder got parts that are not in the file")
	}
}

// Frequencies that a filter shares between its layers may be there under any of their
// names, and under all of them if they are the same.
func TestSharedFrequencies(t *testing.T) {
	m := familyModels(t)["hyenadna"]
	const name = "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter."
	for what, change := range map[string]func(p map[string]*tensor.Tensor){
		"renamed": func(p map[string]*tensor.Tensor) {
			p[name+"5.freq"] = p[name+"1.freq"]
			delete(p, name+"1.freq")
		},
		"copied": func(p map[string]*tensor.Tensor) {
			p[name+"3.freq"] = tensor.FromFloat32s(p[name+"1.freq"].Float32s(), p[name+"1.freq"].Shape()...)
		},
		"different":    func(p map[string]*tensor.Tensor) { p[name+"3.freq"] = tensor.New(p[name+"1.freq"].Shape()...) },
		"a classifier": func(p map[string]*tensor.Tensor) { p["head.fc1.weight"] = tensor.New(3, 3) },
	} {
		dir := damaged(t, m, change)
		got, err := checkpoint.LoadModel(dir, checkpoint.ModelOptions{})
		if what == "different" {
			wantError(t, err, name+"3.freq", "differs from", name+"1.freq")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if !slices.Equal(logitsOf(t, got, text(20)), logitsOf(t, m.model, text(20))) {
			t.Errorf("%s: other logits", what)
		}
	}
}

// What is wrong with a configuration of these families is said with the key.
func TestBadFamilies(t *testing.T) {
	models := familyModels(t)
	for _, c := range []struct {
		model, old, new string
		want            []string
	}{
		{"based", `"swiglu"`, `"gelu"`, []string{"activation_function", `"gelu"`}},
		{"based", `"n_head": 4`, `"n_head": 3`, []string{"n_head", "is 3"}},
		{"based", `"n_layer": 3`, `"n_layer": 4`, []string{"n_layer", "is 4"}},
		{"based", `"feature_dim": 6`, `"feature_dim": 7`, []string{"alt_mixer.feature_dim", "is 7"}},
		{"based", `"num_heads": 4`, `"num_heads": 0`, []string{"alt_mixer.num_heads", "is 0"}},
		{"based", `based.TaylorExp`, `based.PosELU`, []string{"feature_map", "PosELU"}},
		{"based", `"rotary_emb_fraction": 1`, `"rotary_emb_fraction": 2`, []string{"rotary_emb_fraction", "is 2"}},
		{"based", `"rms_norm": true`, `"rms_norm": true, "parallel_block": true`, []string{"parallel_block"}},
		{"based", `"rms_norm": true`, `"rms_norm": true, "max_position_embeddings": 9`, []string{"max_position_embeddings"}},
		{"based", `"rms_norm": true`, `"rms_norm": false`, []string{"gpt2"}},
		{"hyenadna", `"max_seq_len": 64`, `"max_seq_len": 1000000002`, []string{"max_seq_len", "is 1000000002", "64"}},
		{"hyenadna", `"emb_dim": 5`, `"emb_dim": 7`, []string{"emb_dim", "is 7"}},
		{"hyenadna", `"n_layer": 2`, `"n_layer": 1`, []string{"n_layer", "is 1"}},
		{"safari", `"hyena"`, `"s4d"`, []string{"layer._name_", `"s4d"`}},
		{"safari", `"l_max": 64`, `"l_max": 65`, []string{"layer.l_max", "is 65"}},
		{"stripedhyena", `"num_attention_heads": 4`, `"num_attention_heads": 5`, []string{"num_attention_heads", "is 5"}},
		{"stripedhyena", `"proj_groups": 2`, `"proj_groups": 3`, []string{"proj_groups", "is 3"}},
		{"stripedhyena", `"attn_layer_idxs": [1]`, `"attn_layer_idxs": [0]`, []string{"layer 1", "missing blocks.1.filter.poles"}},
		{"stripedhyena", `"rotary_emb_scaling_factor": 2`, `"rotary_emb_scaling_factor": 0`, []string{"rotary_emb_scaling_factor"}},
		{"evo2", `"hcs_layer_idxs": [0]`, `"hcs_layer_idxs": [9]`, []string{"layer 0"}},
		{"evo2", `"column_split_hyena": false`, `"column_split_hyena": true`, []string{"column_split_hyena"}},
		{"evo2", `"gelu"`, `"swish2"`, []string{"mlp_activation", "swish2"}},
	} {
		t.Run(c.model+" "+c.new, func(t *testing.T) {
			m := models[c.model]
			dir := writeFamily(t, c.model, m)
			config := strings.Replace(m.config, c.old, c.new, 1)
			if config == m.config {
				t.Fatal("nothing was changed")
			}
			m.writeConfig(t, dir, config)
			f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{})
			if err == nil {
				f.Close()
			}
			wantError(t, err, c.want...)
		})
	}
	for old, c := range map[string][2]string{
		`"long_conv_l_max": 24`:   {`"long_conv_l_max": 100000000`, "long_conv_l_max"},
		`"intermediate_size": 40`: {`"intermediate_size": 2000000000`, "intermediate_size"},
		`"pad_token_id": 4`:       {`"pad_token_id": 54`, "padding"},
		`"num_hidden_layers": 2`:  {`"num_hidden_layers": 3`, "num_hidden_layers"},
		`"vocab_size": 53`:        {`"vocab_size": 57`, "vocab_size"},
	} {
		dir := writeEncoder(t, makeEncoder(), "", strings.Replace(encoderConfig, old, c[0], 1))
		_, err := checkpoint.LoadEncoder(dir, checkpoint.ModelOptions{})
		wantError(t, err, c[1])
	}
}

// familyFiles are the files of all families, and their configurations.
func familyFiles(t testing.TB) (files [][]byte, configs []string) {
	add := func(dir, config string) {
		b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		files, configs = append(files, b), append(configs, config)
	}
	models := familyModels(t)
	for _, name := range slices.Sorted(maps.Keys(models)) {
		add(writeFamily(t, name, models[name]), models[name].config)
	}
	add(writeEncoder(t, makeEncoder(), "", encoderConfig), encoderConfig)
	return files, configs
}

// tryFamily opens a file with any configuration. What can be opened can be run, and is
// small.
func tryFamily(file, config []byte) error {
	m, err := checkpoint.OpenModelBytes(file, config)
	if err != nil {
		return nil
	}
	if m.MemoryBytes > 1<<20 {
		return fmt.Errorf("it is %v", m)
	}
	if m.Encoder {
		e, err := m.LoadEncoder()
		if err == nil && m.Vocabulary > 0 {
			_, err = e.Embed([][]int{{0}})
		}
		return err
	}
	model, err := m.Load()
	if err == nil && m.Vocabulary > 0 {
		_, err = model.Logits([]int{0, 0, 0})
	}
	return err
}

// Whatever a configuration says of a key, it is refused, or the model that follows runs.
func TestHostileFamilies(t *testing.T) {
	files, configs := familyFiles(t)
	keys := []string{"shift", "use_flash_rmsnorm", "hyena_w", "hyena_w_mod", "w", "activation_freq", "eps", "layer_norm_eps", "short_filter_length", "eos_token_id"}
	for i, config := range configs {
		var original map[string]any
		if err := json.Unmarshal([]byte(config), &original); err != nil {
			t.Fatal(err)
		}
		for _, key := range slices.Sorted(maps.Keys(original)) {
			tryValues(t, files[i], original, original, key)
			if inner, ok := original[key].(map[string]any); ok {
				for _, key := range slices.Concat(keys, slices.Sorted(maps.Keys(inner))) {
					tryValues(t, files[i], original, inner, key)
				}
			}
		}
		for _, key := range keys {
			tryValues(t, files[i], original, original, key)
		}
	}
}

// tryValues tries configurations with other values of a key of an object within them.
func tryValues(t *testing.T, file []byte, config, object map[string]any, key string) {
	t.Helper()
	old, ok := object[key]
	for _, v := range []any{nil, true, false, -1, 0, 1, 2, 3, 7, 1e5, 1<<31 - 1, 1e300, 0.5, "", "x", []any{}, []any{0, 1}, []any{1 << 30}, map[string]any{}} {
		object[key] = v
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := tryFamily(file, text); err != nil {
			t.Errorf("%s is %v: %v", key, v, err)
		}
	}
	if object[key] = old; !ok {
		delete(object, key)
	}
}

// FuzzFamilies tries configurations with tensors that are in order.
func FuzzFamilies(f *testing.F) {
	files, configs := familyFiles(f)
	for i, config := range configs {
		f.Add(i, []byte(config))
	}
	f.Fuzz(func(t *testing.T, i int, config []byte) {
		if err := tryFamily(files[uint(i)%uint(len(files))], config); err != nil {
			t.Fatal(err)
		}
	})
}
