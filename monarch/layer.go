package monarch

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A LayerConfig describes a [Layer].
type LayerConfig struct {
	Dim  int `json:"d_model"`
	LMax int `json:"l_max"` // positions; shorter sequences are padded with zeros
}

// A Layer is the layer of the listing in the Monarch Mixer paper (arXiv:2310.12109), which
// mixes first the positions and then the channels by Monarch matrices that are learned. With
// src as a matrix of (LMax, Dim),
//
//	u   = M2·relu(K ⊙ (M1·src))         M1 and M2 multiply the columns
//	y   = M4·relu(k ⊙ (M3·u))           M3 and M4 multiply the rows
//	dst = LayerNorm(y + u)
//
// where K has a number for each position and channel, k one for each channel. All positions
// see all others: the layer is not causal. A layer of M2-BERT is another thing, see [Mixer]; no
// public checkpoint has this one.
//
// Its parameters are n_kernel (Dim, LMax), which is K transposed, d_kernel (1, Dim),
// layer_norm.weight (Dim), layer_norm.bias (Dim) and, for each of m1 to m4, the factors L and R
// of [NewSwapped] in the shape that [SquareShape] gives.
type Layer struct {
	cfg            LayerConfig
	m1, m2, m3, m4 *factored
	nKernel        *tensor.Tensor
	dKernel        *tensor.Tensor
	norm           *nn.LayerNorm
}

// factored is a Monarch matrix with its factors.
type factored struct {
	matrix *Matrix
	l, r   *tensor.Tensor
}

func newFactored(n int) (*factored, error) {
	s := SquareShape(n)
	f := &factored{l: tensor.New(s.K, s.Q, s.P), r: tensor.New(s.L, s.S, s.R)}
	var err error
	f.matrix, err = NewSwapped(f.l, f.r)
	return f, err
}

// NewLayer returns a layer whose parameters are zero, the weight of the norm one.
func NewLayer(cfg LayerConfig) (*Layer, error) {
	if cfg.Dim < 1 || cfg.LMax < 1 || cfg.Dim > maxSize/cfg.LMax {
		return nil, fmt.Errorf("monarch: a layer of width %d for sequences of %d positions", cfg.Dim, cfg.LMax)
	}
	m := &Layer{
		cfg: cfg, nKernel: tensor.New(cfg.Dim, cfg.LMax), dKernel: tensor.New(1, cfg.Dim), norm: nn.NewLayerNorm(cfg.Dim, normEps),
	}
	for _, f := range []struct {
		matrix **factored
		n      int
	}{{&m.m1, cfg.LMax}, {&m.m2, cfg.LMax}, {&m.m3, cfg.Dim}, {&m.m4, cfg.Dim}} {
		var err error
		if *f.matrix, err = newFactored(f.n); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Config returns the configuration.
func (m *Layer) Config() LayerConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *Layer) Dim() int { return m.cfg.Dim }

// Init draws the factors from normal distributions whose variances are one over their last
// dimensions, and n_kernel and d_kernel from the standard one.
func (m *Layer) Init(r *rand.Rand) {
	for _, f := range []*factored{m.m1, m.m2, m.m3, m.m4} {
		for _, w := range []*tensor.Tensor{f.l, f.r} {
			nn.Normal(w, r, 1/math.Sqrt(float64(w.Dim(2))))
		}
	}
	nn.Normal(m.nKernel, r, 1)
	nn.Normal(m.dKernel, r, 1)
}

// Params yields the parameters.
func (m *Layer) Params() iter.Seq2[string, *tensor.Tensor] {
	var list []paramlist.Named
	for i, f := range []*factored{m.m1, m.m2, m.m3, m.m4} {
		list = append(list, paramlist.Of(fmt.Sprintf("m%d.L", i+1), f.l), paramlist.Of(fmt.Sprintf("m%d.R", i+1), f.r))
	}
	list = append(list, paramlist.Of("n_kernel", m.nKernel), paramlist.Of("d_kernel", m.dKernel))
	return paramlist.Yield(slices.Concat(list, prefixed("layer_norm.", m.norm.Params()))...)
}

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they have more
// than LMax positions.
func (m *Layer) Mix(dst, src tensor.Seq) {
	const op = "monarch.Layer.Mix"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 {
		return
	}
	n, d := m.cfg.LMax, m.cfg.Dim
	s := tensor.GetScratch()
	kernels := s.Take(n * d)
	kernel.Transpose(kernels, d, m.nKernel.Data(), n, d, n)
	x, u := tensor.MatOf(s.Take(n*d), n, d), tensor.MatOf(s.Take(n*d), n, d)
	for b := range src.Batch {
		copy(x.Data, src.Sequence(b).Data)
		clear(x.Data[src.Len*d:])
		m.m1.matrix.ApplyColumns(u, x)
		kernel.Mul(u.Data, u.Data, kernels)
		kernel.ReLU(u.Data, u.Data)
		m.m2.matrix.ApplyColumns(x, u)
		m.mixChannels(dst.Sequence(b), x.SliceRows(0, src.Len), u.SliceRows(0, src.Len))
	}
	tensor.PutScratch(s)
}

// mixChannels computes what comes after the positions u are mixed.
func (m *Layer) mixChannels(dst tensor.Seq, u, y tensor.Mat) {
	m.m3.matrix.Apply(y, u)
	for i := range y.Rows {
		kernel.Mul(y.Row(i), y.Row(i), m.dKernel.Data())
	}
	kernel.ReLU(y.Data, y.Data)
	m.m4.matrix.Apply(y, y)
	kernel.Add(y.Data, y.Data, u.Data)
	m.norm.Mix(dst, tensor.SeqOf(y.Data, 1, y.Rows, y.Cols))
}

// NewStream returns an error that wraps errors.ErrUnsupported.
func (m *Layer) NewStream(int) (seqmix.Stream, error) {
	return nil, fmt.Errorf("monarch: a stream of a layer that sees later positions: %w", errors.ErrUnsupported)
}
