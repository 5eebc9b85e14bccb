package ssm

import (
	"fmt"
	"iter"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba is the selective state space mixer of Mamba (arXiv:2312.00752, the class
// Mamba of state-spaces/mamba): for each of E channels a linear recurrence with N
// states whose step size, input and output depend on the input. With src of width d,
//
//	x, z        = split(W_in · src)                      E, E
//	x           = SiLU(conv1d(x))                        K taps for each channel
//	r, B, C     = split(W_x · x)                         R, N, N
//	Δ           = softplus(W_dt · r + b_dt)              E
//	h[e][n]     = exp(Δ[e]·A[e][n])·h[e][n] + Δ[e]·B[n]·x[e],  A = -exp(A_log)
//	y[e]        = Σ_n C[n]·h[e][n] + D[e]·x[e]
//	dst         = W_out · (y · SiLU(z))
//
// at every position. [MambaConfig.InnerNorm] normalises r, B and C, as FalconMamba and
// Jamba do.
//
// Its parameters are A_log (E, N), D (E), in_proj.weight (2E, d), conv1d.weight
// (E, 1, K), conv1d.bias (E), x_proj.weight (R+2N, E), dt_proj.weight (E, R),
// dt_proj.bias (E), out_proj.weight (d, E) and, depending on the configuration,
// in_proj.bias (2E), out_proj.bias (d), dt_layernorm.weight (R), b_layernorm.weight (N)
// and c_layernorm.weight (N). The four matrices of projections can have any format and
// order of package tensor.
//
// A stream holds E·(K-1+N) numbers for each sequence, however long it is.
type Mamba struct {
	cfg                            MambaConfig
	inProj, xProj, dtProj, outProj *nn.Linear
	conv                           *nn.CausalConv1D
	dtNorm, bNorm, cNorm           *nn.RMSNorm // nil without inner norms
	aLog, d                        *tensor.Tensor
	derived                        memo.Memo[*mambaTables]
}

// NewMamba returns a mixer whose parameters are ready to be loaded; see [Mamba.Init].
func NewMamba(cfg MambaConfig) (*Mamba, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d, e, n, rank := cfg.DModel, cfg.DInner, cfg.DState, int(cfg.DTRank)
	m := &Mamba{
		cfg:     cfg,
		inProj:  nn.NewLinear(d, 2*e, cfg.Bias),
		conv:    nn.NewCausalConv1D(e, cfg.DConv, *cfg.ConvBias, nn.SiLU),
		xProj:   nn.NewLinear(e, rank+2*n, false),
		dtProj:  nn.NewLinear(rank, e, true),
		aLog:    tensor.New(e, n),
		d:       tensor.New(e),
		outProj: nn.NewLinear(e, d, cfg.Bias),
	}
	if cfg.InnerNorm != NoNorm {
		m.dtNorm, m.bNorm, m.cNorm = nn.NewRMSNorm(rank, cfg.NormEps), nn.NewRMSNorm(n, cfg.NormEps), nn.NewRMSNorm(n, cfg.NormEps)
	}
	if cfg.InnerNorm == PlainNorm {
		m.dtNorm.Weight, m.bNorm.Weight, m.cNorm.Weight = nil, nil, nil
	}
	return m, nil
}

// Config returns the configuration with all fields filled in.
func (m *Mamba) Config() MambaConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *Mamba) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *Mamba) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(
		paramlist.Of("A_log", m.aLog), paramlist.Of("D", m.d),
		paramlist.Of("in_proj.weight", m.inProj.Weight), paramlist.Of("in_proj.bias", m.inProj.Bias),
		paramlist.Of("conv1d.weight", m.conv.Weight), paramlist.Of("conv1d.bias", m.conv.Bias),
		paramlist.Of("x_proj.weight", m.xProj.Weight),
		paramlist.Of("dt_proj.weight", m.dtProj.Weight), paramlist.Of("dt_proj.bias", m.dtProj.Bias),
		paramlist.Of("out_proj.weight", m.outProj.Weight), paramlist.Of("out_proj.bias", m.outProj.Bias),
		paramlist.Of("dt_layernorm.weight", normWeight(m.dtNorm)),
		paramlist.Of("b_layernorm.weight", normWeight(m.bNorm)),
		paramlist.Of("c_layernorm.weight", normWeight(m.cNorm)),
	)
}

func normWeight(n *nn.RMSNorm) *tensor.Tensor {
	if n == nil {
		return nil
	}
	return n.Weight
}

// Mix computes whole sequences.
func (m *Mamba) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Mamba.Mix", dst, src, m.Dim())
	s := m.borrow(src.Batch)
	s.run(dst, src, 0, nil)
	s.giveBack()
}

// NewStream returns a *[MambaStream] at the beginning of batch sequences. It sees the
// parameters as they are then, and again when it is reset.
func (m *Mamba) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("ssm: a stream of %d sequences", batch)
	}
	s := new(MambaStream)
	s.begin(m, batch)
	return s, nil
}

// mambaStreams holds the streams that whole sequences are computed with.
var mambaStreams = sync.Pool{New: func() any { return new(MambaStream) }}

func (m *Mamba) borrow(batch int) *MambaStream {
	s := mambaStreams.Get().(*MambaStream)
	s.begin(m, batch)
	return s
}

func (s *MambaStream) giveBack() {
	s.mixer, s.tables, s.conv.w, s.conv.bias = nil, nil, nil, nil
	mambaStreams.Put(s)
}

// mambaTables holds what the kernels read instead of parameters. It is not changed
// once it is made.
type mambaTables struct {
	rates []float32 // -exp(A_log), see kernel.PackScanA
	taps  []float32 // of the convolution, in strips of channels
}

func (m *Mamba) tables() *mambaTables {
	return m.derived.Get(m.makeTables, m.aLog, m.conv.Weight)
}

func (m *Mamba) makeTables() *mambaTables {
	e, n := m.cfg.DInner, m.cfg.DState
	t := &mambaTables{rates: make([]float32, kernel.ScanLen(e, n)), taps: packConvTaps(m.conv)}
	s := tensor.GetScratch()
	a := s.Take(min(stripWidth, e) * n)
	for from := 0; from < e; from += stripWidth {
		to := min(from+stripWidth, e)
		strip := a[:(to-from)*n]
		kernel.Exp(strip, m.aLog.Data()[from*n:to*n])
		kernel.Scale(strip, -1, strip)
		kernel.PackScanA(t.rates[from*n:], strip, to-from, n)
	}
	tensor.PutScratch(s)
	return t
}
