package monarch

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An MLPConfig describes an [MLP]. Its JSON keys are those of M2-BERT's configurations.
type MLPConfig struct {
	Dim     int     `json:"hidden_size"`
	Hidden  int     `json:"intermediate_size"`   // 0 stands for 4·Dim
	Blocks  int     `json:"monarch_mlp_nblocks"` // 0 stands for 4
	Monarch *bool   `json:"use_monarch_mlp"`     // nil stands for true: block-diagonal matrices
	GLU     *bool   `json:"use_glu_mlp"`         // nil stands for true: a gate
	NormEps float32 `json:"layer_norm_eps"`      // 0 stands for 1e-12
}

func (c MLPConfig) withDefaults() (MLPConfig, error) {
	if c.Hidden == 0 {
		c.Hidden = 4 * c.Dim
	}
	if c.Blocks == 0 {
		c.Blocks = 4
	}
	if c.Monarch == nil {
		c.Monarch = new(true)
	}
	if c.GLU == nil {
		c.GLU = new(true)
	}
	if c.NormEps == 0 {
		c.NormEps = 1e-12
	}
	if c.Dim < 1 || c.Hidden < 1 || c.Blocks < 1 || max(c.Dim, c.Hidden, c.Blocks) > maxSize/4 {
		return c, fmt.Errorf("monarch: an MLP of width %d with %d hidden elements in %d blocks", c.Dim, c.Hidden, c.Blocks)
	}
	if !(c.NormEps > 0) {
		return c, fmt.Errorf("monarch: a norm with ε = %v", c.NormEps)
	}
	return c, nil
}

// An MLP is the feed-forward network of M2-BERT (BertGatedLinearUnitMLP and BertMLP of
// HazyResearch/m2): at every position
//
//	h   = W_in · x                                2·Hidden elements, or Hidden without a gate
//	a   = GELU(h[:Hidden]) · h[Hidden:]           or GELU(h)
//	dst = LayerNorm(W_out · a + b + x)
//
// with block-diagonal matrices ([BlockDiag]) or, if [MLPConfig.Monarch] is false, dense
// ones. The GELU is the exact one. The residual connection and the norm after it belong
// to the network. The gate of a block is the output of one half of the input's blocks, its
// value that of the other half, so that blocks mix in pairs.
//
// Its parameters are gated_layers.weight (Blocks, 2·Hidden/Blocks, Dim/Blocks), wo.weight
// (Blocks, Dim/Blocks, Hidden/Blocks), both rounded up as BlockDiag does, wo.bias (Dim),
// layernorm.weight (Dim) and layernorm.bias (Dim). Dense, the first two have shapes
// (2·Hidden, Dim) and (Dim, Hidden).
type MLP struct {
	cfg     MLPConfig
	in, out linearMap
	norm    *nn.LayerNorm
}

// linearMap is one of the two projections, dense or block-diagonal.
type linearMap interface {
	ApplyMat(dst, src tensor.Mat)
	Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
	Params() iter.Seq2[string, *tensor.Tensor]
	Init(r *rand.Rand)
}

// NewMLP returns a network whose parameters are zero, the weight of the norm one.
func NewMLP(cfg MLPConfig) (*MLP, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &MLP{cfg: cfg, norm: nn.NewLayerNorm(cfg.Dim, cfg.NormEps)}
	if m.in, err = cfg.projection(cfg.Dim, cfg.width(), false); err != nil {
		return nil, err
	}
	m.out, err = cfg.projection(cfg.Hidden, cfg.Dim, true)
	return m, err
}

// width returns the number of elements that the first projection makes.
func (c *MLPConfig) width() int {
	if *c.GLU {
		return 2 * c.Hidden
	}
	return c.Hidden
}

func (c *MLPConfig) projection(in, out int, bias bool) (linearMap, error) {
	if !*c.Monarch {
		return nn.NewLinear(in, out, bias), nil
	}
	return NewBlockDiag(LinearConfig{In: in, Out: out, Blocks: c.Blocks, Bias: &bias})
}

// Config returns the configuration with all fields filled in.
func (m *MLP) Config() MLPConfig { return m.cfg }

// Dim returns the width of the input and output.
func (m *MLP) Dim() int { return m.cfg.Dim }

// Init draws the parameters as the layers do by themselves.
func (m *MLP) Init(r *rand.Rand) {
	m.in.Init(r)
	m.out.Init(r)
}

// Params yields the parameters of both projections and of the norm.
func (m *MLP) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(slices.Concat(
		prefixed("gated_layers.", m.in.Params()), prefixed("wo.", m.out.Params()), prefixed("layernorm.", m.norm.Params()),
	)...)
}

// mlpRows is the number of positions whose hidden elements are in memory at a time.
const mlpRows = 256

// Mix computes the network at every position.
func (m *MLP) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("monarch.MLP.Mix", dst, src, m.Dim())
	if dst.Contiguous() && src.Contiguous() {
		m.mix(dst.Mat(), src.Mat())
		return
	}
	for b := range src.Batch {
		m.mix(dst.Sequence(b).Mat(), src.Sequence(b).Mat())
	}
}

func (m *MLP) mix(dst, src tensor.Mat) {
	scratch := tensor.GetScratch()
	rows := min(mlpRows, src.Rows)
	width := m.cfg.width()
	hidden, sum := scratch.Take(rows*width), scratch.Take(rows*m.cfg.Dim)
	for i := 0; i < src.Rows; i += rows {
		n := min(rows, src.Rows-i)
		h, y := tensor.MatOf(hidden[:n*width], n, width), tensor.MatOf(sum[:n*m.cfg.Dim], n, m.cfg.Dim)
		x, d := src.SliceRows(i, i+n), dst.SliceRows(i, i+n)
		m.in.ApplyMat(h, x)
		activateRows(h, m.cfg.Hidden, *m.cfg.GLU)
		m.out.ApplyMat(y, h.Slice(0, m.cfg.Hidden))
		kernel.Add(y.Data, y.Data, x.Data)
		m.norm.Mix(tensor.SeqOf(d.Data, 1, n, m.cfg.Dim), tensor.SeqOf(y.Data, 1, n, m.cfg.Dim))
	}
	tensor.PutScratch(scratch)
}

// NewStream returns a stream, which carries no state.
func (m *MLP) NewStream(batch int) (seqmix.Stream, error) {
	return seqmix.NewStatelessStream(m, batch, "monarch.MLP"), nil
}
