package based

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A LinearAttention is the linear attention mixer of Based (arXiv:2402.18668, the class
// LinearAttention of HazyResearch/based): with src of width d,
//
//	q, k, v = W_q·src, W_k·src, W_v·src     H heads of f, f and hd elements
//	o       = attention of each head        see Attention
//	dst     = W_o·o
//
// at every position. There is no positional encoding, no gate and no norm in it.
//
// Its parameters are proj_q.weight (H·f, d), proj_k.weight (H·f, d), proj_v.weight
// (H·hd, d) and out_proj.weight (d, H·hd), or what [ProjectionNames] says, and those of
// the feature map, if it has any, which begin with "feature_map.". The four matrices
// can have any format and order of package tensor.
//
// A stream holds the sums of [Attention] for each sequence and head, (hd+1)·F numbers
// with F features, and up to 63 keys and values, however long the sequence is.
type LinearAttention struct {
	cfg           LinearAttentionConfig
	attention     Attention
	q, k, v, proj *nn.Linear
}

// A LinearAttentionConfig describes a [LinearAttention]. Only DModel has to be given;
// the zero value of every other field stands for the choice of HazyResearch/based. The
// JSON keys are those of its configurations, of zoology's and flash-linear-attention's.
type LinearAttentionConfig struct {
	DModel     int     `json:"d_model"`               // width d of the vectors
	Heads      int     `json:"num_heads,omitempty"`   // heads H; 16 by default
	FeatureDim int     `json:"feature_dim,omitempty"` // width f of queries and keys; 16 by default
	HeadDim    int     `json:"head_dim,omitempty"`    // width hd of values; DModel/Heads by default
	Eps        float32 `json:"eps,omitempty"`         // added to the sum of weights; 1e-12 by default

	Map   FeatureMap      `json:"-"` // Taylor by default
	Names ProjectionNames `json:"-"`
}

// ProjectionNames says how checkpoints name the projections of a [LinearAttention].
type ProjectionNames uint8

// The names of the projections of queries, keys, values and of the output.
const (
	BasedNames   ProjectionNames = iota // proj_q, proj_k, proj_v, out_proj: HazyResearch/based
	ZoologyNames                        // proj_q, proj_k, proj_v, proj_o: HazyResearch/zoology
	FLANames                            // q_proj, k_proj, v_proj, o_proj: flash-linear-attention
	projectionNames
)

var projections = [projectionNames][4]string{
	BasedNames:   {"proj_q", "proj_k", "proj_v", "out_proj"},
	ZoologyNames: {"proj_q", "proj_k", "proj_v", "proj_o"},
	FLANames:     {"q_proj", "k_proj", "v_proj", "o_proj"},
}

// withDefaults returns c with all fields filled in.
func (c LinearAttentionConfig) withDefaults() LinearAttentionConfig {
	setDefault(&c.Heads, 16)
	setDefault(&c.FeatureDim, 16)
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.DModel / c.Heads
	}
	setDefault(&c.Eps, defaultEps)
	if c.Map == nil {
		c.Map = Taylor{}
	}
	return c
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// validate checks a configuration with all fields filled in.
func (c LinearAttentionConfig) validate() error {
	const what = "based: LinearAttention"
	for _, f := range []struct {
		name  string
		value int
	}{{"d_model", c.DModel}, {"num_heads", c.Heads}, {"feature_dim", c.FeatureDim}, {"head_dim", c.HeadDim}} {
		if f.value < 1 || f.value > maxElements {
			return fmt.Errorf("%s with %s %d, want at least 1", what, f.name, f.value)
		}
	}
	if float64(c.Heads)*float64(max(c.FeatureDim, c.HeadDim))*float64(c.DModel) > maxElements {
		return fmt.Errorf("%s with d_model %d, num_heads %d, feature_dim %d, head_dim %d has more than %d elements in a parameter",
			what, c.DModel, c.Heads, c.FeatureDim, c.HeadDim, maxElements)
	}
	if c.Names >= projectionNames {
		return fmt.Errorf("%s with unknown names %d", what, c.Names)
	}
	return nil
}

// NewLinearAttention returns a mixer whose parameters are zero, ready to be loaded; see
// [LinearAttention.Init].
func NewLinearAttention(cfg LinearAttentionConfig) (*LinearAttention, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a := Attention{Heads: cfg.Heads, Map: cfg.Map, Eps: cfg.Eps}
	if err := a.validate(); err != nil {
		return nil, err
	}
	if m, ok := cfg.Map.(interface{ validate(n int) error }); ok {
		if err := m.validate(cfg.FeatureDim); err != nil {
			return nil, err
		}
	}
	if n := cfg.Map.Features(cfg.FeatureDim); n < 1 || float64(n)*float64(cfg.Heads)*float64(cfg.HeadDim) > maxElements {
		return nil, fmt.Errorf("based: LinearAttention with feature_dim %d has %d features, and with %d heads of %d elements more than %d sums",
			cfg.FeatureDim, n, cfg.Heads, cfg.HeadDim, maxElements)
	}
	return &LinearAttention{
		cfg: cfg, attention: a,
		q:    nn.NewLinear(cfg.DModel, cfg.Heads*cfg.FeatureDim, false),
		k:    nn.NewLinear(cfg.DModel, cfg.Heads*cfg.FeatureDim, false),
		v:    nn.NewLinear(cfg.DModel, cfg.Heads*cfg.HeadDim, false),
		proj: nn.NewLinear(cfg.Heads*cfg.HeadDim, cfg.DModel, false),
	}, nil
}

// Init draws the projections evenly from ±1/√(their inputs), as PyTorch's Linear does.
// Parameters of the feature map stay as they are.
func (m *LinearAttention) Init(r *rand.Rand) {
	for _, l := range []*nn.Linear{m.q, m.k, m.v, m.proj} {
		l.Init(r)
	}
}

// Config returns the configuration with all fields filled in.
func (m *LinearAttention) Config() LinearAttentionConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *LinearAttention) Dim() int { return m.cfg.DModel }

