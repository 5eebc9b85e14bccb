package ssm

import (
	"fmt"
	"iter"
	"math"
	"sync/atomic"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An S4 is a linear time-invariant mixer whose state matrix is diagonal plus low rank
// (S4, arXiv:2111.00396): each of H channels is a system of N states,
//
//	h' = A·h + B·u,  y = 2·Re(C·h) + D·u,  A = diag(Λ) - P·Pᴴ
//
// in continuous time, of whose conjugate pairs one state each is kept. P stands for
// rank columns, and P·Pᴴ couples the kept states with the others. With the step Δ of
// the channel it becomes, by the bilinear rule,
//
//	h   = Ā·h + B̄·src,  dst = 2·Re(C·h) + D·src
//	Ā   = (I - Δ/2·A)⁻¹·(I + Δ/2·A),  B̄ = (I - Δ/2·A)⁻¹·Δ·B
//
// at every position, which is the convolution of src with K[t] = 2·Re(C·Ā^t·B̄).
//
// Where it can, an S4 is computed in the coordinates in which Ā is diagonal. Those of
// the HiPPO matrices that it begins with are no good in any finite precision; then it
// takes two sums over the states instead of one. Mix computes it by this recurrence or
// by the convolution, whichever is faster for the length; streams by the recurrence. A
// stream holds H·N numbers for each sequence.
//
// The parameters are those of SSMKernelDPLR in state-spaces/s4 (models/s4/s4.py), S
// being the number of different systems: D (1, H), kernel.inv_dt (H, 1), kernel.C
// (1, H, N/2, 2), kernel.B (1, S, N/2, 2), kernel.A_real (S, N/2), kernel.A_imag
// (S, N/2), kernel.P (rank, S, N/2, 2) and kernel.l_kernel (), with
// Λ = -exp(A_real) - i·A_imag and Δ = exp(inv_dt). If bidirectional, C has 2 in front.
//
// kernel.l_kernel is the length L that kernel.C is stored for: upstream keeps
// C·(I - Ā^L), with which it computes K[0] to K[L-1]. If it is 0, kernel.C is C. See
// [S4.C] and [S4.SetKernelLength].
type S4 struct {
	cfg    S4Config
	lti    lti
	d      *tensor.Tensor
	params diagonalParams
	p      *tensor.Tensor
	length *tensor.Tensor
}

// NewS4 returns a mixer whose parameters are ready to be loaded; see [S4.Init].
func NewS4(cfg S4Config) (*S4, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &S4{
		cfg: cfg, params: newDiagonalParams(cfg.diagonal()), d: tensor.New(1, cfg.DModel),
		p: tensor.New(cfg.Rank, cfg.NSSM, cfg.DState/2, 2), length: tensor.New(),
	}
	m.lti = lti{
		dim: cfg.DModel, names: s4Names, stateShape: []int{cfg.DState / 2, 2},
		derive: m.derive, bidirectional: cfg.Bidirectional, params: append(m.params.list(), m.p, m.length, m.d),
	}
	return m, nil
}

var s4Names = namesOf("ssm.S4")

// Config returns the configuration with all fields filled in.
func (m *S4) Config() S4Config { return m.cfg }

// Dim returns the width of the vectors.
func (m *S4) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *S4) Params() iter.Seq2[string, *tensor.Tensor] {
	list := append([]paramlist.Named{paramlist.Of("D", m.d)}, m.params.named(StateSpacesS4, "kernel.")...)
	return paramlist.Yield(append(list, paramlist.Of("kernel.P", m.p), paramlist.Of("kernel.l_kernel", m.length))...)
}

// Mix computes whole sequences.
func (m *S4) Mix(dst, src tensor.Seq) { m.lti.mix(dst, src) }

// NewStream returns an *[LTIStream] at the beginning of batch sequences. The error
// wraps errors.ErrUnsupported if the mixer is bidirectional.
func (m *S4) NewStream(batch int) (seqmix.Stream, error) { return m.lti.newStream(batch) }

// Kernel returns the first n values of the impulse responses K, without D, of shape
// (H, n), or (2, H, n) if there is a second one from the future.
func (m *S4) Kernel(n int) *tensor.Tensor { return m.lti.kernel(n) }

// C returns the C of the recurrence, whatever length kernel.C is stored for. Its shape
// is that of kernel.C. The error says which channel has no C: one where an eigenvalue
// of Ā^L is 1.
func (m *S4) C() (*tensor.Tensor, error) { return m.cFor(0) }

