package golden

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"hyenadna":     hyenaDNA,
	"stripedhyena": stripedModel,
})

// hyenaModelConfig is what cases with models and the configurations of these say.
type hyenaModelConfig struct {
	Directory  directories `json:"directory"`
	Shift      float64     `json:"shift"`
	PromptLen  int         `json:"prompt_len"`
	LogitsFrom int         `json:"logits_from"`

	DModel  int     `json:"d_model"`
	DInner  int     `json:"d_inner"`
	Layers  int     `json:"n_layer"`
	Vocab   int     `json:"vocab_size"`
	MaxLen  int     `json:"max_seq_len"`
	EmbDim  int     `json:"emb_dim"`
	Order   int     `json:"filter_order"`
	W       float64 `json:"activation_freq"`
	Filters *struct {
		MaxLen int     `json:"l_max"`
		EmbDim int     `json:"emb_dim"`
		Order  int     `json:"filter_order"`
		W      float64 `json:"w"`
	} `json:"layer"`
}

// directories are one name or several.
type directories []string

func (d *directories) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*d = directories{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(d))
}

// readConfig reads the configuration of a model.
func readConfig(dir string, v any) error {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// hyenaDNA runs a language model as it is stored in each of the directories.
func hyenaDNA(c *goldentest.Case) (results, error) {
	var cfg hyenaModelConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	var last results
	for _, name := range cfg.Directory {
		m, err := loadHyenaDNA(filepath.Join(c.Dir(), name), cfg.Shift)
		if err != nil {
			return nil, err
		}
		r, err := hyenaDNAStates(m, idRows(c))
		if err != nil {
			return nil, err
		}
		for what, want := range last {
			if !slices.Equal(r[what], want) {
				return nil, fmt.Errorf("%s: %s is another than with the files before", name, what)
			}
		}
		last = r
	}
	return last, nil
}

// idRows returns the token ids of each sequence of a case.
func idRows(c *goldentest.Case) [][]int {
	n := c.Shape("in.ids")[1]
	var rows [][]int
	for i, v := range c.Tensor("in.ids") {
		if i%n == 0 {
			rows = append(rows, nil)
		}
		rows[i/n] = append(rows[i/n], int(v))
	}
	return rows
}

func loadHyenaDNA(dir string, shift float64) (*lm.Model, error) {
	var cfg hyenaModelConfig
	if err := readConfig(dir, &cfg); err != nil {
		return nil, err
	}
	hc := hyena.Config{DModel: cfg.DModel, LMax: cfg.MaxLen, EmbDim: cfg.EmbDim, FilterOrder: cfg.Order, W: cfg.W, Shift: shift, Layout: hyena.OrderMajor}
	if f := cfg.Filters; f != nil {
		hc.LMax, hc.EmbDim, hc.FilterOrder, hc.W = f.MaxLen, f.EmbDim, f.Order, f.W
	}
	file, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m := &lm.Model{Embedding: nn.NewEmbedding((cfg.Vocab+7)/8*8, cfg.DModel), Norm: nn.NewLayerNorm(cfg.DModel, 1e-5), MaxLen: hc.LMax}
	for range cfg.Layers {
		mixer, err := hyena.New(hc)
		if err != nil {
			return nil, err
		}
		mlp, err := nn.NewMLP(nn.MLPConfig{Dim: cfg.DModel, Hidden: cfg.DInner, Activation: nn.GELUTanh, Bias: true})
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, seqmix.Stack{
			&seqmix.Residual{Norm: nn.NewLayerNorm(cfg.DModel, 1e-5), Mixer: mixer},
			&seqmix.Residual{Norm: nn.NewLayerNorm(cfg.DModel, 1e-5), Mixer: mlp},
		})
	}
	m.Head = nn.NewLinear(cfg.DModel, m.Embedding.Vocabulary(), false)
	return m, loadHyenaDNAParams(m, file)
}

// loadHyenaDNAParams loads the parameters under the names of safari, whatever is in front
// of them or between. The frequencies are there once or three times.
func loadHyenaDNAParams(m *lm.Model, file checkpoint.Source) error {
	names := map[string]string{}
	for name := range file.Names() {
		short := name[max(strings.Index(name, "backbone."), strings.Index(name, "lm_head."), 0):]
		short = strings.NewReplacer("mixer.layer.", "mixer.", "mlp.layer.", "mlp.").Replace(short)
		names[short] = name
	}
	rename := strings.NewReplacer(
		"embedding.", "backbone.embeddings.word_embeddings.", "layers.", "backbone.layers.",
		".0.norm.", ".norm1.", ".1.norm.", ".norm2.", ".0.mixer.", ".mixer.", ".1.mixer.", ".mlp.",
	)
	l := checkpoint.Loader{
		Rename: func(name string) string {
			switch {
			case strings.HasPrefix(name, "norm."):
				name = "backbone.ln_f." + strings.TrimPrefix(name, "norm.")
			case strings.HasPrefix(name, "head."):
				name = "lm_head." + strings.TrimPrefix(name, "head.")
			default:
				parts := strings.SplitN(name, ".", 3)
				if parts[0] == "layers" { // so that ".0." of a layer is not that of its half
					name = "backbone.layers." + parts[1] + rename.Replace("."+parts[2])
				} else {
					name = rename.Replace(name)
				}
			}
			return names[name]
		},
		Unused: func(name string) bool {
			return strings.HasSuffix(name, ".3.freq") || strings.HasSuffix(name, ".5.freq")
		},
	}
	return l.Load(m, file)
}

