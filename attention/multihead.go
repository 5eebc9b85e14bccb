package attention

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A MultiHead is the attention layer of transformers: [DotProduct] between linear maps.
// With src of width d, H heads of queries, G of keys and values (arXiv:2305.13245), and
// D dimensions in each,
//
//	q = W_q · src + b_q            H·D
//	k = W_k · src + b_k            G·D
//	v = W_v · src + b_v            G·D
//	q, k, v = conv1d(q, k, v)      channel by channel, with ConvTaps
//	q, k = norm(q), norm(k)        head by head, with QKNorm
//	q, k = rotate(q), rotate(k)    head by head, with RoPE
//	dst = W_o · DotProduct(q, k, v) + b_o
//
// at every position. Parameters are the matrices and biases, called as [Layout] says
// with ".weight" and ".bias" after it, with ConvTaps K, conv1d.weight (H·D+2·G·D, 1, K)
// and conv1d.bias, and, with QKNorm, q_norm.weight and k_norm.weight (D). The matrices can have any format and order of package tensor.
type MultiHead struct {
	cfg    MultiHeadConfig
	linear projections
	conv   *nn.CausalConv1D // of queries, keys and values side by side; nil for none
	qNorm  *nn.RMSNorm      // nil without QKNorm
	kNorm  *nn.RMSNorm
	rope   *RoPE // nil without
}

// NewMultiHead returns a mixer whose parameters are ready to be loaded; see
// [MultiHead.Init].
func NewMultiHead(cfg MultiHeadConfig) (*MultiHead, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.ALiBi && cfg.Slopes == nil {
		cfg.Slopes = Slopes(cfg.Heads)
	}
	cfg.Slopes = slices.Clone(cfg.Slopes)
	m := &MultiHead{cfg: cfg}
	if cfg.RoPE != nil {
		rope, err := NewRoPE(*cfg.RoPE, cfg.HeadDim)
		if err != nil {
			return nil, err
		}
		m.rope = rope
	}
	m.linear = newProjections(cfg)
	if cfg.ConvTaps > 0 {
		m.conv = nn.NewCausalConv1D((cfg.Heads+2*cfg.KVHeads)*cfg.HeadDim, cfg.ConvTaps, true, nn.Identity)
	}
	if cfg.QKNorm {
		m.qNorm, m.kNorm = nn.NewRMSNorm(cfg.HeadDim, cfg.NormEps), nn.NewRMSNorm(cfg.HeadDim, cfg.NormEps)
	}
	return m, nil
}

// Init draws the matrices and their biases as PyTorch's linear layers begin; see
// [nn.Linear.Init]. The weights of norms become 1.
func (m *MultiHead) Init(r *rand.Rand) {
	for _, l := range []*nn.Linear{m.linear.q, m.linear.k, m.linear.v, m.linear.out} {
		if l != nil {
			l.Init(r)
		}
	}
	if m.conv != nil {
		m.conv.Init(r)
	}
	for _, n := range []*nn.RMSNorm{m.qNorm, m.kNorm} {
		if n != nil {
			nn.Fill(n.Weight, 1)
		}
	}
}

// Config returns the configuration with all defaults filled in.
func (m *MultiHead) Config() MultiHeadConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *MultiHead) Dim() int { return m.cfg.Dim }

// Params yields the parameters: queries, keys, values, output, convolution, norms.
func (m *MultiHead) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		names, l := layoutNames[m.cfg.Layout], m.linear
		_ = yieldLinear(yield, names.q, l.q) &&
			yieldLinear(yield, names.k, l.k) &&
			yieldLinear(yield, names.v, l.v) &&
			yieldLinear(yield, names.out, l.out) &&
			(m.conv == nil || yield("conv1d.weight", m.conv.Weight) && yield("conv1d.bias", m.conv.Bias)) &&
			(m.qNorm == nil || yield("q_norm.weight", m.qNorm.Weight) && yield("k_norm.weight", m.kNorm.Weight))
	}
}

// yieldLinear yields the parameters of a layer, if there is one.
func yieldLinear(yield func(string, *tensor.Tensor) bool, name string, l *nn.Linear) bool {
	if l == nil {
		return true
	}
	return yield(name+".weight", l.Weight) && (l.Bias == nil || yield(name+".bias", l.Bias))
}

// Mix computes whole sequences.
func (m *MultiHead) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("attention.MultiHead.Mix", dst, src, m.Dim())
	if src.Batch == 0 {
		return
	}
	s := multiHeadStreams.Get().(*MultiHeadStream)
	s.begin(m, src.Batch)
	s.run(dst, src)
	s.giveBack()
}

// NewStream returns a *[MultiHeadStream] at the beginning of batch sequences. The error
// wraps [errors.ErrUnsupported] if positions see keys after their own.
func (m *MultiHead) NewStream(batch int) (seqmix.Stream, error) {
	if m.cfg.Right != 0 {
		return nil, fmt.Errorf("attention: a stream of a mixer that sees later positions: %w", errors.ErrUnsupported)
	}
	if batch < 1 {
		return nil, fmt.Errorf("attention: a stream of %d sequences", batch)
	}
	s := new(MultiHeadStream)
	s.begin(m, batch)
	return s, nil
}

// multiHeadStreams holds the streams that whole sequences are computed with.
var multiHeadStreams = sync.Pool{New: func() any { return new(MultiHeadStream) }}
