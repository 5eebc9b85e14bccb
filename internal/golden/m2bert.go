package golden

import (
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"m2bert": m2BERT,
})

// m2Layer is a layer of M2-BERT: the mixer and the network after it, without a residual
// connection around the first.
type m2Layer struct {
	mixer *monarch.Mixer
	mlp   *monarch.MLP
}

func (l *m2Layer) Dim() int { return l.mixer.Dim() }

func (l *m2Layer) Mix(dst, src tensor.Seq) {
	l.mixer.Mix(dst, src)
	l.mlp.Mix(dst, dst)
}

func (l *m2Layer) Params() iter.Seq2[string, *tensor.Tensor] {
	return joined(part{"attention.", l.mixer.Params()}, part{"mlp.", l.mlp.Params()})
}

// part is some parameters and what their names begin with.
type part struct {
	prefix string
	params iter.Seq2[string, *tensor.Tensor]
}

// joined yields the parameters of all parts.
func joined(parts ...part) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, p := range parts {
			for name, t := range p.params {
				if !yield(p.prefix+name, t) {
					return
				}
			}
		}
	}
}

// m2BERT runs a whole encoder or, if the case has no checkpoint, one layer.
func m2BERT(c *goldentest.Case) (results, error) {
	var cfg struct {
		Directories []string `json:"directory"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	if len(cfg.Directories) == 0 {
		return m2OneLayer(c)
	}
	// The configuration is in the first directory only; every file there is gives the same.
	text, err := os.ReadFile(filepath.Join(c.Dir(), cfg.Directories[0], "config.json"))
	if err != nil {
		return nil, err
	}
	all := results{}
	for _, d := range cfg.Directories {
		for _, pattern := range []string{"*.safetensors", "*.bin", "*.pt"} {
			paths, err := filepath.Glob(filepath.Join(c.Dir(), d, pattern))
			if err != nil {
				return nil, err
			}
			for _, path := range paths {
				r, err := m2Encode(c, text, path)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
				for name, v := range r {
					if err := c.Compare(name, v); err != nil {
						return nil, fmt.Errorf("%s: %w", path, err)
					}
					all[name] = v
				}
			}
		}
	}
	return all, nil
}

func m2OneLayer(c *goldentest.Case) (results, error) {
	var cfg struct {
		Dim    int `json:"d"`
		Hidden int `json:"intermediate_size"`
		Blocks int `json:"nblocks"`
		LMax   int `json:"l_max"`
		Width  int `json:"filter_order"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	l, err := newM2Layer(monarch.MixerConfig{Dim: cfg.Dim, LMax: cfg.LMax, Width: cfg.Width}, monarch.MLPConfig{Dim: cfg.Dim, Hidden: cfg.Hidden, Blocks: cfg.Blocks})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, l, ""); err != nil {
		return nil, err
	}
	src := seqOf(c, "in.x")
	dst := like(src)
	l.Mix(dst, src)
	return results{"out.y": dst.Data}, nil
}

func newM2Layer(mixer monarch.MixerConfig, mlp monarch.MLPConfig) (*m2Layer, error) {
	var l m2Layer
	var err error
	if l.mixer, err = monarch.NewMixer(mixer); err == nil {
		l.mlp, err = monarch.NewMLP(mlp)
	}
	return &l, err
}

// m2Encoder is M2-BERT with all its heads.
type m2Encoder struct {
	word, position, kind *nn.Embedding
	norm                 *nn.LayerNorm
	layers               []*m2Layer
	pooler               *nn.Linear // nil in models without one
	transform            *nn.Linear
	transformNorm        *nn.LayerNorm
	decoder              *tensor.Tensor // the bias
}

func newM2Encoder(text []byte, pooler bool) (*m2Encoder, error) {
	var cfg struct {
		Mixer    monarch.MixerConfig
		MLP      monarch.MLPConfig
		Layers   int     `json:"num_hidden_layers"`
		Vocab    int     `json:"vocab_size"`
		Kinds    int     `json:"type_vocab_size"`
		Position int     `json:"max_position_embeddings"`
		Eps      float32 `json:"layer_norm_eps"`
	}
	for _, v := range []any{&cfg, &cfg.Mixer, &cfg.MLP} {
		if err := json.Unmarshal(text, v); err != nil {
			return nil, err
		}
	}
	d := cfg.Mixer.Dim
	m := &m2Encoder{
		word: nn.NewEmbedding(cfg.Vocab, d), position: nn.NewEmbedding(cfg.Position, d), kind: nn.NewEmbedding(cfg.Kinds, d),
		norm: nn.NewLayerNorm(d, cfg.Eps), transform: nn.NewLinear(d, d, true), transformNorm: nn.NewLayerNorm(d, cfg.Eps),
		decoder: tensor.New(cfg.Vocab),
	}
	if pooler {
		m.pooler = nn.NewLinear(d, d, true)
	}
	for range cfg.Layers {
		l, err := newM2Layer(cfg.Mixer, cfg.MLP)
		if err != nil {
			return nil, err
		}
		m.layers = append(m.layers, l)
	}
	return m, nil
}