// hyenaDNAStates runs a model layer by layer.
func hyenaDNAStates(m *lm.Model, ids [][]int) (results, error) {
	r := results{}
	batch, n := len(ids), len(ids[0])
	x, y := tensor.NewSeq(batch, n, m.Dim()), tensor.NewSeq(batch, n, m.Dim())
	if err := m.Embedding.Lookup(x, slices.Concat(ids...)); err != nil {
		return nil, err
	}
	for i, layer := range m.Layers {
		r[fmt.Sprint("out.hidden_", i)] = slices.Clone(x.Data)
		layer.Mix(x, x)
	}
	m.Norm.Mix(y, x)
	r[fmt.Sprint("out.hidden_", len(m.Layers))] = slices.Clone(x.Data)
	r["out.last_hidden_state"] = y.Data
	logits := tensor.NewSeq(batch, n, m.Head.Out())
	m.Head.Apply(logits, y)
	r["out.logits"] = logits.Data
	return r, nil
}

// stripedConfig is the configuration of a StripedHyena, Evo or Evo 2.
type stripedConfig struct {
	hyenaConfig
	Vocab     int   `json:"vocab_size"`
	NumLayers int   `json:"num_layers"`
	Attention []int `json:"attn_layer_idxs"`
	Short     []int `json:"hcs_layer_idxs"`
	Medium    []int `json:"hcm_layer_idxs"`
	Long      []int `json:"hcl_layer_idxs"`

	ShortLength  int  `json:"hcs_filter_length"`
	MediumLength int  `json:"hcm_filter_length"`
	ShortGroups  int  `json:"hcs_filter_groups"`
	MediumGroups int  `json:"hcm_filter_groups"`
	Bilinear     bool `json:"evo2_style_activations"`
	Tied         bool `json:"tie_embeddings"`
	QKVByHead    bool `json:"column_split"`
}

// stripedModel runs a language model: as a whole, through streams whose states are
// looked at, and as it chooses tokens.
func stripedModel(c *goldentest.Case) (results, error) {
	var cfg hyenaModelConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	m, err := loadStriped(filepath.Join(c.Dir(), cfg.Directory[0]))
	if err != nil {
		return nil, err
	}
	ids := idRows(c)[0]
	hidden, err := m.Hidden(ids)
	if err != nil {
		return nil, err
	}
	logits := tensor.NewSeq(1, len(ids)-cfg.LogitsFrom, m.Head.Out())
	m.Head.Apply(logits, hidden.Slice(cfg.LogitsFrom, len(ids)))
	r := results{"out.hidden": hidden.Data, "out.logits": logits.Data}
	if r["out.greedy"], err = greedy(m, ids[:cfg.PromptLen], len(ids)-cfg.PromptLen); err != nil {
		return nil, err
	}
	return r, stripedStates(m, ids, r)
}

// greedy returns the tokens that a session continues a prompt with.
func greedy(m *lm.Model, prompt []int, n int) ([]float32, error) {
	s, err := m.NewSession()
	if err != nil {
		return nil, err
	}
	if err := s.Feed(prompt...); err != nil {
		return nil, err
	}
	var tokens []float32
	for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: n}) {
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, float32(id))
	}
	return tokens, nil
}

// stripedStates runs all mixers as streams and adds their states after the last token.
func stripedStates(m *lm.Model, ids []int, r results) error {
	x, y := tensor.NewSeq(1, len(ids), m.Dim()), tensor.NewSeq(1, len(ids), m.Dim())
	if err := m.Embedding.Lookup(x, ids); err != nil {
		return err
	}
	for i, layer := range m.Layers {
		b := layer.(*hyena.Block)
		s, err := seqmix.NewStream(b.Mixer, 1)
		if err != nil {
			return err
		}
		b.PreNorm.Mix(y, x)
		s.Mix(y, y)
		switch s := s.(type) {
		case *hyena.StripedStream:
			short, inner := s.State()
			r[fmt.Sprint("state.fir_", i)], r[fmt.Sprint("state.iir_", i)] = short.Data(), inner.Data()
		case *attention.MultiHeadStream:
			keys, values := s.State()
			width := keys.Dim(2) * keys.Dim(3)
			var kv []float32 // (positions, 2, heads, width)
			for p := range len(ids) {
				kv = append(kv, keys.Data()[p*width:(p+1)*width]...)
				kv = append(kv, values.Data()[p*width:(p+1)*width]...)
			}
			r[fmt.Sprint("state.kv_", i)] = kv
		}
		tensor.AddSeq(x, x, y)
		(&seqmix.Residual{Norm: b.PostNorm, Mixer: b.MLP}).Mix(x, x)
	}
	return nil
}

