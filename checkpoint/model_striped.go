package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/nn"
)

// buildStriped reads StripedHyena, Evo and Evo 2 in the layouts of Hugging Face and of
// vortex. Differences that do not show in the shapes of the tensors:
//
//   - StripedHyena and Evo compute the frequencies of their rotations anew and ignore those
//     in the file, which are rounded to bfloat16. Evo 2 counts on the rounded ones.
//   - The rows of the projections of queries, keys and values follow each other in the
//     former. In Evo 2 the three of a head do.
//   - The layers of Evo 2 but the first have no activation between their matrices.
//
// The scales of 8-bit products in Evo 2's files are not used: its 7B models do without.
func buildStriped(c *config, src Source) (*network, error) {
	if contains(src, "backbone.norm.scale") {
		src = Sub(src, "backbone.")
	}
	src = withoutSuffixes(src, "_extra_state")
	names := naming{embedding: "embedding_layer.", layers: "blocks.", norm: "norm.", head: "unembed."}
	m, err := names.newLM(c, src)
	if err != nil {
		return nil, err
	}
	s := stripedConfig{all: c, dim: m.Dim(), evo2: c.has("hcl_layer_idxs"), flash: c.boolOr(true, "use_flash_rmsnorm"), eps: c.epsilonOr(1e-5, "eps")}
	if err := s.check(); err != nil {
		return nil, err
	}
	tensors, err := s.sortHeads(src)
	if err != nil {
		return nil, err
	}
	for i := range names.countLayers(c, tensors, "num_layers") {
		block, err := s.block(names.layer(tensors, i, ""), i)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers = append(m.Layers, block)
	}
	norm := nn.NewRMSNorm(m.Dim(), s.eps)
	norm.Outside = !s.flash
	m.Norm = norm
	n := names.network(m, withoutSuffixes(tensors, "inv_freq"), c)
	n.loader.Rename = func(name string) string {
		if name == "norm.weight" {
			return "norm.scale"
		}
		return names.rename(name)
	}
	n.loader.Reshape = func(name string) bool { return s.byHead(name) }
	return n, nil
}

// A stripedConfig is what a configuration says of the layers.
type stripedConfig struct {
	all   *config
	dim   int
	eps   float32
	evo2  bool
	flash bool // whether ε is inside the root of norms
}

// check refuses what no published model has.
func (s *stripedConfig) check() error {
	wants := map[string]bool{"final_norm": true, "hyena_flip_x1x2": false, "smeared_gqa": false}
	if s.evo2 {
		wants["interleave"], wants["column_split_hyena"] = true, false
	} else {
		wants["column_split"] = false
	}
	for key, want := range wants {
		if s.all.boolOr(want, key) != want {
			s.all.fail(key, "is %v, which is not supported", !want)
		}
	}
	if n := s.all.intOr(1, "hyena_filter_groups"); n != 1 {
		s.all.fail("hyena_filter_groups", "is %d, want 1", n)
	}
	return s.all.err()
}

// byHead reports whether the rows of a tensor are sorted by heads and have to be sorted by
// queries, keys and values.
func (s *stripedConfig) byHead(name string) bool {
	return s.evo2 && s.all.boolOr(true, "column_split") && strings.Contains(name, ".Wqkv.")
}

// sortHeads returns the tensors with the rows of attention in the order of package
// attention: all queries, all keys, all values. It reads nothing. What it returns has
// the shape (3, heads, rows of a head, …).
func (s *stripedConfig) sortHeads(src Source) (Source, error) {
	heads := s.all.int("num_attention_heads")
	if heads < 1 || s.dim%heads != 0 {
		s.all.fail("num_attention_heads", "is %d, which does not divide the width of %d", heads, s.dim)
		return nil, s.all.err()
	}
	t := &table{entries: map[string]*Entry{}, title: describe(src)}
	for name := range src.Names() {
		e, ok := src.Lookup(name)
		if !ok {
			continue
		}
		if s.byHead(name) && len(e.shape) > 0 && e.shape[0] == 3*s.dim {
			e = e.transposed(heads, 3)
		}
		t.add(name, e)
	}
	return t, nil
}

// transposed returns an entry whose first dimension, of outer·inner·n elements, becomes
// (inner, outer, n): what was sorted by the outer index is sorted by the inner one.
func (e *Entry) transposed(outer, inner int) *Entry {
	strides := e.strides
	if strides == nil {
		strides = make([]int, len(e.shape))
		for d, step := len(strides)-1, 1; d >= 0; d-- {
			strides[d] = step
			step *= e.shape[d]
		}
	}
	n := e.shape[0] / (outer * inner)
	t := *e
	t.shape = slices.Concat([]int{inner, outer, n}, e.shape[1:])
	t.strides = slices.Concat([]int{n * strides[0], inner * n * strides[0], strides[0]}, strides[1:])
	return &t
}

// block returns a layer.
func (s *stripedConfig) block(src Source, i int) (seqmix.Mixer, error) {
	mixer, prefix, err := s.mixer(src, i)
	if err != nil {
		return nil, err
	}
	inner, _, err := matrix(src, "mlp.l1.weight")
	if err != nil {
		return nil, err
	}
	cfg := hyena.BlockConfig{Dim: s.dim, Inner: inner, Eps: s.eps, FlashNorm: &s.flash}
	name := s.all.stringOr("silu", "mlp_activation")
	if i > 0 && s.all.boolOr(false, "evo2_style_activations") {
		name = "identity"
	}
	if cfg.Activation, err = nn.ParseActivation(name); err != nil {
		s.all.fail("mlp_activation", "is %s, which is not supported", short(name))
		return nil, s.all.err()
	}
	return hyena.NewBlock(cfg, mixer, prefix)
}