// SetKernelLength stores kernel.C for another length, see [S4]; 0 makes it C itself.
// The mixer computes the same as before. If it returns an error, nothing has changed.
func (m *S4) SetKernelLength(length int) error {
	if length < 0 || length > 1<<24 { // exact in float32
		return fmt.Errorf("ssm: S4 with C for the length %d", length)
	}
	c, err := m.cFor(length)
	if err != nil {
		return err
	}
	m.params.c.SetFloat32s(c.Data())
	m.length.SetFloat32s([]float32{float32(length)})
	return nil
}

// kernelLength returns the length that C is stored for. Where the sampling is coarser,
// it is shorter in positions. A damaged one is taken for 0.
func (m *S4) kernelLength() int {
	l := float64(m.length.Float32s()[0])
	if !(l >= 1 && l <= 1<<24) {
		return 0
	}
	return m.sampled(int(l))
}

// sampled returns how many positions a length is at the rate of m.
func (m *S4) sampled(length int) int {
	if length == 0 {
		return 0
	}
	return int(min(max(1, math.Round(float64(length)/m.cfg.Rate)), math.MaxInt32))
}

func (m *S4) cFor(length int) (*tensor.Tensor, error) {
	t := tensor.New(m.params.c.Shape()...)
	n := m.cfg.DState
	errs := make([]error, t.Len()/n)
	to := m.sampled(length)
	par.Do(len(errs), 1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			s := m.system(i/m.cfg.DModel, i%m.cfg.DModel)
			c, err := s.retune(s.c, m.kernelLength(), to)
			errs[i] = err
			setComplexes(t.Data()[i*n:(i+1)*n], c)
		}
	}))
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("ssm: S4: C of channel %d: %w", i%m.cfg.DModel, err)
		}
	}
	return t, nil
}

// system returns the system of a channel, with C as it is stored; direction is 1 for
// that from the future.
func (m *S4) system(direction, channel int) *dplrSystem {
	s := m.params.system(m.cfg.diagonal(), direction, channel)
	n := m.cfg.DState / 2
	var p [][]complex128
	for j := range m.cfg.Rank {
		p = append(p, numbers(m.p, (j*m.cfg.NSSM+channel%m.cfg.NSSM)*n, n, true))
	}
	return newDPLR(s.a, s.b, s.c, p, s.dt[0])
}

func (m *S4) derive() *ltiTables {
	t := new(ltiTables)
	n := directions(m.cfg.Bidirectional)
	responses := make([]func(channel, n int) []float64, n)
	t.forward, responses[0] = m.recurrence(0, m.d.Data())
	if n == 2 {
		t.backward, responses[1] = m.recurrence(1, nil)
	}
	t.response = func(backward bool, channel, n int) []float64 {
		if backward {
			return responses[1](channel, n)
		}
		return responses[0](channel, n)
	}
	return t
}

// recurrence returns one of the two systems, in the coordinates of its modes if these
// serve for all channels, and its impulse responses.
func (m *S4) recurrence(direction int, d []float32) (recurrence, func(channel, n int) []float64) {
	systems := make([]*dplrSystem, m.cfg.DModel)
	modes := make(diagonalizedStates, m.cfg.DModel)
	var poor atomic.Bool
	par.Do(len(systems), 1, par.Func(func(lo, hi int) {
		for ch := lo; ch < hi; ch++ {
			systems[ch] = m.system(direction, ch)
			if poor.Load() {
				continue
			}
			modes[ch] = systems[ch].diagonalize(m.kernelLength())
			if modes[ch] == nil {
				poor.Store(true)
			}
		}
	}))
	if !poor.Load() {
		pairs, reals := make([][]mode, len(modes)), make([][]mode, len(modes))
		for ch, s := range modes {
			pairs[ch], reals[ch] = s.pairs, s.reals
		}
		return newModal(pairs, reals, d, modes), func(ch, n int) []float64 { return response(pairs[ch], reals[ch], n) }
	}
	if length := m.kernelLength(); length > 0 {
		par.Do(len(systems), 1, par.Func(func(lo, hi int) {
			for _, s := range systems[lo:hi] {
				if c, err := s.retune(s.c, length, 0); err == nil {
					s.c = c
				} else {
					// There is no C: what depends on it is not a number.
					s.c = make([]complex128, len(s.c))
					for i := range s.c {
						s.c[i] = complex(math.NaN(), math.NaN())
					}
				}
			}
		}))
	}
	return newDPLRRecurrence(systems, d), func(ch, n int) []float64 { return systems[ch].response(n) }
}
