package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
)

// A naming says what a checkpoint calls the parts of an [lm.Model].
type naming struct {
	embedding string // as in "backbone.embedding."
	layers    string // as in "backbone.layers."
	norm      string // as in "backbone.norm_f."
	head      string // as in "lm_head."

	// inside are pairs of strings that parts of a layer are called by in the model and
	// in the checkpoint: "0.norm.", "norm1.". Names without any stay as they are.
	inside []string
}

// rename turns the name of a parameter into that of its tensor.
func (n *naming) rename(name string) string {
	for _, p := range [][2]string{{"embedding.", n.embedding}, {"norm.", n.norm}, {"head.", n.head}} {
		if rest, ok := strings.CutPrefix(name, p[0]); ok {
			return p[1] + rest
		}
	}
	rest, ok := strings.CutPrefix(name, "layers.")
	if !ok {
		return name
	}
	layer, rest, _ := strings.Cut(rest, ".")
	for i := 0; i < len(n.inside); i += 2 {
		if after, ok := strings.CutPrefix(rest, n.inside[i]); ok {
			rest = n.inside[i+1] + after
			break
		}
	}
	return n.layers + layer + "." + rest
}

// layer returns the tensors of a part of a layer, as in "mixer.".
func (n *naming) layer(src Source, i int, part string) Source {
	return Sub(src, fmt.Sprint(n.layers, i, ".", part))
}

// shapes returns the function that tells the shape of a tensor, or nil if there is none.
func shapes(src Source) func(name string) []int {
	return func(name string) []int {
		if e, ok := src.Lookup(name); ok {
			return e.shape
		}
		return nil
	}
}

// contains reports whether there is a tensor of this name.
func contains(src Source, name string) bool {
	_, ok := src.Lookup(name)
	return ok
}

// matrix returns the shape of a tensor that must be a matrix with elements.
func matrix(src Source, name string) (rows, cols int, err error) {
	e, ok := src.Lookup(name)
	switch {
	case !ok:
		return 0, 0, &LoadError{Source: describe(src), Missing: []string{fullName(src, name)}}
	case len(e.shape) != 2 || e.n == 0:
		return 0, 0, &LoadError{Source: describe(src), Misshapen: []Mismatch{{fullName(src, name), fmt.Sprintf("%v, want a matrix", e.shape)}}}
	}
	return e.shape[0], e.shape[1], nil
}

// fullName returns the name in the file of a tensor of a part of it.
func fullName(src Source, name string) string {
	if s, ok := src.(*sub); ok {
		return fullName(s.src, s.prefix+name)
	}
	return name
}

// countLayers returns the number of layers that have tensors. It is an error if the
// configuration says otherwise.
func (n *naming) countLayers(c *config, src Source, keys ...string) int {
	layers := c.int(keys...)
	have := map[string]bool{}
	for name := range src.Names() {
		if rest, ok := strings.CutPrefix(name, n.layers); ok {
			layer, _, _ := strings.Cut(rest, ".")
			have[layer] = true
		}
	}
	if c.err() == nil && layers != len(have) {
		_, key := c.look(keys)
		c.fail(key, "is %d, but %s has tensors of %d layers", layers, describe(src), len(have))
		return 0
	}
	return layers
}

// newLM makes a model without layers: with an embedding as large as its tensor, and a
// head. The vocabulary is that of the configuration, of which the embedding may have
// more rows.
//
// Whether the head is the embedding is for the configuration to say. If it does not,
// a tensor for a head that is not equal to the embedding is one of its own.
func (n *naming) newLM(c *config, src Source) (*lm.Model, error) {
	rows, dim, err := matrix(src, n.embedding+"weight")
	if err != nil {
		return nil, err
	}
	m := &lm.Model{Embedding: nn.NewEmbedding(rows, dim), Vocabulary: c.intOr(rows, "vocab_size")}
	if m.Vocabulary > rows {
		c.fail("vocab_size", "is %d, but the embedding has %d rows", m.Vocabulary, rows)
	}
	m.Head = m.Embedding.Head()
	if !c.boolOr(n.sharesHead(src), "tie_word_embeddings", "tie_embeddings") {
		m.Head = nn.NewLinear(dim, rows, contains(src, n.head+"bias"))
	}
	return m, nil
}

// sharesHead reports whether the tensors of the embedding and the head are one, as far
// as can be seen.
func (n *naming) sharesHead(src Source) bool {
	head, ok := src.Lookup(n.head + "weight")
	if !ok {
		return true
	}
	embedding, ok := src.Lookup(n.embedding + "weight")
	return ok && equal(head, embedding)
}

// network puts together what the architectures return.
func (n *naming) network(m *lm.Model, src Source, c *config) *network {
	return &network{
		model: m, tensors: src, loader: Loader{Rename: n.rename},
		begin: c.ints("bos_token_id"), end: c.ints("eos_token_id"),
	}
}

// withoutSuffixes drops tensors whose names end in one of the suffixes.
func withoutSuffixes(src Source, suffixes ...string) Source {
	return Without(src, func(name string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
	})
}
