package checkpoint

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/nn"
)

// buildHyenaDNA reads HyenaDNA (arXiv:2306.15794) in the layout of Hugging Face.
func buildHyenaDNA(c *config, src Source) (*network, error) {
	h := hyenaModel{config: c, filter: c, width: "activation_freq", length: "max_seq_len", shift: 0.05}
	return h.build(src)
}

// buildSafari reads the language models of HazyResearch/safari and hyena-dna as they were
// trained, of which the configuration describes the mixer as "layer".
//
// The window of their filters is not shifted, while that of the models on Hugging Face is
// by 0.05, although the weights are the same. A configuration can say otherwise with the
// key "shift", here or there.
func buildSafari(c *config, src Source) (*network, error) {
	layer := c.sub("layer")
	layer.oneOf("_name_", "hyena")
	h := hyenaModel{config: c, filter: layer, width: "w", length: "l_max"}
	return h.build(src)
}

// A hyenaModel is a configuration of one of the two kinds.
type hyenaModel struct {
	config, filter *config
	width, length  string // keys of the first frequency and of the longest sequence
	shift          float64
}

func (h *hyenaModel) build(src Source) (*network, error) {
	// Frequencies that are shared by the layers of a filter may be there under the names of
	// all. Whole programs may have a classifier beside the language model.
	src, err := canonical(src, func(name string) string {
		if strings.HasPrefix(name, "head.") {
			return ""
		}
		return filterFrequency.ReplaceAllString(name, "implicit_filter.1.freq")
	})
	if err != nil {
		return nil, err
	}
	names := safariNames(src)
	m, err := names.newLM(h.config, src)
	if err != nil {
		return nil, err
	}
	if !contains(src, names.head+"weight") { // files of the training code leave the copy out
		m.Head = m.Embedding.Head()
	}
	eps := h.config.epsilonOr(1e-5, "layer_norm_epsilon")
	for i := range names.countLayers(h.config, src, "n_layer") {
		parts, err := h.layer(&names, src, i, m.Dim())
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		var layer seqmix.Stack
		for _, part := range parts {
			layer = append(layer, &seqmix.Residual{Norm: nn.NewLayerNorm(m.Dim(), eps), Mixer: part})
		}
		m.Layers = append(m.Layers, layer)
		m.MaxLen = parts[0].(*hyena.Hyena).Config().LMax
	}
	m.Norm = nn.NewLayerNorm(m.Dim(), eps)
	return names.network(m, src, h.config), nil
}

// filterFrequency matches the names of the frequencies of a filter.
var filterFrequency = regexp.MustCompile(`implicit_filter(_rev)?\.[135]\.freq$`)

// safariNames returns the names of the tensors: what they begin with, and whether there is
// "layer." in those of mixers and MLPs, as activation checkpointing leaves it.
func safariNames(src Source) naming {
	head := ""
	backbone := "backbone."
	for _, prefix := range []string{"model.", "hyena."} {
		if contains(src, prefix+"backbone.ln_f.weight") {
			backbone = prefix + backbone
			if prefix == "model." {
				head = prefix
			}
		}
	}
	mixer, mlp := "mixer.", "mlp."
	if contains(src, backbone+"layers.0.mixer.layer.in_proj.weight") {
		mixer += "layer."
	}
	if contains(src, backbone+"layers.0.mlp.layer.fc1.weight") {
		mlp += "layer."
	}
	return naming{
		embedding: backbone + "embeddings.word_embeddings.", layers: backbone + "layers.", norm: backbone + "ln_f.", head: head + "lm_head.",
		inside: []string{"0.norm.", "norm1.", "0.mixer.", mixer, "1.norm.", "norm2.", "1.mixer.", mlp},
	}
}

// layer returns the Hyena and the MLP of a layer.
func (h *hyenaModel) layer(names *naming, src Source, i, dim int) ([]seqmix.Mixer, error) {
	mixer, mlp := names.layer(src, i, names.inside[3]), names.layer(src, i, names.inside[7])
	cfg, err := h.operator(mixer, dim)
	if err != nil {
		return nil, err
	}
	operator, err := hyena.New(cfg)
	if err != nil {
		return nil, err
	}
	hidden, _, err := matrix(mlp, "fc1.weight")
	if err != nil {
		return nil, err
	}
	network, err := nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: hidden, Activation: nn.GELUTanh, Bias: contains(mlp, "fc1.bias")})
	return []seqmix.Mixer{operator, network}, err
}

// operator returns the configuration of a Hyena, whose sizes are those of the tensors.
func (h *hyenaModel) operator(src Source, dim int) (hyena.Config, error) {
	filter := Sub(src, "filter_fn.")
	length, features, err := positionalFeatures(filter)
	if err != nil {
		return hyena.Config{}, err
	}
	width, _, err := matrix(filter, "implicit_filter.0.weight")
	if err != nil {
		return hyena.Config{}, err
	}
	rows, _, err := matrix(src, "in_proj.weight")
	if err != nil {
		return hyena.Config{}, err
	}
	cfg := hyena.Config{
		DModel: dim, LMax: length, EmbDim: features, FilterOrder: width, Order: rows/dim - 1, Layout: hyena.OrderMajor,
		InnerMLPs: new(innerLayers(filter)), W: h.filter.floatOr(10, h.width),
		Shift:      h.filter.floatOr(h.config.floatOr(h.shift, "shift"), "shift"),
		Modulate:   new(h.filter.boolOr(true, "modulate")),
		Normalized: h.filter.boolOr(false, "normalized"),
	}
	for _, size := range []struct {
		key  string
		have int
	}{{h.length, length}, {"emb_dim", features}, {"filter_order", width}} {
		if n := h.filter.intOr(size.have, size.key); n != size.have {
			h.filter.fail(size.key, "is %d, but the tensors of the filter are of %d", n, size.have)
		}
	}
	if short, ok := src.Lookup("short_filter.weight"); ok && len(short.shape) == 3 {
		cfg.ShortFilter = short.shape[2]
	}
	return cfg, h.config.err()
}

// positionalFeatures returns the positions that an implicit filter has features of, and
// how many of each.
func positionalFeatures(filter Source) (length, features int, err error) {
	const name = "pos_emb.z"
	e, ok := filter.Lookup(name)
	switch {
	case !ok:
		return 0, 0, &LoadError{Source: describe(filter), Missing: []string{fullName(filter, name)}}
	case len(e.shape) != 3 || e.n == 0:
		return 0, 0, &LoadError{Source: describe(filter), Misshapen: []Mismatch{{fullName(filter, name), fmt.Sprintf("%v, want three dimensions", e.shape)}}}
	}
	return e.shape[1], e.shape[2], nil
}

// innerLayers returns the number of layers of an implicit filter between its first and its
// last. There is a sine after each layer, which counts too.
func innerLayers(filter Source) int {
	n := 0
	for contains(filter, fmt.Sprintf("implicit_filter.%d.weight", 2*(n+2))) {
		n++
	}
	return n
}