func (m *m2Encoder) Params() iter.Seq2[string, *tensor.Tensor] {
	parts := []part{
		{"bert.embeddings.word_embeddings.", m.word.Params()}, {"bert.embeddings.position_embeddings.", m.position.Params()},
		{"bert.embeddings.token_type_embeddings.", m.kind.Params()}, {"bert.embeddings.LayerNorm.", m.norm.Params()},
		{"cls.predictions.transform.dense.", m.transform.Params()}, {"cls.predictions.transform.LayerNorm.", m.transformNorm.Params()},
		{"cls.predictions.decoder.", func(yield func(string, *tensor.Tensor) bool) { yield("bias", m.decoder) }},
	}
	for i, l := range m.layers {
		parts = append(parts, part{fmt.Sprintf("bert.encoder.layer.%d.", i), l.Params()})
	}
	if m.pooler != nil {
		parts = append(parts, part{"bert.pooler.dense.", m.pooler.Params()})
	}
	return joined(parts...)
}

// m2Aliases are names of tensors that are there under another one already, and of those
// that are derived from nothing.
var m2Aliases = regexp.MustCompile(`\.flashfft\.|position_ids$|implicit_filter\.[35]\.freq$|implicit_filter_rev\.\d\.freq$|predictions\.decoder\.weight$`)

// m2Encode runs the model in a file.
func m2Encode(c *goldentest.Case, text []byte, path string) (results, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src := checkpoint.Without(f, m2Aliases.MatchString)
	pooler := false
	for name := range f.Names() {
		pooler = pooler || strings.HasSuffix(name, "pooler.dense.weight")
		if rest, ok := strings.CutPrefix(name, "model."); ok && strings.HasPrefix(rest, "bert.embeddings") {
			src = checkpoint.Sub(src, "model.")
			break
		}
	}
	m, err := newM2Encoder(text, pooler)
	if err != nil {
		return nil, err
	}
	if err := checkpoint.Load(m, src, nil); err != nil {
		return nil, err
	}
	return m.results(c)
}

func (m *m2Encoder) results(c *goldentest.Case) (results, error) {
	shape := c.Shape("in.ids")
	ids := make([]int, 0, shape[0]*shape[1])
	for _, v := range c.Tensor("in.ids") {
		ids = append(ids, int(v))
	}
	r := results{}
	x, err := m.encode(ids, shape[0], shape[1], r)
	if err != nil {
		return nil, err
	}
	r["out.last_hidden_state"] = x.Data
	r["out.mlm_logits"] = m.logits(x)
	if m.pooler != nil {
		first, mean := m.pooled(x, c.Tensor("in.mask"))
		r["out.pooler_output"], r["out.pooler_output_pool_all"] = first, mean
	}
	// The first sequence without its padding.
	length := c.Shape("out.unpadded_last_hidden_state")[1]
	short, err := m.encode(ids[:length], 1, length, results{})
	r["out.unpadded_last_hidden_state"] = short.Data
	return r, err
}

// encode runs the layers.
func (m *m2Encoder) encode(ids []int, batch, length int, r results) (tensor.Seq, error) {
	d := m.word.Dim()
	x, p := tensor.NewSeq(batch, length, d), tensor.NewSeq(batch, length, d)
	positions, kinds := make([]int, len(ids)), make([]int, len(ids))
	for i := range positions {
		positions[i] = i % length
	}
	if err := m.word.Lookup(x, ids); err != nil {
		return x, err
	}
	for _, e := range []struct {
		table *nn.Embedding
		ids   []int
	}{{m.position, positions}, {m.kind, kinds}} {
		if err := e.table.Lookup(p, e.ids); err != nil {
			return x, err
		}
		tensor.AddSeq(x, x, p)
	}
	m.norm.Mix(x, x)
	r["out.embeddings"] = append([]float32(nil), x.Data...)
	for i, l := range m.layers {
		l.Mix(x, x)
		if i+1 < len(m.layers) {
			r[fmt.Sprint("out.layer_", i)] = append([]float32(nil), x.Data...)
		}
	}
	return x, nil
}

// logits returns those of the masked language model.
func (m *m2Encoder) logits(x tensor.Seq) []float32 {
	h := like(x)
	m.transform.Apply(h, x)
	nn.GELU.Apply(h.Data, h.Data)
	m.transformNorm.Mix(h, h)
	y := tensor.NewSeq(x.Batch, x.Len, m.word.Vocabulary())
	tensor.Linear(y, h, m.word.Weight, m.decoder.Data())
	return y.Data
}

// pooled returns the pooled output of the first position and of the mean of all that are
// not padding.
func (m *m2Encoder) pooled(x tensor.Seq, mask []float32) (first, mean []float32) {
	a, b := tensor.NewSeq(x.Batch, 1, x.Dim), tensor.NewSeq(x.Batch, 1, x.Dim)
	for s := range x.Batch {
		copy(a.At(s, 0), x.At(s, 0))
		row, weights := b.At(s, 0), mask[s*x.Len:(s+1)*x.Len]
		for t, w := range weights {
			tensor.Axpy(w/tensor.Sum(weights), x.At(s, t), row)
		}
	}
	for _, p := range []tensor.Seq{a, b} {
		m.pooler.Mix(p, p)
		tensor.Tanh(p.Data, p.Data)
	}
	return a.Data, b.Data
}
