package ssm

import (
	"fmt"
	"iter"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba3 is the mixer of Mamba-3 (arXiv:2603.15569, the class Mamba3 of
// state-spaces/mamba): the heads of [Mamba2], with a trapezoidal rule in the place of
// Euler's, states that turn, and no convolution. With src of width d, at position t,
//
//	z, v, B, C, δ, a, λ, ω = split(W_in · src)           E, E, RGN, RGN, H, H, H, angles
//	Δ       = softplus(δ + dt_bias)
//	A       = min(-activation(a), -AFloor)
//	λ       = sigmoid(λ)
//	θ       = θ + π·tanh(ω)·Δ                            for each head
//	k, q    = turn(θ, rms(B)·w_B + B_bias), turn(θ, rms(C)·w_C + C_bias)
//	S       = exp(A·Δ)·(S + (1-λ)·Δ·v' ⊗ k') + λ·Δ·v ⊗ k
//	y       = (S · q + D·v) · SiLU(z)
//	dst     = W_out · y
//
// where v' and k' are those of position t-1, which is nothing at the beginning. A turn
// rotates pairs of neighbouring states (2i, 2i+1), those that have an angle. With
// OutProjNorm, the norm of [GatedRMSNorm] comes before the gate, head by head.
//
// With MIMO, a head has R keys and queries, R inputs v·mimo_x, whose products are added
// up in S, and R outputs, each gated by z·mimo_z; dst is made of their sum, weighted by
// mimo_o. Then a turn rotates the pairs (i, i+N/2).
//
// Its parameters are, depending on the configuration, dt_bias (H), B_bias and C_bias
// (H, R, N), mimo_x, mimo_z and mimo_o (H, R, P), D (H), in_proj.weight
// (2E+2RGN+3H+angles, d), B_norm.weight and C_norm.weight (N), norm.weight (E) and
// out_proj.weight (d, E). The matrices of projections can have any format and order of
// package tensor.
//
// A stream holds E·(N+1) + H·(RN+angles) numbers for each sequence, however long it is.
type Mamba3 struct {
	cfg                 Mamba3Config
	dtBias              *tensor.Tensor
	bBias, cBias        *tensor.Tensor
	mimoX, mimoZ, mimoO *tensor.Tensor // nil without MIMO
	d                   *tensor.Tensor
	inProj, outProj     *nn.Linear
	bNorm, cNorm        *nn.RMSNorm
	norm                *GatedRMSNorm // nil without OutProjNorm
}

// NewMamba3 returns a mixer whose parameters are ready to be loaded; see [Mamba3.Init].
func NewMamba3(cfg Mamba3Config) (*Mamba3, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	z, r := cfg.sizes()
	m := &Mamba3{
		cfg:     cfg,
		dtBias:  tensor.New(z.heads),
		bBias:   tensor.New(z.heads, r.rank, z.n),
		cBias:   tensor.New(z.heads, r.rank, z.n),
		d:       tensor.New(z.heads),
		inProj:  nn.NewLinear(cfg.DModel, cfg.projWidth(), false),
		bNorm:   nn.NewRMSNorm(z.n, cfg.NormEps),
		cNorm:   nn.NewRMSNorm(z.n, cfg.NormEps),
		outProj: nn.NewLinear(cfg.DInner, cfg.DModel, false),
	}
	if cfg.MIMO {
		for _, p := range []**tensor.Tensor{&m.mimoX, &m.mimoZ, &m.mimoO} {
			*p = tensor.New(z.heads, r.rank, z.p)
		}
	}
	if !cfg.OutProjNorm {
		return m, nil
	}
	var err error
	m.norm, err = NewGatedRMSNorm(cfg.DInner, z.heads, cfg.NormEps, true)
	return m, err
}

// Config returns the configuration with all fields filled in.
func (m *Mamba3) Config() Mamba3Config { return m.cfg }

// Dim returns the width of the vectors.
func (m *Mamba3) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *Mamba3) Params() iter.Seq2[string, *tensor.Tensor] {
	var norm *tensor.Tensor
	if m.norm != nil {
		norm = m.norm.Weight
	}
	return paramlist.Yield(
		paramlist.Of("dt_bias", m.dtBias), paramlist.Of("B_bias", m.bBias), paramlist.Of("C_bias", m.cBias),
		paramlist.Of("mimo_x", m.mimoX), paramlist.Of("mimo_z", m.mimoZ), paramlist.Of("mimo_o", m.mimoO),
		paramlist.Of("D", m.d),
		paramlist.Of("in_proj.weight", m.inProj.Weight),
		paramlist.Of("B_norm.weight", m.bNorm.Weight), paramlist.Of("C_norm.weight", m.cNorm.Weight),
		paramlist.Of("norm.weight", norm),
		paramlist.Of("out_proj.weight", m.outProj.Weight),
	)
}

// Mix computes whole sequences.
func (m *Mamba3) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Mamba3.Mix", dst, src, m.Dim())
	s := m.borrow(src.Batch)
	mixBlocks(s, dst, src, 0, nil)
	s.giveBack()
}

// NewStream returns a *[Mamba3Stream] at the beginning of batch sequences.
func (m *Mamba3) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("ssm: a stream of %d sequences", batch)
	}
	s := new(Mamba3Stream)
	s.begin(m, batch)
	return s, nil
}

// mamba3Streams holds the streams that whole sequences are computed with.
var mamba3Streams = sync.Pool{New: func() any { return new(Mamba3Stream) }}

func (m *Mamba3) borrow(batch int) *Mamba3Stream {
	s := mamba3Streams.Get().(*Mamba3Stream)
	s.begin(m, batch)
	return s
}

func (s *Mamba3Stream) giveBack() {
	s.mixer, s.block, s.normed = nil, rotaryBlock{}, mamba3Norms{}
	mamba3Streams.Put(s)
}