// Params yields the projections and what parameters the feature map has.
func (m *LinearAttention) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		names := projections[m.cfg.Names]
		for i, l := range []*nn.Linear{m.q, m.k, m.v, m.proj} {
			if !yield(names[i]+".weight", l.Weight) {
				return
			}
		}
		p, ok := m.cfg.Map.(interface {
			Params() iter.Seq2[string, *tensor.Tensor]
		})
		if !ok {
			return
		}
		for name, t := range p.Params() {
			if !yield("feature_map."+name, t) {
				return
			}
		}
	}
}

// Mix computes whole sequences.
func (m *LinearAttention) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("based.LinearAttention.Mix", dst, src, m.Dim())
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s := linearStreams.Get().(*LinearAttentionStream)
	first, more := wholeChunk(src.Len)
	group := groupLen(src.Len)
	for b := 0; b < src.Batch; b += group {
		n := min(group, src.Batch-b)
		s.begin(m, n, first, more)
		s.mix(sequences(dst, b, n), sequences(src, b, n))
	}
	s.mixer = nil
	linearStreams.Put(s)
}

// linearStreams holds the streams that whole sequences are computed with.
var linearStreams = sync.Pool{New: func() any { return new(LinearAttentionStream) }}

// NewStream returns a *[LinearAttentionStream] at the beginning of batch sequences.
func (m *LinearAttention) NewStream(batch int) (seqmix.Stream, error) {
	// The state checks that it does not become too large.
	if _, err := m.attention.NewState(batch, m.cfg.FeatureDim, m.cfg.HeadDim); err != nil {
		return nil, err
	}
	s := new(LinearAttentionStream)
	s.begin(m, batch, chunkLen, true)
	return s, nil
}
