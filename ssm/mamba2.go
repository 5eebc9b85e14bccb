package ssm

import (
	"fmt"
	"iter"
	"math"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba2 is the mixer of Mamba-2 (arXiv:2405.21060, the class Mamba2 of
// state-spaces/mamba): H heads, each of which keeps a matrix of P channels by N states
// that decays as a whole. With src of width d,
//
//	z, xBC, Δ   = split(W_in · src)                      E, E+2GN, H
//	x, B, C     = split(SiLU(conv1d(xBC)))               E, GN, GN
//	Δ           = softplus(Δ + dt_bias), within DTLimit
//	S[h]        = exp(Δ[h]·A[h])·S[h] + Δ[h]·x[h] ⊗ B[g],  A = -exp(A_log)
//	y[h]        = S[h]·C[g] + D[h]·x[h]
//	dst         = W_out · (w · rms(y · SiLU(z)))
//
// at every position, with g the group of head h: heads h·G/H have the same. See
// [GatedRMSNorm] for the norm, which can also come before the gate, or not at all.
//
// If DSSM is less than DInner, the states have DSSM channels for E, and the rest is a
// gated branch that passes by them: W_in has two more parts in front, z0 and x0, and
// SiLU(z0)·x0 is put in front of the input of W_out.
//
// Its parameters are, depending on the configuration, init_states (H, P, N); dt_bias
// (H), A_log (H), D (H) or (E), in_proj.weight (2E+2GN+H, d), in_proj.bias, conv1d.weight
// (E+2GN, 1, K), conv1d.bias (E+2GN), norm.weight (E), out_proj.weight (d, E) and
// out_proj.bias (d). The matrices of projections can have any format and order of
// package tensor. Original checkpoints and those of Hugging Face use the same names.
//
// A stream holds E·N + (E+2GN)·(K-1) numbers for each sequence, however long it is.
type Mamba2 struct {
	cfg             Mamba2Config
	initStates      *tensor.Tensor // nil if states begin with zeros
	dtBias, aLog, d *tensor.Tensor
	inProj, outProj *nn.Linear
	conv            *nn.CausalConv1D
	norm            *GatedRMSNorm // nil without a norm
	derived         memo.Memo[*mamba2Tables]
}

// NewMamba2 returns a mixer whose parameters are ready to be loaded; see [Mamba2.Init].
func NewMamba2(cfg Mamba2Config) (*Mamba2, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	z := cfg.heads()
	m := &Mamba2{
		cfg:     cfg,
		dtBias:  tensor.New(z.heads),
		aLog:    tensor.New(z.heads),
		d:       tensor.New(z.heads),
		inProj:  nn.NewLinear(cfg.DModel, cfg.projWidth(), cfg.Bias),
		conv:    nn.NewCausalConv1D(cfg.convWidth(), cfg.DConv, *cfg.ConvBias, nn.SiLU),
		outProj: nn.NewLinear(cfg.DInner, cfg.DModel, cfg.Bias),
	}
	if cfg.DHasDim {
		m.d = tensor.New(cfg.DSSM)
	}
	if cfg.InitStates {
		m.initStates = tensor.New(z.heads, z.p, z.n)
	}
	if !*cfg.RMSNorm {
		return m, nil
	}
	var err error
	m.norm, err = NewGatedRMSNorm(cfg.DSSM, cfg.NormGroups, cfg.NormEps, cfg.NormBeforeGate)
	return m, err
}

// Config returns the configuration with all fields filled in.
func (m *Mamba2) Config() Mamba2Config { return m.cfg }

// Dim returns the width of the vectors.
func (m *Mamba2) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *Mamba2) Params() iter.Seq2[string, *tensor.Tensor] {
	var norm *tensor.Tensor
	if m.norm != nil {
		norm = m.norm.Weight
	}
	return paramlist.Yield(
		paramlist.Of("init_states", m.initStates),
		paramlist.Of("dt_bias", m.dtBias), paramlist.Of("A_log", m.aLog), paramlist.Of("D", m.d),
		paramlist.Of("in_proj.weight", m.inProj.Weight), paramlist.Of("in_proj.bias", m.inProj.Bias),
		paramlist.Of("conv1d.weight", m.conv.Weight), paramlist.Of("conv1d.bias", m.conv.Bias),
		paramlist.Of("norm.weight", norm),
		paramlist.Of("out_proj.weight", m.outProj.Weight), paramlist.Of("out_proj.bias", m.outProj.Bias),
	)
}

// Mix computes whole sequences.
func (m *Mamba2) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Mamba2.Mix", dst, src, m.Dim())
	s := m.borrow(src.Batch)
	mixBlocks(s, dst, src, 0, nil)
	s.giveBack()
}

// NewStream returns a *[Mamba2Stream] at the beginning of batch sequences. It sees the
// parameters as they are then, and again when it is reset.
func (m *Mamba2) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("ssm: a stream of %d sequences", batch)
	}
	s := new(Mamba2Stream)
	s.begin(m, batch)
	return s, nil
}

// mamba2Streams holds the streams that whole sequences are computed with.
var mamba2Streams = sync.Pool{New: func() any { return new(Mamba2Stream) }}

func (m *Mamba2) borrow(batch int) *Mamba2Stream {
	s := mamba2Streams.Get().(*Mamba2Stream)
	s.begin(m, batch)
	return s
}

func (s *Mamba2Stream) giveBack() {
	s.mixer, s.tables, s.gated, s.block = nil, nil, mamba2Gate{}, ssdBlock{}
	s.conv.w, s.conv.bias = nil, nil
	mamba2Streams.Put(s)
}

// mamba2Tables holds what is read instead of parameters. It is not changed once it is
// made.
type mamba2Tables struct {
	rates   []float64 // -exp(A_log)
	taps    []float32 // see packConvTaps
	initial []float32 // init_states in the order of headStates, or nil
}

func (m *Mamba2) tables() *mamba2Tables {
	return m.derived.Get(m.makeTables, m.aLog, m.conv.Weight, m.initStates)
}

func (m *Mamba2) makeTables() *mamba2Tables {
	t := &mamba2Tables{taps: packConvTaps(m.conv)}
	for _, a := range m.aLog.Data() {
		t.rates = append(t.rates, -math.Exp(float64(a)))
	}
	if m.initStates != nil {
		t.initial = m.cfg.heads().packInitial(m.initStates.Data())
	}
	return t
}