func loadStriped(dir string) (*lm.Model, error) {
	cfg := new(stripedConfig)
	if err := readConfig(dir, cfg); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "model.safetensors")
	file, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var src checkpoint.Source = file
	if _, ok := src.Lookup("backbone.norm.scale"); ok {
		src = checkpoint.Sub(src, "backbone.")
	}
	m := &lm.Model{Embedding: nn.NewEmbedding(cfg.Vocab, cfg.Hidden), MaxLen: 1 << 20}
	if m.Head = m.Embedding.Head(); !cfg.Tied {
		m.Head = nn.NewLinear(cfg.Hidden, cfg.Vocab, false)
	}
	for i := range cfg.NumLayers {
		b, err := cfg.layer(i, src)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, b)
	}
	norm := nn.NewRMSNorm(cfg.Hidden, cfg.Eps)
	norm.Outside = !*cfg.FlashNorm
	m.Norm = norm
	rename := func(name string) string {
		for _, pair := range [][2]string{{"embedding.", "embedding_layer."}, {"layers.", "blocks."}, {"head.", "unembed."}} {
			if rest, ok := strings.CutPrefix(name, pair[0]); ok {
				return pair[1] + rest
			}
		}
		return strings.Replace(name, "norm.weight", "norm.scale", 1)
	}
	src = checkpoint.Without(src, func(name string) bool { return strings.HasSuffix(name, "inv_freq") })
	if err := checkpoint.Load(m, src, rename); err != nil {
		return nil, err
	}
	return m, cfg.sortHeads(m)
}

// layer returns block i. Evo 2 has the frequencies of its rotary embedding in the file,
// rounded, and counts on them; the others ignore what is there.
func (cfg *stripedConfig) layer(i int, src checkpoint.Source) (*hyena.Block, error) {
	if slices.Contains(cfg.Attention, i) {
		one := cfg.hyenaConfig
		m, err := one.attention()
		if err == nil && cfg.Bilinear {
			entry, ok := src.Lookup(fmt.Sprintf("blocks.%d.inner_mha_cls.rotary_emb.inv_freq", i))
			if !ok {
				return nil, fmt.Errorf("block %d has no frequencies", i)
			}
			f := make([]float32, entry.Len())
			if err := entry.ReadFloat32s(f, 0); err != nil {
				return nil, err
			}
			mc := m.Config()
			mc.RoPE = &attention.RoPEConfig{}
			for _, v := range f {
				mc.RoPE.Frequencies = append(mc.RoPE.Frequencies, float64(v))
			}
			m, err = attention.NewMultiHead(mc)
		}
		if err != nil {
			return nil, err
		}
		return cfg.around(i, m, "inner_mha_cls.")
	}
	cc := hyena.CascadeConfig{Dim: cfg.Hidden, Heads: cfg.AttnHeads, ShortLength: cfg.ShortTaps}
	switch {
	case slices.Contains(cfg.Short, i):
		cc.Kind, cc.Length, cc.Groups = hyena.ShortFilter, cfg.ShortLength, cfg.ShortGroups
	case slices.Contains(cfg.Medium, i):
		cc.Kind, cc.Length, cc.Groups = hyena.MediumFilter, cfg.MediumLength, cfg.MediumGroups
	case slices.Contains(cfg.Long, i):
		cc.Kind, cc.States = hyena.LongFilter, *cfg.States
	default:
		cc.States = *cfg.States
		if !cfg.ColumnSplit {
			cc.Split = hyena.Thirds
		}
	}
	m, err := hyena.NewStriped(hyena.StripedConfig{CascadeConfig: cc})
	if err != nil {
		return nil, err
	}
	return cfg.around(i, m, "")
}

func (cfg *stripedConfig) around(i int, m seqmix.Mixer, prefix string) (*hyena.Block, error) {
	one := cfg.hyenaConfig
	if cfg.Bilinear && i > 0 {
		one.Activation = "identity"
	}
	return one.block(m, prefix)
}

// sortHeads puts the rows of the projections of Evo 2, which are those of queries, keys
// and values of one head after the other, into the order of package attention.
func (cfg *stripedConfig) sortHeads(m *lm.Model) error {
	if !cfg.QKVByHead {
		return nil
	}
	for _, layer := range m.Layers {
		for name, p := range layer.Params() {
			if !strings.Contains(name, "Wqkv") {
				continue
			}
			v, size := p.Float32s(), p.Len()/(3*cfg.AttnHeads)
			sorted := make([]float32, 0, len(v))
			for part := range 3 {
				for h := range cfg.AttnHeads {
					sorted = append(sorted, v[(3*h+part)*size:(3*h+part+1)*size]...)
				}
			}
			p.SetFloat32s(sorted)
		}
	}
	return nil
}
