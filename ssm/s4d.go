package ssm

import (
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An S4D is a linear time-invariant mixer with a diagonal state matrix (S4D,
// arXiv:2206.11893): each of H channels is a system of N states,
//
//	h' = A·h + B·u,  y = 2·Re(C·h) + D·u
//
// in continuous time, of whose conjugate pairs one state each is kept, or with N real
// ones. With the step Δ of the channel it becomes (see [Discretization])
//
//	h[n]   = λ[n]·h[n] + b[n]·src
//	dst    = 2·Re(Σ_n C[n]·h[n]) + D·src
//
// at every position, which is the convolution of src with the impulse response
//
//	K[t]   = 2·Re(Σ_n C[n]·b[n]·λ[n]^t)
//
// Mix computes it in one way or the other, whichever is faster for the length; streams
// by the recurrence. A stream holds H·N numbers for each sequence.
//
// [S4DLayout] lists the parameters. There is nothing between the channels, and no
// activation: see [S4Block].
type S4D struct {
	cfg    S4DConfig
	lti    lti
	d      *tensor.Tensor
	params diagonalParams
}

// NewS4D returns a mixer whose parameters are ready to be loaded; see [S4D.Init].
func NewS4D(cfg S4DConfig) (*S4D, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &S4D{cfg: cfg, params: newDiagonalParams(cfg), d: tensor.New(cfg.DModel)}
	if cfg.Layout == StateSpacesS4 {
		m.d = tensor.New(1, cfg.DModel)
	}
	m.lti = lti{dim: cfg.DModel, names: s4dNames, stateShape: []int{cfg.modes(), 2}, derive: m.derive, bidirectional: cfg.Bidirectional, params: append(m.params.list(), m.d)}
	if cfg.Real {
		m.lti.stateShape = []int{cfg.modes()}
	}
	return m, nil
}

var s4dNames = namesOf("ssm.S4D")

// Config returns the configuration with all fields filled in.
func (m *S4D) Config() S4DConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *S4D) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *S4D) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(append([]paramlist.Named{paramlist.Of("D", m.d)}, m.params.named(m.cfg.Layout, "kernel.")...)...)
}

// Init draws the parameters as upstream does: A as [S4DConfig] says, the logarithm of Δ
// evenly, C from a complex normal distribution and D from a normal one. Where there is
// no B, C is multiplied by that of the initialisation.
func (m *S4D) Init(r *rand.Rand) {
	if err := m.params.init(m.cfg, r); err != nil {
		panic(err) // NewS4D has tried it
	}
	nn.Normal(m.d, r, 1)
}

// Mix computes whole sequences.
func (m *S4D) Mix(dst, src tensor.Seq) { m.lti.mix(dst, src) }

// NewStream returns an *[LTIStream] at the beginning of batch sequences. The error
// wraps errors.ErrUnsupported if the mixer is bidirectional.
func (m *S4D) NewStream(batch int) (seqmix.Stream, error) { return m.lti.newStream(batch) }

// Kernel returns the first n values of the impulse responses K, without D, of shape
// (H, n), or (2, H, n) if there is a second one from the future.
func (m *S4D) Kernel(n int) *tensor.Tensor { return m.lti.kernel(n) }

func (m *S4D) derive() *ltiTables {
	t := &ltiTables{system: sync.OnceValue(m.modes)}
	var systems []*modal
	for direction := range directions(m.cfg.Bidirectional) {
		var d []float32
		if direction == 0 {
			d = m.d.Data()
		}
		systems = append(systems, m.discretize(direction, d))
	}
	t.forward = systems[0]
	if m.cfg.Bidirectional {
		t.backward = systems[1]
	}
	t.response = func(backward bool, channel, n int) []float64 {
		s := systems[0]
		if backward {
			s = systems[1]
		}
		return response(s.pairs[channel], s.reals[channel], n)
	}
	return t
}

func (m *S4D) discretize(direction int, d []float32) *modal {
	modes, none := make([][]mode, m.cfg.DModel), make([][]mode, m.cfg.DModel)
	states := complexStates{make([][]complex128, m.cfg.DModel)}
	for ch := range modes {
		s := m.params.system(m.cfg, direction, ch)
		for k, a := range s.a {
			distance, input := m.cfg.Disc.step(a, s.dt[k], m.cfg.LMax)
			b := inputScale(s.b[k] * input)
			states.scale[ch] = append(states.scale[ch], b)
			residue := s.c[k] * b
			if m.cfg.Real {
				residue *= 2 // upstream does not tell real states from one of a pair
			}
			modes[ch] = append(modes[ch], mode{distance, residue})
		}
	}
	if m.cfg.Real {
		return newModal(none, modes, d, states)
	}
	return newModal(modes, none, d, states)
}
