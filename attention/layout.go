package attention

import "github.com/seqmix/seqmix/nn"

// A Layout says how checkpoints name the matrices of a [MultiHead], and whether those
// of queries, keys and values are one.
type Layout uint8

// The layouts.
const (
	QKVO      Layout = iota // q_proj, k_proj, v_proj, o_proj: Llama, Mistral, Qwen
	QKVOut                  // q_proj, k_proj, v_proj, out_proj: OPT, BART
	WqWkWvWo                // wq, wk, wv, wo: Llama as first published
	Wqkv                    // Wqkv is queries above keys above values, out_proj: flash-attention, Based, safari, Zoology
	WqsWksWvs               // w_qs, w_ks, w_vs, fc: CleanUNet
	InProj                  // in_proj is queries above keys above values, out_proj: state-spaces/mamba
	layouts
)

// layoutNames are the names of the matrices, in the order of Params. A fused layout has
// no k and v.
var layoutNames = [layouts]struct{ q, k, v, out string }{
	QKVO:      {"q_proj", "k_proj", "v_proj", "o_proj"},
	QKVOut:    {"q_proj", "k_proj", "v_proj", "out_proj"},
	WqWkWvWo:  {"wq", "wk", "wv", "wo"},
	Wqkv:      {"Wqkv", "", "", "out_proj"},
	WqsWksWvs: {"w_qs", "w_ks", "w_vs", "fc"},
	InProj:    {"in_proj", "", "", "out_proj"},
}

// Fused reports whether the matrices of queries, keys and values are one. In it, those
// of all heads of queries come first, then those of keys, then those of values.
func (l Layout) Fused() bool { return layoutNames[l].k == "" }

// projections are the matrices around the attention. In a fused layout q is that of
// queries, keys and values, and k and v are nil.
type projections struct{ q, k, v, out *nn.Linear }

func newProjections(c MultiHeadConfig) projections {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	p := projections{out: nn.NewLinear(q, c.Dim, c.OutBias)}
	if c.Layout.Fused() {
		p.q = nn.NewLinear(c.Dim, q+2*kv, c.QKVBias)
		return p
	}
	p.q = nn.NewLinear(c.Dim, q, c.QKVBias)
	p.k = nn.NewLinear(c.Dim, kv, c.QKVBias)
	p.v = nn.NewLinear(c.Dim, kv, c.QKVBias)
	return p
}
