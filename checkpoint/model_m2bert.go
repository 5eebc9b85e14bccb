package checkpoint

import (
	"fmt"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// buildM2BERT reads M2-BERT (arXiv:2310.12109) with all its heads, for any length: the
// files of Hugging Face, and those of composer, which it is trained with.
func buildM2BERT(c *config, src Source) (*network, error) {
	const words = "bert.embeddings.word_embeddings.weight"
	for name := range src.Names() {
		if prefix, ok := strings.CutSuffix(name, words); ok && prefix != "" { // "model.", "module."
			src = Sub(src, prefix)
			break
		}
	}
	src, err := canonical(src, m2Name)
	if err != nil {
		return nil, err
	}
	rows, dim, err := matrix(src, words)
	if err != nil {
		return nil, err
	}
	b := m2Config{all: c, dim: dim, eps: c.epsilonOr(1e-12, "layer_norm_eps")}
	e := &lm.Encoder{
		Embedding: nn.NewEmbedding(rows, dim), InputNorm: nn.NewLayerNorm(dim, b.eps), Vocabulary: c.intOr(rows, "vocab_size"),
		Padding: c.intOr(0, "pad_token_id"), PoolMean: c.boolOr(false, "pool_all"),
	}
	if e.Vocabulary > rows {
		c.fail("vocab_size", "is %d, but the embedding has %d rows", e.Vocabulary, rows)
	}
	c.oneOf("hidden_act", "gelu")
	for i := range m2Names.countLayers(c, src, "num_hidden_layers") {
		layer, length, err := b.layer(m2Names.layer(src, i, ""))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		e.Layers = append(e.Layers, layer)
		e.MaxLen, e.PadTo = length, length
	}
	if err := b.tables(e, src); err != nil {
		return nil, err
	}
	b.heads(e, src)
	return &network{encoder: e, tensors: src, loader: Loader{Rename: m2Rename}}, nil
}

// m2Name returns the name of a tensor of which there are several of the same content, and
// "" for what follows from nothing but the length of the texts.
func m2Name(name string) string {
	switch {
	case strings.Contains(name, ".flashfft."), strings.HasSuffix(name, "embeddings.position_ids"):
		return ""
	case name == "cls.predictions.bias":
		return "cls.predictions.decoder.bias"
	}
	return filterFrequency.ReplaceAllString(name, "implicit_filter.1.freq")
}

// m2Names are the names of tensors in the layers.
var m2Names = naming{layers: "bert.encoder.layer.", inside: []string{"0.", "attention.", "1.", "mlp."}}

// m2Rename turns the name of a parameter of an encoder into that of its tensor.
func m2Rename(name string) string {
	for _, p := range [][2]string{
		{"embedding.", "bert.embeddings.word_embeddings."}, {"positions.", "bert.embeddings.position_embeddings."},
		{"types.", "bert.embeddings.token_type_embeddings."}, {"input_norm.", "bert.embeddings.LayerNorm."},
		{"pooler.", "bert.pooler.dense."}, {"masked.dense.", "cls.predictions.transform.dense."},
		{"masked.norm.", "cls.predictions.transform.LayerNorm."}, {"masked.decoder.", "cls.predictions.decoder."},
	} {
		if rest, ok := strings.CutPrefix(name, p[0]); ok {
			return p[1] + rest
		}
	}
	return m2Names.rename(name)
}

// An m2Config is what a configuration says of the parts.
type m2Config struct {
	all *config
	dim int
	eps float32
}

// layer returns a mixer and the MLP after it, and the positions that the mixer can take.
// There is no residual connection around the former, which has its own.
func (b *m2Config) layer(src Source) (layer seqmix.Stack, length int, err error) {
	mixer, err := b.mixer(Sub(src, "attention."))
	if err != nil {
		return nil, 0, err
	}
	mlp, err := b.mlp(Sub(src, "mlp."))
	if err != nil {
		return nil, 0, err
	}
	return seqmix.Stack{mixer, mlp}, mixer.Config().LMax, nil
}

func (b *m2Config) mixer(src Source) (*monarch.Mixer, error) {
	filter := Sub(src, "filter_fn.")
	length, features, err := positionalFeatures(filter)
	if err != nil {
		return nil, err
	}
	width, _, err := matrix(filter, "implicit_filter.0.weight")
	if err != nil {
		return nil, err
	}
	if n := b.all.intOr(length, "long_conv_l_max"); n != length {
		b.all.fail("long_conv_l_max", "is %d, but the filters have %d positions", n, length)
	}
	return monarch.NewMixer(monarch.MixerConfig{
		Dim: b.dim, LMax: length, EmbDim: features, Width: width,
		Bidirectional: new(b.all.boolOr(true, "bidirectional")), Residual: new(b.all.boolOr(true, "residual_long_conv")),
		Norm: contains(src, "layernorm.weight"),
		W:    b.all.floatOr(10, "hyena_w"), WMod: b.all.floatOr(1, "hyena_w_mod"),
	})
}

func (b *m2Config) mlp(src Source) (*monarch.MLP, error) {
	e, ok := src.Lookup("wo.weight")
	if !ok || e.n == 0 || len(e.shape) != 2 && len(e.shape) != 3 {
		return nil, &LoadError{Source: describe(src), Missing: []string{fullName(src, "wo.weight")}}
	}
	cfg := monarch.MLPConfig{
		Dim: b.dim, Blocks: 1, Monarch: new(len(e.shape) == 3), GLU: new(b.all.boolOr(true, "use_glu_mlp")), NormEps: b.eps,
	}
	if *cfg.Monarch {
		cfg.Blocks = e.shape[0]
	}
	columns := e.shape[len(e.shape)-1] // of a block, which may be padded
	cfg.Hidden = b.all.intOr(columns*cfg.Blocks, "intermediate_size")
	if cfg.Hidden < 1 || (cfg.Hidden+cfg.Blocks-1)/cfg.Blocks != columns {
		b.all.fail("intermediate_size", "is %d, but wo.weight is %v", cfg.Hidden, e.shape)
		return nil, b.all.err()
	}
	return monarch.NewMLP(cfg)
}

// tables adds the embeddings of positions and of types.
func (b *m2Config) tables(e *lm.Encoder, src Source) error {
	for name, table := range map[string]**nn.Embedding{"position_embeddings": &e.Positions, "token_type_embeddings": &e.Types} {
		name = "bert.embeddings." + name + ".weight"
		if !contains(src, name) {
			continue
		}
		rows, _, err := matrix(src, name)
		if err != nil {
			return err
		}
		*table = nn.NewEmbedding(rows, b.dim)
	}
	if e.Positions != nil {
		e.MaxLen = min(e.MaxLen, e.Positions.Vocabulary())
		e.PadTo = e.MaxLen
	}
	return nil
}

// heads adds the pooler and the head of the masked language model, if they are there.
func (b *m2Config) heads(e *lm.Encoder, src Source) {
	if contains(src, "bert.pooler.dense.weight") {
		e.Pooler = nn.NewLinear(b.dim, b.dim, true)
	}
	if contains(src, "cls.predictions.transform.dense.weight") {
		e.Masked = &lm.MaskedHead{
			Dense: nn.NewLinear(b.dim, b.dim, true), Activation: nn.GELU, Norm: nn.NewLayerNorm(b.dim, b.eps),
			Decoder: &nn.Linear{Weight: e.Embedding.Weight, Bias: tensor.New(e.Embedding.Vocabulary())},
		}
	}
}