// mixer returns the mixer of a layer, and what the names of its tensors begin with.
func (s *stripedConfig) mixer(src Source, i int) (m seqmix.Mixer, prefix string, err error) {
	if slices.Contains(s.all.ints("attn_layer_idxs"), i) {
		const prefix = "inner_mha_cls."
		m, err := s.attention(Sub(src, prefix))
		return m, prefix, err
	}
	cfg := hyena.StripedConfig{
		CascadeConfig: hyena.CascadeConfig{
			Dim: s.dim, Heads: s.all.int("num_attention_heads"), ShortBias: new(contains(src, "filter.short_filter_bias")),
		},
		ProjectionBias: new(contains(src, "projections.bias")), OutBias: new(contains(src, "out_filter_dense.bias")),
	}
	if e, ok := src.Lookup("filter.short_filter_weight"); ok && len(e.shape) == 3 {
		cfg.ShortLength = e.shape[2]
	}
	if err := s.filter(&cfg.CascadeConfig, Sub(src, "filter."), i); err != nil {
		return nil, "", err
	}
	m, err = hyena.NewStriped(cfg)
	return m, "", err
}

// filter says which filter a layer has. Its sizes are those of the tensors.
func (s *stripedConfig) filter(cfg *hyena.CascadeConfig, src Source, i int) error {
	name, size := "h", 2 // the dimension that is wanted
	switch {
	case !s.evo2:
		name, size = "poles", 1
		if !s.all.boolOr(true, "column_split_hyena") {
			cfg.Split = hyena.Thirds
		}
	case slices.Contains(s.all.ints("hcs_layer_idxs"), i):
		cfg.Kind = hyena.ShortFilter
	case slices.Contains(s.all.ints("hcm_layer_idxs"), i):
		cfg.Kind = hyena.MediumFilter
	case slices.Contains(s.all.ints("hcl_layer_idxs"), i):
		cfg.Kind, name, size = hyena.LongFilter, "residues", 1
	default:
		s.all.fail("hcl_layer_idxs", "and the other lists of layers do not have layer %d", i)
		return s.all.err()
	}
	e, ok := src.Lookup(name)
	switch {
	case !ok:
		return &LoadError{Source: describe(src), Missing: []string{fullName(src, name)}}
	case len(e.shape) <= size || e.n == 0:
		return &LoadError{Source: describe(src), Misshapen: []Mismatch{{fullName(src, name), fmt.Sprintf("%v, which is not that of a filter", e.shape)}}}
	case name == "h":
		cfg.Length, cfg.Groups = e.shape[2], e.shape[0]
	default:
		cfg.States = e.shape[1]
	}
	return nil
}

// attention returns the attention of a layer.
func (s *stripedConfig) attention(src Source) (seqmix.Mixer, error) {
	heads, groups := s.all.int("num_attention_heads"), s.all.intOr(1, "proj_groups")
	if groups < 1 || heads%groups != 0 {
		s.all.fail("proj_groups", "is %d, which does not divide %d heads", groups, heads)
		return nil, s.all.err()
	}
	cfg := attention.MultiHeadConfig{
		Dim: s.dim, Heads: heads, KVHeads: heads / groups, Layout: attention.Wqkv,
		QKVBias: contains(src, "Wqkv.bias"), OutBias: contains(src, "out_proj.bias"),
	}
	factor := 1.0
	if s.all.boolOr(false, "use_interpolated_rotary_pos_emb") {
		factor = float64(s.all.epsilonOr(1, "rotary_emb_scaling_factor"))
	}
	var err error
	cfg.RoPE = &attention.RoPEConfig{Base: s.all.floatOr(10000, "rotary_emb_base")}
	if factor != 1 {
		cfg.RoPE.Scaling = &attention.Scaling{Type: attention.LinearScaling, Factor: factor}
	}
	if s.evo2 {
		cfg.RoPE, err = storedFrequencies(src, s.dim/heads/2, factor)
	}
	if err != nil {
		return nil, err
	}
	return attention.NewMultiHead(cfg)
}

// storedFrequencies returns a rotary embedding with the frequencies of a file, for
// positions that are divided by factor.
func storedFrequencies(src Source, pairs int, factor float64) (*attention.RoPEConfig, error) {
	const name = "rotary_emb.inv_freq"
	e, ok := src.Lookup(name)
	switch {
	case !ok:
		return nil, &LoadError{Source: describe(src), Missing: []string{fullName(src, name)}}
	case e.n != pairs:
		return nil, &LoadError{Source: describe(src), Misshapen: []Mismatch{{fullName(src, name), fmt.Sprintf("%v, want [%d]", e.shape, pairs)}}}
	}
	values, err := e.Float32s()
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", fullName(src, name), err)
	}
	r := &attention.RoPEConfig{}
	for _, v := range values {
		r.Frequencies = append(r.Frequencies, float64(v)/factor)
	}
	return r, nil
}
